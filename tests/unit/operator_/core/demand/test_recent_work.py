"""What was done lately: the growth of gateways' counts, whoever comes, goes, or begins anew."""

from typing import Any

import pytest

from overspill_api.demand import GatewayDemand, RouteDemand
from overspill_operator.core.demand import recent_work
from overspill_operator.core.demand.demand_lines import Line, believed
from overspill_operator.core.demand.recent_work import SLOT_SECONDS, WINDOW_SECONDS, Growth, RecentWork
from overspill_operator.core.demand.traffic import STALE_AFTER_SECONDS, GatewayView, all_count_work
from overspill_operator.core.demand.work import Work

NOW = 1_800_000_000.0
KEY = "a/b"


def line(
    arrivals: int | None, *, gateway: str = "g/1", uptime: float = 1e6, version: int = 2, uid: str = "u", key: str = KEY
) -> Line:
    """A line that says how many requests have come; None: nothing of the route."""
    routes = () if arrivals is None else (RouteDemand(route=key, uid=uid, arrivals_total=arrivals),)
    said = GatewayDemand(gateway=gateway, now_unix_seconds=NOW, version=version, uptime_seconds=uptime)
    return believed(said, routes, {}, NOW)


class Listener:
    """An operator that listens to gateways by their addresses."""

    def __init__(self) -> None:
        self.views: dict[str, GatewayView] = {}
        self.work = RecentWork()
        self.doubts: list[str] = []

    def hear(self, seconds: float, arrivals: int | None, *, address: str = "g:1", **said: Any) -> None:
        """A line comes, so many seconds after the beginning."""
        view = self.views.setdefault(address, GatewayView(NOW + seconds, NOW + seconds))
        heard = view.take(line(arrivals, **said), NOW + seconds)
        for growth in heard.growth:
            self.work.heard(growth, NOW + seconds)
        self.doubts += [doubt.message for doubt in heard.doubts]

    def arrivals(self, seconds: float, uid: str = "u") -> float | None:
        """Requests of the last minute."""
        seen = self.work.of(KEY, uid, NOW + seconds)
        return None if seen is None else seen.work.arrivals


def test_counts_from_before_say_nothing_of_now() -> None:
    """A gateway that has run for long is heard for the first time: what it counts from then on is known."""
    listener = Listener()
    listener.hear(0, 1000)
    assert listener.arrivals(5) is None, "too short to tell"
    listener.hear(12, 1006)

    assert listener.arrivals(12) == 6
    seen = listener.work.of(KEY, "u", NOW + 12)
    assert seen is not None
    assert seen.per_second(seen.work.arrivals) == 0.5


def test_gateways_add_up() -> None:
    """Each by its own counts, of which a lost line loses nothing."""
    listener = Listener()
    for address in ("g:1", "g:2"):
        listener.hear(0, 100, address=address, gateway=address)
    listener.hear(15, 104, address="g:1", gateway="g:1")
    listener.hear(16, 150, address="g:2", gateway="g:2")

    assert listener.arrivals(20) == 54


def test_a_gateway_that_goes_leaves_what_it_did() -> None:
    """Until it is long ago."""
    listener = Listener()
    listener.hear(0, 100)
    listener.hear(12, 130)
    listener.views.clear()

    assert listener.arrivals(60) == 30
    assert listener.arrivals(12 + WINDOW_SECONDS + SLOT_SECONDS) == 0


def test_a_gateway_that_begins_anew_begins_at_zero() -> None:
    """What it counted before it was heard is recent, since it is young; nothing is taken for going back."""
    listener = Listener()
    listener.hear(0, 100)
    listener.hear(12, 130)
    listener.hear(20, 4, gateway="g/2", uptime=5.0)
    listener.hear(21, 6, gateway="g/2", uptime=6.0)

    assert listener.arrivals(21) == 36
    assert not listener.doubts


def test_a_route_that_is_new_began_at_zero() -> None:
    """The first line of a gateway has all that there are, so that one that comes later was made since."""
    listener = Listener()
    listener.hear(0, None)
    listener.hear(5, 3)

    assert listener.arrivals(20) == 3


def test_a_route_made_again_begins_anew() -> None:
    """What was done for the former one of its name is not the new one's."""
    listener = Listener()
    listener.hear(0, 100, uid="old")
    listener.hear(12, 130, uid="old")
    listener.hear(30, 2, uid="new")

    assert listener.arrivals(45, "old") is None
    assert listener.arrivals(45, "new") == 2
    assert not listener.doubts


