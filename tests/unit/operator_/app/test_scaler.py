"""Scaling as it is driven: what a restart remembers, and what a route that comes back brings along."""

import asyncio
from typing import Any

import pytest

from overspill_operator.adapters import telemetry
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.app.objects import Routes
from overspill_operator.app.scaler import Scaler
from overspill_operator.core.demand.demand_lines import read_line
from overspill_operator.core.demand.traffic import DOUBTS_SECONDS, Coverage, GatewayView
from overspill_operator.core.objects import RouteObject
from overspill_operator.ports import EngineError, Replicas
from unit.operator_.fakes import FakeEngines, FakeEvents
from unit.operator_.virtual_clock import VirtualClock

BEGIN = 1_790_000_000.0
ENGINE = {"source": "hf://a/b", "profile": "cpu"}
HOSTED = [{"name": "o", "baseURL": "https://x.test/v1", "model": "m"}]


class Rig:
    """A scaler whose clock the test sets."""

    def __init__(self) -> None:
        self.clock = VirtualClock(BEGIN)
        self.engines, self.events = FakeEngines(), FakeEvents()
        self.routes = Routes(lambda _key: None)
        self.gateways = GatewayStreams(self.clock, lambda _keys, _at: None, lambda: None, fixed=["g:1"])
        self.decided: list[str] = []
        self.start()

    def start(self) -> None:
        """A process that begins."""
        self.scaler = Scaler(
            self.engines,
            self.clock,
            self.routes,
            self.gateways,
            self.events,
            self.decided.append,
        )

    def route(self, *, uid: str = "u1", generation: int = 1, status: Any = None, **spec: Any) -> RouteObject:
        """The route as it is written, in force."""
        meta = {"namespace": "ns", "name": "r", "uid": uid, "generation": generation}
        usual = {"scaling": {"maxReplicas": 4, "targets": {"concurrency": 10}}}
        self.routes.put({"metadata": meta, "spec": usual | spec, "status": status or {}})
        route = self.routes.get("ns/r")
        assert route is not None
        assert route.spec is not None, route.spec_errors
        self.scaler.accept(route, None)
        return route

    def engine(self, uid: str, replicas: int) -> None:
        """An engine of the route with this identity."""
        self.engines.live[uid] = Replicas(replicas)

    def hears(self, figures: str, version: int = 1) -> None:
        """The gateway says something of the route, and it is looked at."""
        self.line(figures, version)
        self.scaler.evaluate("ns/r")

    def line(self, figures: str, version: int = 1) -> None:
        """The gateway says something of the route."""
        routes = f'[{{"route":"ns/r",{figures}}}]'
        line = f'{{"gateway":"g","now_unix_seconds":{self.clock.now},"version":{version},"routes":{routes}}}'
        view = self.gateways.views.setdefault("g:1", GatewayView(BEGIN, BEGIN))
        view.take(read_line(line.encode(), self.clock.now), self.clock.now)

    def hears_of_engines(self, waiting: int | None, *, in_flight: int = 5, missed: int = 0) -> None:
        """The gateway has asked the route's one replica; None: in vain."""
        gauges = f'"running":8,"waiting":{waiting},"kv_cache_usage":0.5,' if waiting is not None else ""
        engines = f'[{{"served_by":"local/r-0",{gauges}"age_seconds":0.2,"missed":{missed}}}]'
        arrival = f'"last_arrival_unix_seconds":{self.clock.now}'
        self.hears(f'"in_flight_local":{in_flight},{arrival},"engines":{engines}', version=2)


@pytest.fixture
async def rig() -> Rig:
    """In a loop, because the scaler sets timers."""
    asyncio.get_running_loop()
    return Rig()


async def test_a_route_made_again_brings_neither_replicas_nor_wishes(rig: Rig) -> None:
    """The former one's Deployment may still be there, and gateways may still have its wish."""
    first = rig.route(uid="first", selfHosted=ENGINE)
    rig.hears(f'"uid":"first","held":25,"wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now}')
    assert rig.scaler.desired(first) == 3
    rig.engine("first", 3)

    second = rig.route(uid="second", selfHosted=ENGINE)

    assert rig.scaler.desired(second) == 0
    rig.hears(f'"uid":"first","held":25,"wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now}')
    assert rig.scaler.desired(second) == 0
    rig.hears(f'"uid":"second","wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now + 1}')
    assert rig.scaler.desired(second) == 1


