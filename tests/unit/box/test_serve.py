"""What ``serve`` tells a service manager, and when engines outlive it."""

import os
import socket
from pathlib import Path

import pytest

from overspill_box.serve import is_service, notify


def test_a_service_manager_hears_that_it_is_ready(tmp_path: Path) -> None:
    """By its socket, where it has one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        notify({"NOTIFY_SOCKET": str(tmp_path / "notify")}, "READY=1")
        assert manager.recv(100) == b"READY=1"

    notify({"NOTIFY_SOCKET": str(tmp_path / "nowhere")}, "READY=1")
    notify({}, "READY=1")


@pytest.mark.parametrize(
    ("environment", "is_it"),
    [
        ({}, False),
        ({"INVOCATION_ID": "x", "SYSTEMD_EXEC_PID": "1"}, False),
        ({"SYSTEMD_EXEC_PID": str(os.getpid())}, True),
        ({"NOTIFY_SOCKET": "/run/systemd/notify"}, True),
    ],
)
def test_a_terminal_that_systemd_has_started_is_no_service(environment: dict[str, str], *, is_it: bool) -> None:
    """Whose variables its programs have as well: what is ended there does not mean to keep engines."""
    assert is_service(environment) is is_it
