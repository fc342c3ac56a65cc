"""The end of what an engine has printed."""

import os
from pathlib import Path

from overspill_box.core.process import LAST_WORDS_MAX

LINE_CHARACTERS_MAX = 2000
TAIL_BYTES = 2**18
"""What so many lines are looked for in."""
STARTED = "--- started "
"""How the line begins that a guard writes above each run."""


def last_words(path: Path) -> tuple[str, ...]:
    """The last lines of the last run, at most ``LAST_WORDS_MAX``, from this file and the one before it."""
    text = _tail(path)
    if len(text) < TAIL_BYTES:
        text = _tail(path.with_name(f"{path.name}.1"))[len(text) - TAIL_BYTES :] + text
    lines = text.decode(errors="replace").splitlines()
    begins = max((number + 1 for number, line in enumerate(lines) if line.startswith(STARTED)), default=0)
    return tuple(line[:LINE_CHARACTERS_MAX] for line in lines[begins:][-LAST_WORDS_MAX:])


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read()
    except OSError:
        return b""
