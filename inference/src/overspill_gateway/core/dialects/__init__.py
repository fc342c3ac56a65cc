"""OpenAI's and Anthropic's APIs, and what providers make of them: paths, errors, what they take."""
