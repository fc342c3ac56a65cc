"""The log for people at a terminal: one line for each thing that happens, with its fields behind it."""

import logging
import re
import sys
import time
from typing import Final

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What terminals obey: clients, hosted APIs and engines have a part in what is told."""
_QUIET: Final = ("aiohttp", "asyncio")


def _escaped(match: re.Match[str]) -> str:
    return repr(match.group())[1:-1]


class _Lines(logging.Formatter):
    """``12:00:01 warning: engine failed: why (engine=default/a#0)``."""

    def format(self, record: logging.LogRecord) -> str:
        fields = ", ".join(f"{name}={value}" for name, value in vars(record).items() if name not in _OWN)
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level}{record.getMessage()}"
        if fields:
            text += f" ({fields})"
        text = _CONTROL.sub(_escaped, text)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def set_up_logs(level: str) -> None:
    """Send all logs of this process to stderr as lines for people."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
