"""Reading engines' gauges: while their route is busy, seldom, beside requests, and given up where nothing is said."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from overspill_gateway.backends import scrapes
from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.backends.problems import BackendProblems
from overspill_gateway.backends.scrapes import EngineGauges, Pools
from overspill_gateway.clock import Clock
from overspill_gateway.core.admission.route_pool import PoolListener, RouteMoney, RoutePool
from overspill_gateway.core.backends.rotation import EndpointFact
from overspill_gateway.core.counters import BackendCounters
from overspill_gateway.core.prediction.load import ReplicaLoad
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.requests.ask import Ask
from unit.gateway.backends import Backend, Received, Wire
from unit.gateway.harness import eventually

pytestmark = pytest.mark.interpreted  # it changes constants

VLLM = (Path(__file__).parents[1] / "api" / "data" / "vllm-0.32-metrics-busy.txt").read_bytes()
EVERY = 0.02

Says = Callable[[Wire], Awaitable[None]]


def says(body: bytes, status: int = 200, after: float = 0.0) -> Says:
    """Answers with this, after so long."""

    async def answer(wire: Wire) -> None:
        await asyncio.sleep(after)
        await wire.write(b"HTTP/1.1 %d OK\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))

    return answer


async def silence(wire: Wire) -> None:
    """Never answers."""
    await wire.gone.wait()


class Engine(Backend):
    """An engine with gauges, and the replica that stands for it."""

    def __init__(self, answer: Says) -> None:
        super().__init__(script=None)  # type: ignore[arg-type]  # it serves no requests
        self.says = answer
        self.asked_at: list[float] = []

    async def listen(self, tls: ssl.SSLContext | None = None) -> None:
        """Be there; from now on there is a replica of it."""
        await super().listen(tls)
        fact = EndpointFact("127.0.0.1", self.port, "pod", "uid", ready=True, terminating=False)
        problems = BackendProblems("team/a", "local", (), lambda: None, Clock())
        self.replica = Replica(fact, self.port, 1.0, BackendCounters(), problems, ServiceRates())

    @property
    def load(self) -> ReplicaLoad:
        """Of its replica."""
        return self.replica.load

    async def answer(self, received: Received, wire: Wire) -> None:
        """Say what a test wants it to say."""
        assert received.line == "GET /metrics HTTP/1.1"
        assert received.headers["host"] == f"127.0.0.1:{self.port}"
        self.asked_at.append(asyncio.get_running_loop().time())
        await self.says(wire)


class Listens(PoolListener[Replica]):
    """Counts how often the operator is to hear of a route."""

    def __init__(self) -> None:
        self.told = 0

    def demand_changed(self, *, urgent: bool = False) -> None:
        """Once more."""
        assert not urgent
        self.told += 1


def pool_of(*engines: Engine, listener: Listens | None = None) -> RoutePool[Replica, Hosted]:
    """The pool of a route with these engines."""
    pool: RoutePool[Replica, Hosted] = RoutePool(listener or Listens(), ServiceRates(), RouteMoney())
    pool.replicas = [engine.replica for engine in engines]
    return pool


@contextlib.asynccontextmanager
async def reading(*engines: Engine, busy: bool = True, pools: Pools | None = None) -> AsyncIterator[EngineGauges]:
    """One route with these engines; a request is at the first."""
    for engine in engines:
        await engine.listen()
    if busy:
        engines[0].load.sent(Ask())
    pool = pool_of(*engines)
    gauges = EngineGauges(pools or (lambda: [pool]))
    gauges.start()
    try:
        yield gauges
    finally:
        gauges.stop()
        for engine in engines:
            engine.kill()
        await eventually(lambda: not any(engine.wires for engine in engines))


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are fiftieths of a second here."""
    monkeypatch.setattr(scrapes, "EVERY_SECONDS", EVERY)
    monkeypatch.setattr(scrapes, "ENGINE_SHARE", 1.0)


async def test_all_replicas_of_a_busy_route_are_read() -> None:
    """Those without a request of ours as well: other gateways may have sent some."""
    engines = [Engine(says(VLLM)), Engine(says(VLLM))]
    async with reading(*engines) as gauges:
        await eventually(lambda: all(engine.load.scraped_at > 0 for engine in engines))
        assert gauges.failures_total == 0
    for engine, others in zip(engines, (5, 6), strict=True):
        load = engine.load
        assert (load.running, load.waiting, load.kv_cache_usage) == (6, 0, 0.00036623329060614385)
        assert load.running - load.in_flight_at_scrape == others


async def test_an_idle_route_costs_its_engines_nothing() -> None:
    """Nobody is asked before the first request, nor after the last; connections are closed."""
    engine, looks = Engine(says(VLLM)), 0

    def pools() -> list[RoutePool[Replica, Hosted]]:
        nonlocal looks
        looks += 1
        return [pool_of(engine)]

    async with reading(engine, busy=False, pools=pools):
        await eventually(lambda: looks > 10)
        assert engine.connections == 0
        engine.load.sent(Ask())
        await eventually(lambda: len(engine.asked_at) >= 2)
        engine.load.done(Ask(), first_token_came=True)
        await eventually(lambda: not engine.wires)
        asked, seen = len(engine.asked_at), looks
        await eventually(lambda: looks > seen + 10)
        assert len(engine.asked_at) == asked


async def test_one_connection_serves_all_questions_and_no_requests() -> None:
    """It is kept from one to the next, and is none of those that requests use."""
    engine = Engine(says(VLLM))
    async with reading(engine) as gauges:
        await eventually(lambda: gauges.answers_total >= 5)
        assert engine.connections == 1


