"""Demand from Prometheus: the same decisions as from the streams, and nothing goes down by what it lacks or invents."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, nan
from threading import Event
from typing import Any

import pytest

from overspill_api.demand import EngineDemand, GatewayDemand, HistogramDemand, RouteDemand, WorkDemand
from overspill_api.demand_metrics import PREFIX, PROCESS, Sample, process_samples, route_samples
from overspill_operator.adapters import prometheus_demand
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.adapters.prometheus_demand import PrometheusDemand
from overspill_operator.app.objects import Routes
from overspill_operator.app.scaler import Scaler
from overspill_operator.core.demand.demand_lines import read_line
from overspill_operator.core.demand.traffic import Coverage, GatewayView
from overspill_operator.core.objects import RouteObject
from overspill_operator.ports import DemandSource, Replicas
from unit.operator_.fakes import FakeEngines, FakeEvents
from unit.operator_.virtual_clock import VirtualClock

KEY = "ns/r"
SPEC: dict[str, Any] = {
    "selfHosted": {"source": "hf://a/b", "profile": "cpu"},
    "scaling": {"maxReplicas": 6, "idleAfter": "2m", "targets": {"concurrency": 10, "queueDepth": 4}},
}


@dataclass
class FakePrometheus:
    """Answers the two questions that are asked of it, by what was scraped last."""

    clock: VirtualClock
    scraped: dict[str, tuple[float, list[Sample]]] = field(default_factory=dict)
    error: Exception | None = None
    answer: Callable[[Any], Any] = lambda answer: answer
    ahead_seconds: float = 0.0
    """Of its clock."""

    def scrape(self, instance: str, samples: list[Sample]) -> None:
        """A target answers."""
        self.scraped[instance] = (self.clock.unix() + self.ahead_seconds, samples)

    def custom_query(self, query: str, params: dict[str, Any] | None = None) -> Any:
        """As ``PrometheusConnect.custom_query``."""
        if self.error is not None:
            raise self.error
        now = self.clock.unix() + self.ahead_seconds if params is None else float(params["time"])
        whens = query.startswith("timestamp(")
        assert 'namespace="release"' in query
        result = []
        for instance, (at, samples) in self.scraped.items():
            for name, labels, value in samples:
                told = {"__name__": name, **dict(labels), "instance": instance}
                if whens and name == PROCESS:
                    del told["__name__"]
                    result.append({"metric": told, "value": [now, repr(at)]})
                elif not whens:
                    result.append({"metric": told, "value": [now, repr(value)]})
        return self.answer(result)


class Side:
    """A scaler with a source of its own."""

    def __init__(self, clock: VirtualClock, source: DemandSource) -> None:
        self.engines = FakeEngines()
        routes = Routes(lambda _key: None)
        self.scaler = Scaler(self.engines, clock, routes, source, FakeEvents(), lambda _key: None)
        meta = {"namespace": "ns", "name": "r", "uid": "u1", "generation": 1}
        routes.put({"metadata": meta, "spec": SPEC, "status": {}})
        route = routes.get(KEY)
        assert route is not None
        self.route: RouteObject = route
        self.scaler.accept(route, None)

    def load(self, now: float) -> None:
        """Replicas are ready as soon as they are wanted."""
        wanted = self.scaler.desired(self.route)
        live = self.engines.live.get("u1")
        if live is None or live.ready != wanted:
            self.engines.live["u1"] = Replicas(wanted, ready=wanted, ready_since_unix=now if wanted else None)

    @property
    def decided(self) -> list[tuple[int, int, str, str]]:
        """All of the last decisions but their time."""
        return [(d["from"], d["to"], d["reason"], d["message"]) for d in self.scaler.decisions(self.route)]


class Rig:
    """One gateway and Prometheus that has scraped it."""

    def __init__(self, gateways: int = 1) -> None:
        self.clock = VirtualClock()
        self.prometheus = FakePrometheus(self.clock)
        self.demand = PrometheusDemand(
            self.prometheus, self.clock, matchers='namespace="release"', expected=lambda: gateways,
            on_demand=lambda _keys, _at: None,
            on_coverage=lambda: None,
        )  # fmt: skip
        self.side = Side(self.clock, self.demand)

    def scrape(self, said: RouteDemand, changes: dict[str, float] | None = None, instance: str = "g:1") -> None:
        """The gateway is scraped; some series have other values than they should."""
        now = self.clock.unix()
        samples = [*process_samples(f"gateway-{instance}", 2, now, 600.0), *route_samples(said)]
        self.prometheus.scrape(instance, [(n, labels, (changes or {}).get(n, v)) for n, labels, v in samples])

    async def looks(self, seconds: float = 0.0) -> int:
        """After so long Prometheus is asked and the route looked at: replicas."""
        self.clock.now += seconds
        self.side.load(self.clock.now)
        await self.demand.ask()
        self.side.scaler.evaluate(KEY)
        return self.side.scaler.desired(self.side.route)


@pytest.fixture
async def rig() -> Rig:
    """In a loop, because scaling sets timers."""
    asyncio.get_running_loop()
    return Rig()


def busy(rig: Rig, in_flight: int = 35) -> RouteDemand:
    """Requests for some replicas, the last one just now."""
    now = rig.clock.unix()
    return RouteDemand(route=KEY, uid="u1", in_flight_local=in_flight, last_arrival_unix_seconds=now)


def second(number: int, now: float) -> RouteDemand:
    """What a gateway says in one second of a load that comes, grows, queues, ebbs and ends."""
    level = (0, 4, 25, 25, 48, 12, 3, 0, 0, 0)[number // 60]
    count = sum((0, 4, 25, 25, 48, 12, 3, 0, 0, 0)[n // 60] for n in range(number))
    waiting = 40 if number // 60 == 3 else 0
    work = WorkDemand(
        answers_total=count, prompt_tokens_total=100 * count, output_tokens_total=20 * count,
        request_seconds_total=0.5 * count, first_token=HistogramDemand(counts={"0.3": count}, seconds_sum=0.2 * count),
    )  # fmt: skip
    arrived = min(number, 7 * 60 - 1)
    gauge = EngineDemand(served_by="local/r-0", running=8, waiting=waiting, kv_cache_usage=0.5, age_seconds=0.5)
    return RouteDemand(
        route=KEY, uid="u1", in_flight_local=level, held=level // 8, wants_replica=60 <= number < 62,
        last_arrival_unix_seconds=now - (number - arrived) if number >= 60 else None, arrivals_total=count,
        work={"local": work} if count else {}, engines=(gauge,) if level else (),
    )  # fmt: skip


async def test_one_load_is_decided_the_same_by_both_sources(rig: Rig) -> None:
    """Ten minutes of a day, second by second, by the stream's lines and by scrapes: each step, reason and figure."""
    streams = GatewayStreams(rig.clock, lambda _keys, _at: None, lambda: None, fixed=["g:1"])
    other = Side(rig.clock, streams)
    for number in range(600):
        rig.clock.now += 1.0
        now = rig.clock.unix()
        said = second(number, now)
        head = GatewayDemand(
            gateway="gateway-g:1", now_unix_seconds=now, version=2, uptime_seconds=600.0, routes=(said,)
        )  # fmt: skip
        view = streams.views.setdefault("g:1", GatewayView(now, now))
        for growth in view.take(read_line(head.model_dump_json(exclude_defaults=True).encode(), now), now).growth:
            streams.work.heard(growth, now)
        rig.scrape(said)
        await rig.demand.ask()
        assert streams.work.of(KEY, "u1", now) == rig.demand.work.of(KEY, "u1", now)
        if number % 2:
            for side in (rig.side, other):
                side.load(now)
                side.scaler.evaluate(KEY)

    assert rig.side.decided == other.decided
    assert {reason for _, _, reason, _ in other.decided} >= {
        "FirstRequest",
        "Demand",
        "QueueDepth",
        "LowDemand",
        "Idle",
    }