async def test_an_engine_that_is_taken_away_and_added_again_begins_anew(rig: Rig) -> None:
    """Without its replicas of before, and without the wish that a gateway still has."""
    route = rig.route(selfHosted=ENGINE, hosted=HOSTED)
    rig.hears(f'"in_flight_spilled":25,"wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now}')
    assert rig.scaler.desired(route) == 3

    rig.route(generation=2, hosted=HOSTED)
    rig.clock.now += 5
    rig.hears(f'"wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now - 5}')
    route = rig.route(generation=3, selfHosted=ENGINE, hosted=HOSTED)

    assert rig.scaler.desired(route) == 0
    rig.clock.now += 1
    rig.hears(f'"wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now}')
    assert rig.scaler.desired(route) == 1


async def test_an_engine_given_up_stays_so_over_a_restart(rig: Rig) -> None:
    """The decision in status says when: the gateway's wish is from before, and has been heard."""
    route = rig.route(selfHosted=ENGINE, hosted=HOSTED, scaling={"idleAfter": "3s"})
    wish = f'"wants_replica":true,"last_arrival_unix_seconds":{BEGIN}'
    rig.hears(wish)
    assert rig.scaler.desired(route) == 1
    rig.clock.now += 1801
    rig.hears(wish)
    decisions = rig.scaler.decisions(route)
    assert (decisions[0]["to"], decisions[0]["reason"]) == (0, "StartTimeout")
    facts = rig.scaler.facts(route)
    assert facts is not None
    assert facts.start_failed

    rig.start()
    status = {"desiredReplicas": 0, "decisions": decisions}
    route = rig.route(selfHosted=ENGINE, hosted=HOSTED, scaling={"idleAfter": "3s"}, status=status)
    rig.hears(wish)
    assert rig.scaler.desired(route) == 0
    rig.clock.now += 1
    rig.hears(f'"wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now}')
    assert rig.scaler.desired(route) == 1


async def test_a_changed_spec_ends_the_pause_after_a_start_that_failed(rig: Rig) -> None:
    """A person may just have mended what kept the engine from starting."""
    fields: dict[str, Any] = {"selfHosted": ENGINE, "scaling": {"idleAfter": "3s"}}
    route = rig.route(**fields)
    rig.hears(f'"wants_replica":true,"last_arrival_unix_seconds":{BEGIN}')
    rig.clock.now += 1801
    rig.hears(f'"wants_replica":true,"last_arrival_unix_seconds":{BEGIN}')
    rig.clock.now += 1
    rig.hears(f'"wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now}')
    assert rig.scaler.desired(route) == 0

    route = rig.route(generation=2, **fields)

    assert rig.scaler.desired(route) == 1


async def test_status_speaks_of_doubts_for_a_while(rig: Rig) -> None:
    """Figures that cannot be are told by gateway and field, and not at every second line."""
    route = rig.route(selfHosted=ENGINE)
    rig.gateways.reported = Coverage.COMPLETE
    rig.decided.clear()
    rig.hears('"held":-3')
    assert "ns/r" in rig.decided
    facts = rig.scaler.facts(route)
    assert facts is not None
    assert facts.doubts == "g: held is below 0"
    rig.hears('"held":0')
    facts = rig.scaler.facts(route)
    assert facts is not None
    assert facts.doubts == "g: held is below 0"
    rig.clock.now += DOUBTS_SECONDS + 1
    facts = rig.scaler.facts(route)
    assert facts is not None
    assert facts.doubts == ""


async def test_a_number_is_written_where_the_engine_has_another(rig: Rig) -> None:
    """The last one decided, also where it changes while a write is under way; the event says what has changed."""
    rig.route(selfHosted=ENGINE)
    rig.engine("u1", 0)
    rig.hears(f'"held":5,"last_arrival_unix_seconds":{rig.clock.now}')
    rig.hears(f'"held":25,"last_arrival_unix_seconds":{rig.clock.now}')
    await rig.clock.until(lambda: rig.engines.live["u1"].wanted == 3)

    rig.hears(f'"held":25,"last_arrival_unix_seconds":{rig.clock.now}')

    assert rig.engines.written == [3]
    assert rig.events.told == [("ns/r", "ScaledUp"), ("ns/r", "ScaledUp")]