def test_after_a_long_silence_nobody_knows_when_it_was_done() -> None:
    """A short one loses nothing."""
    listener = Listener()
    listener.hear(0, 100)
    listener.hear(STALE_AFTER_SECONDS - 1, 110)
    assert listener.arrivals(24) == 10
    listener.hear(24 + STALE_AFTER_SECONDS + 100, 5000)
    listener.hear(24 + STALE_AFTER_SECONDS + 101, 5001)

    assert listener.arrivals(24 + STALE_AFTER_SECONDS + 101) == 1


def test_counts_that_go_back_are_not_believed() -> None:
    """They are said to be, and what they grow by from there counts."""
    listener = Listener()
    listener.hear(0, 100)
    listener.hear(12, 40)
    listener.hear(14, 42)

    assert listener.doubts == ["counts of work have gone back"]
    assert listener.arrivals(14) == 2


def test_a_doubt_of_counts_hides_no_demand() -> None:
    """How many requests there are is known all the same: the number of replicas goes down as ever."""
    listener = Listener()
    listener.hear(0, 100)
    listener.hear(1, 40)

    assert [doubt.is_unknown for doubt in listener.views["g:1"].doubts.values()] == [False]
    listener.hear(2, 41)
    assert not listener.views["g:1"].doubts


def test_counts_that_were_not_believed_at_first_are_not_taken_for_new() -> None:
    """The route was known, and what it had counted was not: from the next line on it is."""
    listener = Listener()
    listener.hear(0, -5)
    listener.hear(12, 9000)
    listener.hear(13, 9001)

    assert listener.arrivals(25) == 1


def test_a_gateway_of_version_1_counts_nothing() -> None:
    """What it does not say is not zero: beside it what is known is of the others, alone it is nothing."""
    listener = Listener()
    listener.hear(0, 0, version=1)
    listener.hear(20, 0, version=1)

    assert listener.arrivals(20) is None


def test_beside_an_older_gateway_what_is_known_is_not_all() -> None:
    """Of half the requests it is known how long they took; how many there are is more than that."""
    listener = Listener()
    listener.hear(0, 100)
    listener.hear(12, 105)

    def whole(unheard: int = 0) -> bool:
        return all_count_work(listener.views.values(), unheard, NOW + 12)

    assert whole()
    assert not whole(unheard=1)
    listener.hear(12, 0, address="g:2", gateway="old", version=1)
    assert not whole()
    seen = listener.work.of(KEY, "u", NOW + 12, is_whole=whole())
    assert seen is not None
    assert (seen.work.arrivals, seen.is_whole) == (5, False)


def test_a_gateway_that_is_updated_in_place_is_heard_from_then_on() -> None:
    """At the same address another process speaks, of the next version."""
    listener = Listener()
    listener.hear(0, 0, version=1)
    listener.hear(20, 3, gateway="g/2", uptime=2.0)

    assert listener.arrivals(40) == 3


def test_what_is_long_ago_is_forgotten() -> None:
    """A minute and at most a slot is seen, and that is what rates go by."""
    listener = Listener()
    listener.hear(0, 0)
    for second in range(1, 201):
        listener.hear(second, second)

    seen = listener.work.of(KEY, "u", NOW + 200)
    assert seen is not None
    assert WINDOW_SECONDS <= seen.seconds <= WINDOW_SECONDS + SLOT_SECONDS
    assert abs(seen.per_second(seen.work.arrivals) - 1.0) < 0.05


def test_a_clock_that_is_set_back_begins_anew() -> None:
    """Nothing is seen in the future."""
    recent = RecentWork()
    work = Work.said(RouteDemand(route=KEY, arrivals_total=5))
    recent.heard(Growth(KEY, "u", work), NOW)
    assert recent.of(KEY, "u", NOW - 3600) is None
    recent.heard(Growth(KEY, "u", work), NOW - 3590)

    seen = recent.of(KEY, "u", NOW - 3580)
    assert seen is not None
    assert (seen.seconds, seen.work.arrivals) == (20.0, 5)


def test_no_gateway_fills_the_memory_with_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more routes than there can be, those that were heard of last are kept."""
    monkeypatch.setattr(recent_work, "ROUTES_MAX", 2)
    listener = Listener()
    for second, key in enumerate(["a/b", "a/c", "a/b", "a/d"]):
        listener.hear(second, second, key=key)

    known = {key: listener.work.of(key, "u", NOW + 30) is not None for key in ("a/b", "a/c", "a/d")}
    assert known == {"a/b": True, "a/c": False, "a/d": True}


def test_a_route_that_is_gone_is_forgotten() -> None:
    """So that the table does not grow for ever."""
    listener = Listener()
    listener.hear(0, 0)
    listener.hear(15, 5)
    listener.work.forget(KEY)

    assert listener.arrivals(15) is None
