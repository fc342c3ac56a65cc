"""Answers of backends: whole or streamed, what they say, how they end, which tokens they report."""
