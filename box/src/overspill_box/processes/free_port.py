"""A port for an engine."""

import itertools
import random
import socket
from collections.abc import Collection

PORTS = range(20000, 32000)
"""Below those that Linux gives to outgoing connections: one of them could take the port while the engine loads."""


def free_port(but: Collection[int] = ()) -> int:
    """A port that nothing listens on at 127.0.0.1, none of ``but`` (other engines', which may not listen yet).

    Raises ``OSError`` where there is none.
    """
    first = random.randrange(len(PORTS))  # noqa: S311 - no secret
    for port in itertools.chain(PORTS[first:], PORTS[:first]):
        if port not in but and is_free(port):
            return port
    raise OSError(f"no port between {PORTS.start} and {PORTS.stop - 1} is free on 127.0.0.1")


def is_free(port: int) -> bool:
    """Whether an engine could listen on it now, on 127.0.0.1 and on every address (vLLM's default)."""
    for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - looked at, never listened on
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind((address, port))
            except OSError:
                return False
    return True
