"""The levels of both processes' logs, as their settings take them."""

from typing import Final

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def read_log_level(text: str) -> str:
    """The level that a text names, in whatever case; raises ValueError, which says what can be written."""
    level = text.upper()
    if level not in LOG_LEVELS:
        raise ValueError(f"write one of {', '.join(LOG_LEVELS)}")
    return level
