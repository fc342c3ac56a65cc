"""The command as it was typed, where it does not serve."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from overspill_box import commands
from overspill_box.app.state_directory import RUNNING, StateDirectory
from overspill_box.core.process import Listener
from overspill_box.settings import ServeError


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """The table."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ROUTE\n")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[str]:
    """A state directory that says where a process is, which answers."""
    server = HTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    StateDirectory(tmp_path).write_json(RUNNING, {"admin": f"http://127.0.0.1:{server.server_port}"})
    yield str(tmp_path)
    server.shutdown()
    server.server_close()


def test_status_is_what_the_running_process_says(state: str) -> None:
    """On its admin port."""
    assert commands.status(state, {}) == "ROUTE\n"


def test_another_users_program_is_not_believed(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a process was killed its port may be anybody's, and what that says goes to a terminal."""
    monkeypatch.setattr(commands, "listener_at", lambda _port: Listener.STRANGER)

    with pytest.raises(ServeError, match="no overspill serve runs"):
        commands.status(state, {})
