"""What differs between the gateway's code compiled and interpreted, which is nothing but its speed."""

from __future__ import annotations

import gc
import importlib
import os
import weakref
from collections.abc import Callable

import pytest

from overspill_gateway.core.admission.plan import History
from overspill_gateway.core.admission.waiting import WaitingQueue
from overspill_gateway.gateway import is_compiled
from overspill_gateway.wire.pool import Address, Pool
from overspill_gateway.wire.upstream import UpstreamConnection


def test_what_is_tested_is_what_was_asked_for() -> None:
    """Else tests of the compiled code would prove nothing of it."""
    asked = os.environ.get("OVERSPILL_COMPILED") == "1"

    for name in ("core.admission.plan", "proxy.exchange", "wire.server"):
        module = importlib.import_module(f"overspill_gateway.{name}")
        assert str(module.__file__).endswith(".so") is asked
    assert is_compiled() is asked


@pytest.mark.parametrize("kind", ["history", "queue", "connection"])
async def test_weak_references_outlive_collections(kind: str) -> None:
    """A collection must not free what others hold: the C for classes with an interpreted base once did."""
    pool = Pool(Address("h", 1), idle_seconds=1, connect_seconds=1)
    makers: dict[str, Callable[[], object]] = {
        "history": History,
        "queue": WaitingQueue,
        "connection": lambda: UpstreamConnection(pool),
    }
    gone: list[tuple[weakref.ref[object], object]] = []
    kept: list[tuple[weakref.ref[object], object]] = []
    for number in range(300):
        one = makers[kind]()
        if not type(one).__weakrefoffset__:
            pytest.skip("interpreted, with slots")
        reference = weakref.ref(one)
        (kept if number % 3 else gone).append((reference, one) if number % 3 else (reference, None))
        if number % 10 == 0:
            gc.collect()
    del one
    for _ in range(5):
        gc.collect()

    assert all(reference() is None for reference, _ in gone)
    assert all(reference() is one for reference, one in kept)
