"""Who listens on a port: this user's programs are told from others'."""

import os
import socket
import sys
from pathlib import Path

import pytest

from overspill_box.core.process import Listener
from overspill_box.processes.listeners import listener_at

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux says who listens")

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ANY6 = "0" * 32


def line(address: str, port: int, uid: int, state: str = "0A") -> str:
    """One socket as the table has it."""
    return f"   0: {address}:{port:04X} 00000000:0000 {state} 0:0 00:0 0 {uid} 0 1603 1 0 100 0 0 10 0\n"


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")])
def test_this_users_own_is_known(family: socket.AddressFamily, host: str) -> None:
    """From when it listens, not from when it has the port."""
    with socket.socket(family) as endpoint:
        endpoint.bind((host, 0))
        port = endpoint.getsockname()[1]
        assert listener_at(port) is Listener.NOBODY

        endpoint.listen()
        assert listener_at(port) is Listener.OURS


@pytest.mark.parametrize(
    ("four", "six", "who"),
    [
        (line("0100007F", 20001, 4242), "", Listener.STRANGER),
        (line("00000000", 20001, 4242), line(ANY6, 20001, os.geteuid()), Listener.STRANGER),
        ("", line(ANY6, 20001, 4242), Listener.STRANGER),
        (line("0100007F", 20001, os.geteuid()), line(ANY6, 20001, 4242), Listener.OURS),
        (line("0100007F", 20001, 0), "", Listener.OURS),
        (line("0100007F", 20001, 4242, state="01") + line("0100007F", 20002, 4242), "", Listener.NOBODY),
        (line("0200A8C0", 20001, 4242), "", Listener.NOBODY),
    ],
)
def test_others_are_strangers(tmp_path: Path, four: str, six: str, who: Listener) -> None:
    """What listens on IPv4 gets the connection, whoever has IPv6; connections and other ports are nobody's."""
    tables = tmp_path / "tcp", tmp_path / "tcp6"
    for path, text in zip(tables, (four, six), strict=True):
        path.write_text(HEAD + text)

    assert listener_at(20001, tables) is who


@pytest.mark.parametrize("first", ["0A", "01"])
def test_a_long_table_is_read_as_far_as_need_be(tmp_path: Path, first: str) -> None:
    """To the first connections where all that listens comes first, else to its end."""
    own = line("0100007F", 20001, os.geteuid())
    connections = line("0100007F", 20002, 4242, state="01") * 2000
    text = own + connections if first == "0A" else connections + own
    (tmp_path / "tcp").write_text(HEAD + text)

    assert listener_at(20001, (tmp_path / "tcp",)) is Listener.OURS


def test_where_the_system_does_not_say_nobody_is_a_stranger(tmp_path: Path) -> None:
    """As before there was such a look."""
    assert listener_at(20001, (tmp_path / "tcp",)) is Listener.OURS
