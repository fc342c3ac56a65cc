"""One request of a trace, and what is wrong with a file that should hold some."""

from typing import NamedTuple


class Arrival(NamedTuple):
    """One request of a trace."""

    seconds: float
    """When it comes, since the trace began."""
    prompt_tokens: int
    """Tokens that are read for it, at least 1."""
    output_tokens: int
    """Tokens that are written for it, at least 1."""


class TraceError(Exception):
    """A file is no trace: its message has the file, the line, what is wrong there and what mends it."""
