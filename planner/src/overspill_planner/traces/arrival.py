"""One request of a trace, and what is wrong with a file that should hold some."""

from typing import Final, NamedTuple

BLOCK_TOKENS: Final = 512
"""Prompt tokens of a block by which traces say what prompts share, as Mooncake's have it."""


class Arrival(NamedTuple):
    """One request of a trace."""

    seconds: float
    """When it comes, since the trace began."""
    prompt_tokens: int
    """Tokens that are read for it, at least 1."""
    output_tokens: int
    """Tokens that are written for it, at least 1."""
    blocks: tuple[int, ...] = ()
    """Its prompt's whole blocks of ``BLOCK_TOKENS``, each by a hash of its tokens and of those before it; none: not
    known."""


class TraceError(Exception):
    """A file is no trace: its message has the file, the line, what is wrong there and what mends it."""
