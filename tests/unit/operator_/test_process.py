"""What /readyz says of an operator."""

from typing import cast

from overspill_operator.adapters.leadership import Leadership
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.parts import Parts
from overspill_operator.ports import SECRETS, SERVICES
from overspill_operator.process import Process
from overspill_operator.settings import Settings
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock


def leading() -> Process:
    """One that leads."""
    process = Process(Settings.from_environment({}), VirtualClock())
    process._leadership = Leadership(FakeCluster(), VirtualClock(), "system", "me")
    process._leadership.heard.set()
    process._parts = cast("Parts", object())
    process._ready = True
    return process


def test_everything_that_is_not_seen_is_told() -> None:
    """First what people write, then what is made: one missing right hides no other."""
    process = leading()
    assert process._unready() == ""
    services, secrets = (
        WatchCache(FakeCluster(), resource, clock=VirtualClock(), labels="") for resource in (SERVICES, SECRETS)
    )
    process._caches = (services, secrets)
    secrets._troubles[""], services._troubles[""] = "secrets", "services"
    process._note("watch", "modelroutes can't be watched")
    process._note("list", "modelroutes can't be listed")
    expected = ["modelroutes can't be listed", "modelroutes can't be watched", "services", "secrets"]
    assert process._unready().splitlines() == expected

    secrets._troubles.clear()
    services._troubles.clear()
    process._note("watch", "")
    process._note("list", "")
    assert process._unready() == ""


def test_what_keeps_it_from_leading_comes_first() -> None:
    """Nothing is seen before it leads."""
    process = leading()
    process._note("list", "modelroutes can't be listed")
    process._hindrance = "the release in namespace first has all namespaces"
    assert process._unready() == "not leading: the release in namespace first has all namespaces"