@pytest.mark.parametrize("ahead_seconds", [-3600.0, 0.0, 3600.0])
async def test_whose_clock_is_right_does_not_matter(rig: Rig, ahead_seconds: float) -> None:
    """How old a scrape is is the difference of two times of Prometheus' own clock."""
    rig.prometheus.ahead_seconds = ahead_seconds
    rig.scrape(busy(rig))
    assert await rig.looks() == 4
    assert rig.demand.reported is Coverage.COMPLETE
    assert await rig.looks(26.0) == 4
    assert rig.demand.unheard(rig.clock.unix()) == 1


async def test_while_prometheus_is_away_nothing_goes_down(rig: Rig) -> None:
    """The last number stays, and status says what is wrong; what was missed comes with the next scrape."""
    rig.scrape(busy(rig))
    assert await rig.looks() == 4
    rig.prometheus.error = OSError("connection refused")
    for _ in range(100):
        assert await rig.looks(10.0) == 4
    facts = rig.side.scaler.facts(rig.side.route)
    assert facts is not None
    assert (facts.coverage, facts.source_trouble) == (
        Coverage.NONE,
        "Prometheus does not answer: connection refused",
    )

    rig.prometheus.error = None
    for _ in range(70):
        rig.scrape(busy(rig, in_flight=15))
        await rig.looks(2.0)
    assert await rig.looks() == 2
    assert rig.demand.trouble == ""