async def test_it_looks_again_when_it_is_time_and_not_before(rig: Rig) -> None:
    """Nobody need say that nobody asks: the engine goes to zero once idleAfter has passed."""
    rig.route(selfHosted=ENGINE, scaling={"idleAfter": "10s"})
    rig.engine("u1", 0)
    rig.hears(f'"wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now}')
    await rig.clock.until(lambda: rig.engines.written == [1])
    rig.engines.live["u1"] = Replicas(1, ready=1, ready_since_unix=rig.clock.now)
    rig.hears(f'"last_arrival_unix_seconds":{rig.clock.now}')

    rig.clock.advance(9.9)
    assert rig.engines.written == [1]
    rig.clock.advance(0.2)
    for _ in range(4):  # the look, and the write after it
        await asyncio.sleep(0)

    assert rig.engines.written == [1, 0]


async def test_a_write_that_fails_is_left_to_the_reconcile(rig: Rig) -> None:
    """Which is asked for, and finds that nothing is being written any more."""
    route = rig.route(selfHosted=ENGINE)
    rig.engine("u1", 0)
    rig.engines.errors.append(EngineError("0 Unreachable: no"))
    rig.decided.clear()
    rig.hears(f'"held":5,"last_arrival_unix_seconds":{rig.clock.now}')
    assert rig.scaler.is_writing(route)
    await rig.clock.until(lambda: rig.decided)

    assert not rig.scaler.is_writing(route)
    assert rig.decided == ["ns/r"]
    rig.scaler.write(route)
    await rig.clock.until(lambda: rig.engines.written == [1])


async def test_nothing_is_decided_before_all_engines_are_known(rig: Rig) -> None:
    """A number from before must not be taken for none."""
    route = rig.route(selfHosted=ENGINE)
    rig.engines.are_known = False

    rig.hears(f'"held":5,"last_arrival_unix_seconds":{rig.clock.now}')

    assert rig.scaler.desired(route) == 0


async def test_requests_that_wait_inside_an_engine_raise_the_number(rig: Rig) -> None:
    """By its own gauges, which a gateway has read: five requests fit one replica, and yet twelve wait in it."""
    route = rig.route(selfHosted=ENGINE, scaling={"minReplicas": 1, "maxReplicas": 4})
    rig.engines.live["u1"] = Replicas(1, ready=1, ready_since_unix=rig.clock.now)

    rig.hears_of_engines(3)
    assert rig.scaler.desired(route) == 1
    rig.hears_of_engines(12)

    assert rig.scaler.desired(route) == 2
    assert rig.scaler.decisions(route)[0]["reason"] == "QueueDepth"


async def test_where_no_request_is_at_a_replica_none_waits_in_it(rig: Rig) -> None:
    """A reading from a moment ago is from before the last one left."""
    route = rig.route(selfHosted=ENGINE, scaling={"minReplicas": 1, "maxReplicas": 4})
    rig.engines.live["u1"] = Replicas(1, ready=1, ready_since_unix=rig.clock.now)

    rig.hears_of_engines(12, in_flight=0)

    assert rig.scaler.desired(route) == 1


async def test_status_says_where_engines_do_not_say_how_long_their_queues_are(rig: Rig) -> None:
    """Only where that could change the number, and not of a gateway that does not tell of engines."""
    route = rig.route(selfHosted=ENGINE, scaling={"minReplicas": 1, "maxReplicas": 4})
    rig.engines.live["u1"] = Replicas(1, ready=1, ready_since_unix=rig.clock.now)

    def unread() -> str:
        facts = rig.scaler.facts(route)
        assert facts is not None
        return facts.queue_unread

    rig.hears(f'"in_flight_local":5,"last_arrival_unix_seconds":{rig.clock.now}')
    assert unread() == ""
    rig.hears_of_engines(None, missed=2)
    assert unread() == ""
    rig.hears_of_engines(None, missed=3)
    assert "vllm:num_requests_waiting" in unread()
    rig.hears_of_engines(None, in_flight=0, missed=3)
    assert unread() == ""
    rig.hears_of_engines(0)
    assert unread() == ""


async def test_a_wake_does_not_wait_for_the_beat(rig: Rig) -> None:
    """The first line that wishes for a replica is acted upon where it is read; the next ones wait."""
    route = rig.route(selfHosted=ENGINE)

    rig.line(f'"wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now}')
    rig.scaler.heard("ns/r", rig.clock.now)
    assert rig.scaler.desired(route) == 1

    rig.line(f'"held":25,"wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now}')
    rig.scaler.heard("ns/r", rig.clock.now)
    assert rig.scaler.desired(route) == 1


