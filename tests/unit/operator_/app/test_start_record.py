"""What is known of starts, route by route: told once, counted, kept over a restart, and forgotten in time."""

from typing import Any

import pytest

from overspill_api.demand import HistogramDemand, RouteDemand, WorkDemand
from overspill_operator.adapters import telemetry
from overspill_operator.app.start_record import FIRST_ANSWER_SECONDS, NEWS_SECONDS, StartRecord
from overspill_operator.core.demand.recent_work import Growth, RecentWork
from overspill_operator.core.demand.work import Work
from overspill_operator.core.scaling.load_times import IMAGE, SCHEDULED, Phase, Start
from unit.operator_.core.builders import route
from unit.operator_.fakes import FakeEvents
from unit.operator_.virtual_clock import VirtualClock

ENGINE = "selfHosted: {source: hf://a/b, profile: cpu}"
SHOWN = "overspill_operator_last_load_seconds"
EXPECTED = "overspill_operator_expected_load_seconds"


class Rig:
    """A record whose news are kept."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.events = FakeEvents()
        self.news: list[str] = []
        self.work = RecentWork()
        self.record = StartRecord(self.events, clock, self.work, self.news.append)

    def starts(self, seconds: float, *, ago: float = 0.0, is_only: bool = False, **of: Any) -> None:
        """A replica of the route was ready so long ago."""
        phases = (Phase((SCHEDULED,), 1.0), Phase((IMAGE,), seconds - 1.0))
        self.record.record(route(ENGINE, **of), Start("r-1", self.clock.unix() - ago, phases), is_only=is_only)

    def hears(self, *seconds: float) -> None:
        """A gateway tells of streams at replicas whose first tokens took so long."""
        histogram = HistogramDemand(counts={"+Inf": len(seconds)}, seconds_sum=sum(seconds))
        done = WorkDemand(answers_total=len(seconds), first_token_since_sent=histogram)
        said = RouteDemand(route="chat/tiny", arrivals_total=len(seconds), work={"local": done} if seconds else {})
        self.work.heard(Growth("chat/tiny", "", Work.said(said)), self.clock.unix())
        self.record.note_demand("chat/tiny")

    def phases(self) -> list[tuple[str, float]]:
        """Of the last start, as status has them."""
        status = self.record.status(route(ENGINE))
        assert status is not None
        return [(phase["name"], phase["seconds"]) for phase in status["lastStart"]["phases"]]


@pytest.fixture
def rig(clock: VirtualClock) -> Rig:
    """One that has just begun."""
    return Rig(clock)


def value(name: str, **labels: str) -> float | None:
    """A series of the operator's metrics."""
    return telemetry.REGISTRY.get_sample_value(name, labels)


def test_a_start_is_an_event_and_news_and_what_is_expected(rig: Rig) -> None:
    """With all that deciding and status need."""
    assert rig.record.expected_seconds(route(ENGINE)) is None
    rig.starts(74)
    assert rig.events.told == [("chat/tiny", "EngineStarted")]
    assert rig.news == ["chat/tiny"]
    assert rig.record.expected_seconds(route(ENGINE)) == 74
    status = rig.record.status(route(ENGINE))
    assert status is not None
    assert status["madeFrom"] == "hf://a/b on cpu"
    assert status["advice"].startswith("The longest part was image (99 %).")


def test_one_that_was_over_long_ago_counts_and_is_no_event(rig: Rig) -> None:
    """The operator was away, or is of a version that has only now begun to look."""
    rig.starts(74, ago=NEWS_SECONDS + 1)
    assert rig.events.told == []
    assert rig.record.expected_seconds(route(ENGINE)) == 74


def test_a_restart_goes_on_from_status(rig: Rig) -> None:
    """And counts what comes then."""
    rig.starts(30)
    status = {"loadTime": rig.record.status(route(ENGINE))}
    after = Rig(rig.clock)
    subject = route(ENGINE, status=status)
    assert after.record.expected_seconds(subject) == 30
    assert after.record.last_unix(subject) == rig.clock.unix()
    assert after.events.told == []


def test_another_model_or_profile_is_not_expected_to_take_as_long(rig: Rig) -> None:
    """Nor is a route made anew under the name; status ceases to say so."""
    rig.starts(30)
    other = route("selfHosted: {source: hf://a/large, profile: cpu}")
    assert rig.record.expected_seconds(other) is None
    assert rig.record.status(other) is None


def test_metrics_show_the_last_start_alone(rig: Rig) -> None:
    """Phases of the one before vanish with it, and all of a route that is gone."""
    labels = {"namespace": "chat", "route": "tiny"}
    rig.starts(74)
    assert value(SHOWN, **labels, phase="image") == 73
    assert value(EXPECTED, **labels) == 74
    whole = Start("r-2", rig.clock.unix(), (Phase((SCHEDULED, IMAGE), 80.0),))
    rig.record.record(route(ENGINE), whole)
    assert value(SHOWN, **labels, phase="image") is None
    assert value(SHOWN, **labels, phase="scheduled and image") == 80
    rig.record.forget("chat/tiny")
    assert value(SHOWN, **labels, phase="scheduled and image") is None
    assert value(EXPECTED, **labels) is None


def test_metrics_of_routes_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound, status alone speaks of a route."""
    monkeypatch.setattr(telemetry, "LOAD_ROUTES_MAX", 3)
    names = [f"r{number}" for number in range(4)]
    for name in names:
        rig.starts(5, name=name)
    shown = [name for name in names if value(EXPECTED, namespace="chat", route=name) is not None]
    for name in names:
        rig.record.forget(f"chat/{name}")
    assert len(shown) == telemetry.LOAD_ROUTES_MAX
    assert value(EXPECTED, namespace="chat", route=names[0]) is None


def test_the_first_answers_are_part_of_a_start(rig: Rig) -> None:
    """Of the only replica; known at once, or when a gateway tells of them."""
    rig.hears()
    rig.clock.now += 60
    rig.starts(74, is_only=True)
    rig.hears()
    assert rig.phases()[-1] == ("image", 73)
    rig.clock.now += 2
    rig.hears(1.5, 2.5)
    assert rig.phases()[-1] == ("first answer", 2)
    assert rig.record.expected_seconds(route(ENGINE)) == 76
    rig.hears(9.0)
    assert rig.phases()[-1] == ("first answer", 2)

    rig.clock.now += 300
    rig.starts(40, is_only=True)
    rig.hears(3.0)
    rig.starts(50, is_only=True)
    assert rig.phases()[-1] == ("first answer", 3)


def test_answers_of_others_or_of_later_are_no_first_ones(rig: Rig) -> None:
    """Where another replica answers as well nobody knows whose they are."""
    rig.hears()
    rig.clock.now += 60
    rig.starts(74)
    rig.hears(2.0)
    assert rig.phases()[-1][0] == "image"

    rig.clock.now += 300
    rig.starts(40, is_only=True)
    rig.clock.now += FIRST_ANSWER_SECONDS + 1
    rig.hears()
    rig.hears(2.0)
    assert rig.phases()[-1][0] == "image"
