"""Logs as one JSON object a line on stderr: ts, level, logger, message, and whatever a call gave as ``extra``."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

QUIET = ("kopf", "aiohttp", "asyncio", "kubernetes")
"""Libraries whose informative lines say nothing to a reader of this operator's log."""


def _is_no_attempt(record: logging.LogRecord) -> bool:
    """Kopf tells of each attempt that failed as an ERROR; what matters of it is told by this operator, once."""
    return not (record.name.startswith("kopf.") and str(record.msg).startswith("Request attempt "))


def configure(level: str) -> None:
    """Log from ``level`` on; libraries from WARNING on unless the level is DEBUG."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="ts",
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if logging.getLogger().level > logging.DEBUG:
        handler.addFilter(_is_no_attempt)
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)
