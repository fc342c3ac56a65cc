"""An exception anywhere in a request: its client's answer ends, nothing stays held, it is logged once, others go on.

Each call that the request's own modules make is let to raise, one after the other, in requests of every kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pytest

from overspill_gateway.core.admission.request_state import RequestState
from overspill_gateway.proxy.attempt import Attempt
from overspill_gateway.proxy.gathered import READ_BYTES_MAX
from overspill_gateway.proxy.settling import Settling
from overspill_gateway.proxy.taking import Stage
from overspill_gateway.routes.route import Route
from unit.gateway import fault_scripts as scripts
from unit.gateway.backends import Backend, Script, answers, backend, resets_before_head, says_nothing
from unit.gateway.fault_observer import balanced_metrics
from unit.gateway.harness import Answer, Client, GatewayUnderTest, eventually, running_gateway, soon

pytestmark = pytest.mark.interpreted  # it looks at the calls of Python's code

MODULES = (
    "exchange", "containment", "attempt", "relay", "settling", "launching", "answering",
    "taking", "gathered",
    "waiting_client", "output_check",
)  # fmt: skip
DECIDING = ("request_flow", "route_pool", "learning")
CALLERS = {f"overspill_gateway.proxy.{name}" for name in MODULES}
CALLERS |= {f"overspill_gateway.core.{name}" for name in DECIDING}
PRICE = {"input_nano_usd_per_million": 10**9, "output_nano_usd_per_million": 2 * 10**9}


class Broken(Exception):  # noqa: N818 - it stands for any
    """What is raised."""


@dataclass
class Breaker:
    """Counts the calls that a request's modules make, and raises at one of them."""

    at: int = 0
    """Which call raises; 0: none."""
    calls: int = 0
    where: str = ""
    """The call that raised."""

    def trace(self, frame: FrameType, event: str, _: Any) -> None:
        """Python's hook: a call begins."""
        caller = frame.f_back
        if event != "call" or caller is None or caller.f_globals.get("__name__") not in CALLERS:
            return
        if frame.f_code.co_name in {"failed_inside", "_clean_up", "<listcomp>", "<genexpr>", "<lambda>"}:
            return
        self.calls += 1
        if self.calls == self.at:
            self.where = f"{caller.f_code.co_name} -> {frame.f_code.co_qualname}"
            raise Broken(self.where)

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """Look at calls."""
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            yield
        finally:
            sys.settrace(before)


@dataclass
class Scene:
    """A gateway with a route whose backend does something, and how a client asks."""

    gateway: GatewayUnderTest
    route: Route
    ask: Callable[[], Awaitable[str]]
    """One request; what the client saw of its end."""


async def asked(gateway: GatewayUnderTest, **fields: Any) -> str:
    """One request, on a connection of its own: its status and whether it was whole, or that the connection ended."""
    client = await gateway.client()
    gateway.send(client, max_tokens=5, **fields)
    try:
        answer: Answer = await soon(client.answer())
    except (asyncio.IncompleteReadError, ConnectionError):
        return "ended"
    finally:
        client.close()
        gateway.clients.remove(client)
    return f"{answer.status} {answer.whole}"


async def left(gateway: GatewayUnderTest, engine: Backend, **fields: Any) -> str:
    """A request whose client leaves before it is answered."""
    before = len(engine.requests)
    client: Client = await gateway.client()
    gateway.send(client, max_tokens=5, **fields)
    answered = asyncio.ensure_future(client.reader.read(1))
    await eventually(lambda: len(engine.requests) > before or answered.done())
    answered.cancel()
    client.reset()
    gateway.clients.remove(client)
    await eventually(lambda: not len(gateway.gateway.exchanges))
    return "left"


def by_turns(first: Script, second: Script) -> Script:
    """Another end of it for each request."""
    turn = [0]

    async def script(received: Any, wire: Any) -> None:
        turn[0] += 1
        await (first if turn[0] % 2 else second)(received, wire)

    return script


LONG = "x" * 2 * READ_BYTES_MAX
LONG_ANSWER = b'{"choices":[{"message":{"content":"%b"},"finish_reason":"stop"}]}' % LONG.encode()
LONG_EVENT = scripts.chat_event({"content": LONG}) + b"".join(scripts.CHAT_END)
BREAKS = scripts.breaks(2, scripts.ends_cleanly, extra=scripts.data({"error": scripts.BROKEN}))
HEDGING = {"after_seconds": 0.01, "max_percent": 100, "hosted_nano_usd_per_hour": 10**12}
HOLD = {"on_cold_start": "Hold", "hold_timeout_seconds": 0.02}
SCENES: dict[str, tuple[Script, dict[str, Any], dict[str, Any]]] = {
    "plain": (scripts.good, {}, {}),
    "streamed": (scripts.good, {"stream": True}, {}),
    "hosted, streamed": (scripts.good, {"stream": True}, {"local": None}),
    "hosted, plain, no usage": (scripts.says(b'{"choices":[{"message":{"content":"x"}}]}'), {}, {"local": None}),
    "a long answer": (scripts.says(LONG_ANSWER), {}, {}),
    "a long event": (scripts.breaks(2, scripts.ends_cleanly, extra=LONG_EVENT), {"stream": True}, {}),
    "refused": (scripts.status(422), {}, {"local": None}),
    "our key is refused": (scripts.status(401), {}, {"local": None, "retry_attempts": 0}),
    "overloaded, then another": (scripts.status(503), {}, {}),
    "reset, then another": (resets_before_head, {"stream": True}, {}),
    "an error in a 200": (scripts.says(b'{"error":{"message":"x"}}'), {}, {}),
    "breaks off": (BREAKS, {"stream": True}, {}),
    "goes on": (BREAKS, {"stream": True}, {"on_stream_failure": "Continue"}),
    "no JSON where a schema asks for it": (
        answers("{}"),
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}},
        {"validate_structured_output": True},
    ),
    "hedged": (says_nothing, {"stream": True}, {"hedging": HEDGING}),
    "total passes": (says_nothing, {}, {"timeouts": {"total_seconds": 0.05}, "hosted": []}),
    "held, and nobody comes": (scripts.good, {"stream": True}, {"overflow": HOLD, "hosted": []}),
    "the client leaves": (says_nothing, {"stream": True}, {"hosted": []}),
}  # fmt: skip


