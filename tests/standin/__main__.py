"""The command line: `vllm serve MODEL ...`, `hosted ...`, and `die`, which ends a running one like SIGKILL does."""

from __future__ import annotations

import asyncio
import os
import sys

from .server import run
from .settings import UsageError, from_command_line


def die(port: int) -> None:
    """Tell the stand-in on this port to end at once."""
    import http.client  # noqa: PLC0415  -- costs start-up time that serving does not need

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("POST", "/standin/die")
    if connection.getresponse().status != 200:
        raise SystemExit(f"error: what listens on port {port} is not the stand-in")


def main(arguments: list[str]) -> int:
    """Serve until told to stop; the process's exit code."""
    if arguments[:1] == ["die"]:
        die(int(arguments[arguments.index("--port") + 1]) if "--port" in arguments else 8000)
        return 0
    try:
        settings = from_command_line(arguments, os.environ)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