async def test_an_answer_that_does_not_end_is_waited_for_no_longer_than_it_may(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is silence, and no second question is asked beside it; once it has come, it counts as of when it was asked."""
    monkeypatch.setattr(prometheus_demand, "QUESTION_SECONDS", 0.01)
    rig.scrape(busy(rig))
    ends, asked = Event(), []

    def slow(answer: Any) -> Any:
        asked.append(answer)
        assert ends.wait(10.0)
        return answer

    rig.prometheus.answer = slow
    for _ in range(3):
        await rig.demand.ask()
    assert len(asked) == 1
    assert rig.demand.trouble == "Prometheus does not answer: nothing whole within 0.01 s"
    assert not rig.demand.views

    monkeypatch.setattr(prometheus_demand, "QUESTION_SECONDS", 10.0)
    ends.set()
    asked_unix = rig.clock.unix()
    assert await rig.looks(20.0) == 4
    assert rig.demand.trouble == ""
    assert [view.last_line_unix for view in rig.demand.views.values()] == [asked_unix]


async def test_a_scrape_that_gets_old_is_silence(rig: Rig) -> None:
    """Prometheus goes on answering with what it had last: the gateway, or the way to it, is gone."""
    rig.scrape(busy(rig))
    assert await rig.looks() == 4
    for _ in range(100):
        assert await rig.looks(10.0) == 4
    assert rig.demand.reported is Coverage.NONE


async def test_one_gateway_of_two_is_only_part_of_demand() -> None:
    """It may call for more, and for nothing less."""
    rig = Rig(gateways=2)
    rig.scrape(busy(rig))
    assert await rig.looks() == 4
    for _ in range(100):
        rig.scrape(RouteDemand(route=KEY, uid="u1"))
        assert await rig.looks(5.0) == 4
    assert rig.demand.reported is Coverage.PARTIAL
    rig.scrape(busy(rig, in_flight=55))
    assert await rig.looks(2.0) == 6


@pytest.mark.parametrize("value", [nan, inf, -inf, 1e30, 0.5])
async def test_figures_that_cannot_be_take_nothing_away(rig: Rig, value: float) -> None:
    """Requests in flight are not known then, and not zero; nor does a number of another world buy replicas."""
    rig.scrape(busy(rig))
    assert await rig.looks() == 4
    for _ in range(100):
        rig.scrape(RouteDemand(route=KEY, uid="u1"), {f"{PREFIX}held_requests": value})
        assert await rig.looks(5.0) == 4
    facts = rig.side.scaler.facts(rig.side.route)
    assert facts is not None
    assert "held" in facts.doubts


async def test_a_count_below_zero_counts_as_none(rig: Rig) -> None:
    """As in a stream: a counter that was lowered once too often, and said so."""
    rig.scrape(busy(rig, in_flight=15), {f"{PREFIX}held_requests": -4.0})
    assert await rig.looks() == 2
    facts = rig.side.scaler.facts(rig.side.route)
    assert facts is not None
    assert facts.doubts == "gateway-g:1: held is below 0"


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: None,
        lambda _: {"result": []},
        lambda _: [None, 1, "x", {"metric": 3, "value": [1, "2"]}, {"metric": {}, "value": ["a", "b"]}],
        lambda result: [{**series, "value": [nan, "NaN"]} for series in result],
        lambda result: [{"metric": {"instance": 5, 6: None}, "value": series["value"]} for series in result],
    ],
    ids=["nothing", "no list", "rubbish", "no times", "no texts"],
)
async def test_an_answer_that_is_none_is_silence(rig: Rig, answer: Callable[[Any], Any]) -> None:
    """Whatever stands in Prometheus' place."""
    rig.scrape(busy(rig))
    assert await rig.looks() == 4
    rig.prometheus.answer = answer
    for _ in range(20):
        rig.scrape(RouteDemand(route=KEY, uid="u1"))
        assert await rig.looks(10.0) == 4
    assert "is /metrics/demand scraped?" in rig.demand.trouble


async def test_a_gateway_that_begins_anew_is_counted_anew(rig: Rig) -> None:
    """Its counters begin at zero, which is no step back; the old process' series are of no account any more."""
    work = WorkDemand(answers_total=50, output_tokens_total=500)
    rig.scrape(busy(rig).model_copy(update={"work": {"local": work}}))
    await rig.looks()
    samples = rig.prometheus.scraped["g:1"][1]
    rig.clock.now += 12.0
    young = [*process_samples("another", 2, rig.clock.unix(), 1.0), *route_samples(busy(rig))]
    rig.prometheus.scrape("g:1", young)
    await rig.looks()
    assert rig.demand.views["g:1"].identity == "another"
    assert len(samples) > len(young)
    assert json.dumps(rig.demand.views["g:1"].doubts) == "{}"
