"""One core decides in gateways, in the operator and in virtual time: a real trace goes through it twice, alike."""

import socket
import threading

import pytest

from unit.simulation import azure_conversation, simulate


def no_socket(*_: object) -> None:
    """What stands in for sockets."""
    raise AssertionError("deciding opens no socket")


@pytest.mark.exhaustive
def test_a_trace_is_decided_twice_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 requests through flow, pool and scaling in virtual time: the same seed, the same decisions; no I/O."""
    monkeypatch.setattr(socket, "socket", no_socket)
    threads = threading.active_count()
    arrivals = azure_conversation(100_000)

    first, second = simulate(arrivals, seed=1), simulate(arrivals, seed=1)

    assert first.digest == second.digest
    assert first.requests == 100_000
    assert not first.outcomes["refused"], "a hosted API takes whatever replicas can't"
    assert first.outcomes["local"] > 0.9 * first.requests, "and replicas come for what there is"
    assert max(change.after for change in first.changes) > 1
    assert first.changes[-1].after == 0, "when nobody asks any more they go"
    assert threading.active_count() == threads


def test_what_decides_differs_when_what_is_seen_differs() -> None:
    """The digest is one of decisions: another load time makes another one."""
    arrivals = azure_conversation(2_000)

    assert simulate(arrivals, load_seconds=60.0).digest != simulate(arrivals, load_seconds=20.0).digest
