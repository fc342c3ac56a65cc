"""Ports for engines: free ones, each given once."""

import socket
from pathlib import Path

import pytest

from overspill_box.processes import free_port as module
from overspill_box.processes.free_port import free_port, is_free
from unit.box.processes.engines import Watched, spec_of


def test_a_port_that_somebody_listens_on_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 127.0.0.1 or on every address; where none is left, the error says so."""
    port = free_port()
    monkeypatch.setattr(module, "PORTS", range(port, port + 1))
    assert free_port() == port
    with pytest.raises(OSError, match=f"no port between {port} and {port} is free"):
        free_port({port})
    for address in ("127.0.0.1", "0.0.0.0"):
        with socket.create_server((address, port)):
            assert not is_free(port)
            with pytest.raises(OSError, match="no port"):
                free_port()
    assert free_port() == port


async def test_each_engine_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None that was given before, and none of an engine that runs, though it does not listen yet."""
    port = free_port()
    while not all(is_free(other) for other in range(port, port + 4)):
        port = free_port()
    monkeypatch.setattr(module, "PORTS", range(port, port + 4))
    watched = Watched(tmp_path)
    spec = spec_of("import signal; signal.pause()", port=port + 2)
    await watched.processes.start(spec)
    assert {watched.processes.free_port() for _ in range(3)} == {port, port + 1, port + 3}
    with pytest.raises(OSError, match="no port"):
        watched.processes.free_port()
    await watched.processes.close(keep=False)