async def test_a_route_that_stays_at_zero_is_not_looked_at_with_each_line(rig: Rig) -> None:
    """Its gateways wish for a replica all the time that hosted APIs serve it: what is known waits for the beat."""
    window = {"name": "night", "from": "00:00", "to": "00:00", "maxReplicas": 0}
    route = rig.route(selfHosted=ENGINE, hosted=HOSTED, scaling={"maxReplicas": 4, "windows": [window]})
    rig.line(f'"in_flight_spilled":5,"wants_replica":true,"last_arrival_unix_seconds":{rig.clock.now}')
    rig.scaler.heard("ns/r", rig.clock.now)
    asked = rig.engines.asked

    rig.clock.now += 0.5
    rig.scaler.heard("ns/r", rig.clock.now)
    assert rig.engines.asked == asked
    rig.clock.now += 2.0
    rig.scaler.heard("ns/r", rig.clock.now)

    assert rig.engines.asked > asked
    assert rig.scaler.desired(route) == 0


async def test_what_was_heard_is_looked_at_on_the_next_beat(rig: Rig) -> None:
    """However many lines there were, once."""
    route = rig.route(selfHosted=ENGINE, scaling={"minReplicas": 1, "maxReplicas": 4, "targets": {"concurrency": 10}})
    beat = asyncio.create_task(rig.scaler.run())
    await asyncio.sleep(0)
    for held in (5, 15, 25):
        rig.line(f'"held":{held},"last_arrival_unix_seconds":{rig.clock.now}')
        rig.scaler.heard("ns/r", rig.clock.now)
    assert rig.scaler.desired(route) == 1

    rig.clock.advance(2.0)
    await asyncio.sleep(0)
    beat.cancel()

    assert rig.scaler.desired(route) == 3
    assert len(rig.scaler.decisions(route)) == 1


async def test_metrics_have_what_is_decided_of_each_route(rig: Rig) -> None:
    """By route and signal; a route that is gone leaves no series behind."""
    rig.route(selfHosted=ENGINE)
    rig.engines.live["u1"] = Replicas(2, ready=1)
    rig.hears(f'"held":25,"last_arrival_unix_seconds":{rig.clock.now}')
    telemetry.ROUTES.source = rig.scaler.figures

    desired = "overspill_operator_route_desired_replicas"
    needed = "overspill_operator_route_needed_replicas"
    assert telemetry.REGISTRY.get_sample_value(desired, {"namespace": "ns", "route": "r"}) == 3
    assert (
        telemetry.REGISTRY.get_sample_value(
            "overspill_operator_route_ready_replicas", {"namespace": "ns", "route": "r"}
        )
        == 1
    )
    assert telemetry.REGISTRY.get_sample_value(needed, {"namespace": "ns", "route": "r", "signal": "Concurrency"}) == 3
    rig.routes.remove("ns/r", "u1")
    rig.scaler.forget("ns/r")

    assert telemetry.REGISTRY.get_sample_value(desired, {"namespace": "ns", "route": "r"}) is None


async def test_what_another_autoscaler_is_advised_is_published_and_not_written(rig: Rig) -> None:
    """By Overspill's own rules and bounds, with its needs in status; the number that there is stays the other one's."""
    scaling = {"autoscaler": "External", "replicas": 1, "maxReplicas": 4, "targets": {"concurrency": 10}}
    route = rig.route(selfHosted=ENGINE, scaling=scaling)
    rig.engines.live["u1"] = Replicas(1, ready=1, ready_since_unix=rig.clock.now)
    rig.hears(f'"in_flight_local":25,"last_arrival_unix_seconds":{rig.clock.now}')

    assert rig.scaler.desired(route) == 1
    assert rig.engines.written == []
    (figures,) = rig.scaler.figures()
    assert (figures.desired, figures.advised, dict(figures.needed)["Concurrency"]) == (1, 3, 3)
    facts = rig.scaler.facts(route)
    assert facts is not None
    assert facts.advised == 3

    rig.route(generation=2, selfHosted=ENGINE)
    (figures,) = rig.scaler.figures()
    assert figures.advised is None