async def test_questions_keep_their_distance() -> None:
    """Never two within a round."""
    engine = Engine(says(VLLM))
    async with reading(engine):
        await eventually(lambda: len(engine.asked_at) >= 6)
    gaps = [after - before for before, after in zip(engine.asked_at, engine.asked_at[1:], strict=False)]
    assert min(gaps) > EVERY * 0.7, "it is measured at the other end"


@pytest.mark.parametrize(
    "answer", [says(b"", 404), says(VLLM, 503), says(b"up 1\n"), says(b"vllm:num_requests_running nan\n")]
)
async def test_an_engine_that_does_not_say_is_asked_ever_more_rarely(answer: Says) -> None:
    """After two rounds, four, eight; what is known of its load stays as it is."""
    engine = Engine(answer)
    async with reading(engine) as gauges:
        await eventually(lambda: gauges.failures_total >= 4)
        assert gauges.answers_total == 0
    gaps = [after - before for before, after in zip(engine.asked_at, engine.asked_at[1:], strict=False)]
    assert [gap > EVERY * 2**number * 0.9 for number, gap in enumerate(gaps[:3], start=1)] == [True] * 3
    assert engine.load.scraped_at == float("-inf")


async def test_once_it_says_it_is_read_as_often_as_any() -> None:
    """Failures are forgotten with the first answer."""
    engine = Engine(says(b"", 404))
    async with reading(engine) as gauges:
        await eventually(lambda: gauges.failures_total >= 2)
        engine.says = says(VLLM)
        await eventually(lambda: gauges.answers_total >= 3)
    assert engine.load.running == 6


async def test_an_engine_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In time, and with its connection."""
    monkeypatch.setattr(scrapes, "ANSWER_SECONDS_MAX", 0.05)
    engine = Engine(silence)
    async with reading(engine) as gauges:
        await eventually(lambda: gauges.failures_total >= 1)
        await eventually(lambda: not engine.wires)


async def test_an_engine_that_says_too_much_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is not its to fill."""
    monkeypatch.setattr(scrapes, "ANSWER_BYTES_MAX", len(VLLM) - 1)
    engine = Engine(says(VLLM))
    async with reading(engine) as gauges:
        await eventually(lambda: gauges.failures_total >= 1)
        assert gauges.answers_total == 0


async def test_an_engine_that_is_gone_is_a_failure_like_any_other() -> None:
    """Its health is the probes' to find out."""
    engine = Engine(says(VLLM))
    await engine.listen()
    engine.kill()
    engine.load.sent(Ask())
    gauges = EngineGauges(lambda: [pool_of(engine)])
    gauges.start()
    await eventually(lambda: gauges.failures_total >= 2)
    gauges.stop()
    assert engine.connections == 0


async def test_a_slow_engine_is_asked_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing its metrics takes a bounded share of its time: here 40 ms in 400."""
    monkeypatch.setattr(scrapes, "ENGINE_SHARE", 0.1)
    engine = Engine(says(VLLM, after=0.04))
    async with reading(engine):
        await eventually(lambda: len(engine.asked_at) >= 2)
    assert engine.asked_at[1] - engine.asked_at[0] > 0.35


async def test_not_all_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds no room is asked when there is some."""
    monkeypatch.setattr(scrapes, "CONCURRENT_MAX", 1)
    engines = [Engine(says(VLLM, after=0.03)) for _ in range(3)]
    most = 0
    async with reading(*engines) as gauges:

        def all_read() -> bool:
            nonlocal most
            most = max(most, gauges.asking)
            return all(engine.load.scraped_at > 0 for engine in engines)

        await eventually(all_read)
    assert most == 1


async def test_many_engines_are_read_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reading costs the gateway has a bound however many replicas it has."""
    monkeypatch.setattr(scrapes, "ANSWERS_PER_SECOND_MAX", 10.0)
    engines = [Engine(says(VLLM)) for _ in range(4)]
    async with reading(*engines) as gauges:
        await eventually(lambda: all(engine.asked_at for engine in engines))
        assert gauges.every_seconds == pytest.approx(0.4)


async def test_stopping_ends_questions_and_connections() -> None:
    """At once, answered or not."""
    engines = [Engine(says(VLLM)), Engine(silence)]
    async with reading(*engines) as gauges:
        await eventually(lambda: gauges.answers_total > 0 and gauges.asking == 1)
        gauges.stop()
        assert gauges.asking == 0
        await eventually(lambda: not any(engine.wires for engine in engines))
        gauges.stop()


async def test_the_operator_hears_of_gauges_that_change_and_now_and_then_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It goes by none that are old, and a line each second that says nothing new would be one too many."""
    engine, listener = Engine(says(VLLM)), Listens()
    async with reading(engine, pools=lambda: [pool_of(engine, listener=listener)]) as gauges:
        await eventually(lambda: gauges.answers_total >= 4)
        assert listener.told == 1
        engine.says = says(b"vllm:num_requests_running 6\nvllm:num_requests_waiting 9\n")
        await eventually(lambda: listener.told == 2)
        monkeypatch.setattr(scrapes, "TELL_AGAIN_SECONDS", EVERY)
        await eventually(lambda: listener.told >= 5)


async def test_the_operator_hears_of_an_engine_that_does_not_say() -> None:
    """How often it was asked in vain; forgotten with the first answer."""
    engine, listener = Engine(says(b"", 404)), Listens()
    async with reading(engine, pools=lambda: [pool_of(engine, listener=listener)]) as gauges:
        await eventually(lambda: gauges.failures_total == 2)
        assert (engine.load.missed, listener.told) == (2, 2)
        engine.says = says(VLLM)
        await eventually(lambda: gauges.answers_total == 1)
        assert engine.load.missed == 0
