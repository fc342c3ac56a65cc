"""A small OpenAI-compatible server that plays the hosted API or an engine in tests; standard library only."""