@contextlib.asynccontextmanager
async def scene(name: str) -> AsyncIterator[Scene]:
    """Everything is set up for requests of one kind."""
    script, fields, changes = SCENES[name]
    async with running_gateway() as gateway, backend(script) as first, backend(scripts.good) as second:
        known: dict[str, Any] = {
            "hosted": [second.hosted("second", **PRICE)],
            "budget": {"limit_nano_usd": 10**15},
            "retry_attempts": 1,
            "overflow": {"on_cold_start": "Hosted", "hold_timeout_seconds": 5},
        }
        if changes.get("local", "") is None:
            known["hosted"] = [first.hosted("first", **PRICE), *known["hosted"]]
        route = gateway.route(**(known | changes))
        if "local" not in changes and "held" not in name:
            gateway.endpoints(first.fact("first"))

        async def ask() -> str:
            if name == "the client leaves":
                return await left(gateway, first, **fields)
            return await asked(gateway, **fields)

        yield Scene(gateway, route, ask)


def held(gateway: GatewayUnderTest, route: Route) -> dict[str, Any]:
    """What is under way; all of it empty once requests have ended."""
    hosted = route.pool.hosted
    return {
        "exchanges": len(gateway.gateway.exchanges),
        "queue": len(route.pool.queue),
        "local": route.in_flight_local + sum(replica.load.in_flight for replica in route.replicas.values()),
        "spilled": route.pool.in_flight_spilled,
        "hosted": sum(len(one.attempts) for one in hosted),
        "holds": sum(one.meter.holds for one in hosted),
        "retries": gateway.gateway.shared.retries.active,
        "requests": gateway.gateway.shared.retries.requests_in_flight,
    }


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SCENES)
async def test_a_fault_of_ours_ends_one_request_and_nothing_else(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """At every call: the client hears of it, nothing is held, it is logged once, and the next request is served."""
    async with scene(name) as this:
        counting = Breaker()
        with counting.armed():
            normal = await this.ask()
        await eventually(lambda: not any(held(this.gateway, this.route).values()))
        assert counting.calls > 10
        for number in range(1, counting.calls + 1):
            rest(this.route)
            caplog.clear()
            breaker = Breaker(at=number)
            with caplog.at_level(logging.ERROR), breaker.armed():
                try:
                    seen = await this.ask()
                except TimeoutError:
                    pytest.fail(f"{breaker.where} ({number}): the client waits")
                try:
                    await eventually(lambda: not any(held(this.gateway, this.route).values()))
                except AssertionError:
                    pytest.fail(f"{breaker.where} ({number}): {seen}; held: {held(this.gateway, this.route)}")
            assert seen, breaker.where
            messages = [record.getMessage() for record in caplog.records]
            if breaker.where:
                assert len(messages) == 1, (breaker.where, messages)
            try:
                await balanced_metrics(this.gateway)
            except AssertionError as error:
                pytest.fail(f"{breaker.where}: {seen}; {error}")
        rest(this.route)
        assert await this.ask() == normal


@pytest.mark.parametrize("event", ["first_token", "passed_over"])
async def test_no_attempt_outlives_a_fault(event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the one through which it came nor a slower one beside it: what they bring is nobody's any more."""
    attempts: list[Attempt] = []
    began = Settling.began

    def noted(settling: Settling, request: RequestState, attempt: Attempt, now: float) -> None:
        attempts.append(attempt)
        began(settling, request, attempt, now)

    def broken(*_: object) -> None:
        raise Broken

    monkeypatch.setattr(Settling, "began", noted)
    monkeypatch.setattr(Settling, event, broken)
    async with scene("hedged" if event == "first_token" else "our key is refused") as this:
        await this.ask()
        await eventually(lambda: not any(held(this.gateway, this.route).values()))

        assert len(attempts) == (2 if event == "first_token" else 1)
        assert {attempt.stage for attempt in attempts} == {Stage.OVER}


def rest(route: Route) -> None:
    """Nobody is ejected for what happened before."""
    for one in (*route.replicas.values(), *route.pool.hosted):
        one.outlier.__init__()  # type: ignore[misc]
    gc.collect(0)


async def test_half_an_emoji_in_an_error_ends_the_client() -> None:
    """A token, then an error event whose message has half a surrogate pair: the usual error event, at once."""
    error = rb'data: {"error":{"message":"quota of \ud83d spent","type":"server_error","code":500}}' + b"\n\n"
    async with running_gateway() as gateway, backend(scripts.breaks(1, scripts.stalls, extra=error)) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        answer = await gateway.post(stream=True)

    last = answer.body.decode().split("\n\n")[-2]
    assert answer.whole
    assert "quota of \ufffd spent" in json.loads(last.removeprefix("data: "))["error"]["message"]
