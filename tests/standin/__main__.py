"""Command line: ``vllm serve MODEL [vLLM's options]``, or ``vllm die`` to end the one that runs on this host."""

import asyncio
import http.client
import os
import signal
import sys

from standin.server import Standin
from standin.settings import read_settings

DRAIN_SECONDS = 10.0


async def serve(arguments: list[str]) -> None:
    """Serve until SIGTERM or SIGINT; what runs then is finished first."""
    standin = Standin(read_settings(arguments, os.environ))
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = await standin.start()
    port = server.sockets[0].getsockname()[1]
    print(f"{standin.settings.name} listens on port {port}", file=sys.stderr, flush=True)
    await ended.wait()
    server.close()
    await standin.drain(DRAIN_SECONDS)


def die(port: int) -> None:
    """Tell the stand-in on this host to end as if it were killed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/standin", '{"die": true}')
        connection.getresponse()
    except (ConnectionError, http.client.RemoteDisconnected):
        pass  # it died before it could answer: as it was told


if __name__ == "__main__":
    if sys.argv[1:2] == ["die"]:
        die(8000)
    else:
        asyncio.run(serve(sys.argv[1:]))
