"""Who listens on a port of this machine: an engine is asked nothing, and told no key, where another user does.

Linux only. Elsewhere whoever listens is taken for the engine.
"""

import os
import sys
from pathlib import Path
from typing import Final

from overspill_box.core.process import Listener

TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""Of the two the first that knows the port counts: what listens on an IPv4 address gets IPv4's connections."""
LISTENS: Final = b"0A"
ADDRESSES: Final = frozenset({
    b"0100007F", b"00000000", b"0" * 32, b"0000000000000000FFFF00000100007F", b"0000000000000000FFFF000000000000",
})  # fmt: skip
"""127.0.0.1 and all addresses, as the tables have them on machines with the small end first."""
BEGINNING_BYTES: Final = 65536
"""Some 400 lines, a millisecond; ten thousand connections would be read for twenty, ten times a second."""
ROOT: Final = 0
"""May do anything in any case, and listens for containers."""


def listener_at(port: int, tables: tuple[Path, ...] = TABLES) -> Listener:
    """Who gets a connection to 127.0.0.1 and this port."""
    if sys.platform != "linux" or sys.byteorder != "little":
        return Listener.OURS
    for table in tables:
        try:
            users = _users(_listeners(table), port)
        except OSError:  # no such protocol, or a system that keeps it from us
            if table == tables[0]:
                return Listener.OURS
            continue
        if users:
            return Listener.OURS if users <= {ROOT, os.geteuid()} else Listener.STRANGER
    return Listener.NOBODY


def _listeners(table: Path) -> bytes:
    """The table, of a long one its beginning where, as Linux has it, all that listens stands before all connections."""
    with table.open("rb") as file:
        text = file.read(BEGINNING_BYTES)
        states = [line.split()[3] for line in text.splitlines()[1:-1]]
        listening = states.count(LISTENS)
        if listening and listening < len(states) and LISTENS not in states[listening:]:
            return text
        return text + file.read()


def _users(table: bytes, port: int) -> set[int]:
    """Numbers of the users whose sockets listen on the port."""
    end = b":%04X" % port
    users = set()
    for line in table.splitlines()[1:]:
        if end in line:
            fields = line.split()
            address, _, _ = fields[1].partition(b":")
            if fields[1].endswith(end) and fields[3] == LISTENS and address in ADDRESSES:
                users.add(int(fields[7]))
    return users
