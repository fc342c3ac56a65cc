"""Starts a guard, and finds one that an earlier ``serve`` has started."""

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from overspill_box.processes.leftovers import GUARD_MARK

SCRIPT = Path(__file__).with_name("guard.py")
FOR_PYTHON = ("DYLD_LIBRARY_PATH", "LD_LIBRARY_PATH")
"""Where an interpreter may find its own library."""
SOCKET_PATH_MAX = 100
"""Bytes; systems take some 104 to 108."""


def spawn_guard(name: str, log: Path, token: str) -> tuple[int, socket.socket]:
    """Its pid and the socket to it; what goes wrong with it stands in the engine's log. Raises ``OSError``.

    The name is for people who look at the machine's processes.

    It is in a session of its own: a terminal's signals do not reach it.
    """
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        # Numbers above 2: where `serve` was started with these closed, what it opens may have them.
        standard_input = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, 3)
        errors = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3)
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", str(SCRIPT), name],
                {name: os.environ[name] for name in FOR_PYTHON if name in os.environ} | {GUARD_MARK: token},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, standard_input, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, errors, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            for number in (file, standard_input, errors):
                os.close(number)
    return pid, ours


def order_of(
    *,
    folder: Path,
    token: str,
    log: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    numbers: Sequence[float],
) -> bytes:
    """What the guard is told first (see ``guard.Order``). Raises ``ValueError`` where the command cannot be one."""
    try:
        working = os.getcwd()  # noqa: PTH109 - as it is, or was
    except OSError:
        working = "/"
    if not command:
        raise ValueError("the command is empty")
    fields = [
        str(folder.resolve()),
        f"{token}.sock",
        log.name,
        working,
        " ".join(str(number) for number in (len(command), *numbers)),
        *command,
        *(f"{name}={value}" for name, value in environment.items()),
    ]
    if any("\0" in field for field in fields):
        raise ValueError("the command or a variable has a NUL character in it")
    order = b"\0".join(os.fsencode(field) for field in fields)
    return f"start {len(order)}\n".encode() + order


def connect_guard(folder: Path, token: str) -> socket.socket:
    """The socket to a guard that runs. Raises ``OSError`` where it does not."""
    path = folder / f"{token}.sock"
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
            connection.connect(str(path))
        else:
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                connection.connect(f"/proc/self/fd/{directory}/{path.name}")
            finally:
                os.close(directory)
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection
