"""A small OpenAI-compatible server of the test tree: it plays the hosted API, or an engine behind vLLM's command line.

It knows no language model: answers are made-up words, as many and as fast as told. See README.md.
"""
