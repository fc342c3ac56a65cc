"""JSON logs on stderr, one object a line: ts, level, logger, message and the context of the call."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter


def set_up_logs(level: str) -> None:
    """Send all logs of this process to stderr as JSON."""
    formatter = JsonFormatter(
        "{levelname}{name}{message}",
        style="{",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="ts",
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
