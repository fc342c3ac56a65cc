"""Where the benchmark keeps what it installs, and where one run writes. Not here: installing."""

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
CHECKOUT: Final = HERE.parent.parent
GATEWAY_CPU: Final = 0
"""Every gateway runs here, alone."""
COMPILED: Final = CHECKOUT / "build" / "compiled"
"""Where `make compiled` puts the gateway as its image has it."""
LOAD_CPU: Final = 1
"""Clients and the engine behind the gateway run here."""


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """``$XDG_CACHE_HOME/overspill/bench``, by default ``~/.cache/overspill/bench``."""
    chosen = environment.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is invalid and to be ignored.
    root = Path(chosen) if chosen.startswith("/") else Path.home() / ".cache"
    return root / "overspill" / "bench"


@contextmanager
def one_run_at_a_time() -> Iterator[None]:
    """Wait until no other run of this user measures: they would share the two CPUs."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "running.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run measures; waiting until it is over", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def command(name: str) -> str | None:
    """A command of the system; also in the folders of system daemons, which users' PATH lacks."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/usr/local/go/bin")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
