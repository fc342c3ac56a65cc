"""Streams of demand: whom to listen to, and what is told of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from overspill_operator.adapters import gateway_streams
from overspill_operator.adapters.gateway_streams import GatewayStreams, _addresses
from overspill_operator.adapters.telemetry import REGISTRY
from overspill_operator.core.demand.steady_coverage import WORSE_AFTER_SECONDS
from overspill_operator.core.demand.traffic import Coverage, GatewayView
from overspill_operator.core.engine_access import KeySenders
from unit.operator_.virtual_clock import BEGIN_UNIX, VirtualClock


def line(*routes: dict[str, Any], gateway: str = "g1") -> bytes:
    """A line of the stream."""
    return json.dumps({"gateway": gateway, "now_unix_seconds": BEGIN_UNIX, "routes": routes}).encode() + b"\n"


class Gateway:
    """A gateway that the test makes speak and hang up."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.port = 0
        self.connections = 0

    @property
    def slice(self) -> dict[str, Any]:
        """The EndpointSlice that names it."""
        ports = [{"name": "admin", "port": self.port}]
        endpoints = [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}]
        return {"addressType": "IPv4", "endpoints": endpoints, "ports": ports}

    async def demand(self, request: web.Request) -> web.StreamResponse:
        """One stream, until None."""
        self.connections += 1
        response = web.StreamResponse()
        await response.prepare(request)
        while (content := await self.lines.get()) is not None:
            await response.write(content)
        return response


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway on loopback."""
    made = Gateway()
    app = web.Application()
    app.router.add_get("/demand", made.demand)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


async def test_a_gateway_is_listened_to_from_when_it_is_named_until_it_is_gone(
    clock: VirtualClock, gateway: Gateway
) -> None:
    """Its lines are handed over with the routes they speak of; a broken stream is opened again."""
    heard: list[list[str]] = []
    streams = GatewayStreams(clock, lambda keys, _at: heard.append(keys), lambda: None)
    task = asyncio.create_task(streams.run())
    streams.on_slice("ns/s", gateway.slice)
    gateway.lines.put_nowait(line({"route": "a/b", "held": 1}))
    await clock.until(lambda: heard == [["a/b"]])
    assert (streams.expected, streams.coverage(clock.now), streams.reported) == (
        1,
        Coverage.COMPLETE,
        Coverage.COMPLETE,
    )
    assert streams.identities == frozenset({"g1"})

    gateway.lines.put_nowait(None)
    await clock.until(lambda: gateway.connections == 2)
    gateway.lines.put_nowait(line({"route": "a/b"}, gateway="g2"))
    await clock.until(lambda: streams.identities == frozenset({"g2"}))

    # No longer named: what it still has to say is heard to the end, and then it is forgotten.
    streams.on_slice("ns/s", None)
    gateway.lines.put_nowait(line({"route": "c/d"}, gateway="g2"))
    await clock.until(lambda: heard[-1] == ["c/d"])
    gateway.lines.put_nowait(None)
    await clock.until(lambda: not streams.views)
    assert gateway.connections == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_line_that_is_none_breaks_only_its_stream(clock: VirtualClock, gateway: Gateway) -> None:
    """The stream is opened again; nothing else is harmed."""
    heard: list[list[str]] = []
    streams = GatewayStreams(clock, lambda keys, _at: heard.append(keys), lambda: None)
    task = asyncio.create_task(streams.run())
    streams.on_slice("ns/s", gateway.slice)
    gateway.lines.put_nowait(b"what?\n")
    await clock.until(lambda: gateway.connections == 1)
    gateway.lines.put_nowait(None)
    await clock.until(lambda: gateway.connections == 2)
    gateway.lines.put_nowait(line({"route": "a/b"}))
    await clock.until(lambda: heard == [["a/b"]])
    gateway.lines.put_nowait(None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_status_hears_of_the_worse_only_when_it_lasts(clock: VirtualClock) -> None:
    """A gateway that is replaced is silent for a moment; a thousand routes need not say so."""
    told: list[Coverage] = []
    streams = GatewayStreams(clock, lambda _keys, _at: None, lambda: told.append(streams.reported))
    streams.reported = Coverage.COMPLETE
    clock.advance(1000)
    streams.report()
    assert told == []
    clock.advance(WORSE_AFTER_SECONDS + 1)
    streams.report()
    assert told == [Coverage.NONE]


def test_a_gateway_that_drains_does_not_stand_in_for_another(clock: VirtualClock) -> None:
    """It is still heard while it finishes; the new one is not yet."""
    streams = GatewayStreams(clock, lambda _keys, _at: None, lambda: None, fixed=["192.0.2.2:9090"])
    streams.views["192.0.2.1:9090"] = GatewayView(0.0, 100.0)
    assert (streams.unheard(100.0), streams.coverage(100.0)) == (1, Coverage.PARTIAL)
    streams.views["192.0.2.2:9090"] = GatewayView(100.0, 100.0)
    assert (streams.unheard(100.0), streams.coverage(100.0)) == (0, Coverage.COMPLETE)


async def test_routes_are_looked_at_again_once_every_gateway_sends_engines_their_keys(
    clock: VirtualClock,
) -> None:
    """When the last old gateway of an upgrade has gone: once, and not for one that is silent for a moment."""
    told: list[KeySenders] = []
    streams = GatewayStreams(clock, lambda _keys, _at: None, lambda: told.append(streams.key_senders), fixed=["new:1"])
    streams.reported = Coverage.COMPLETE
    clock.advance(1000)
    now = clock.now
    streams.views["new:1"] = GatewayView(now, now, sends_engine_keys=True)
    streams.views["old:1"] = GatewayView(now, now)
    streams.report()
    assert (told, streams.key_senders) == ([], KeySenders.NOT_ALL)
    del streams.views["old:1"]
    streams.report()
    streams.report()
    assert told == [KeySenders.ALL]
    streams.views["new:1"].last_line_unix = 0.0
    streams.report()
    streams.views["new:1"].last_line_unix = now
    streams.report()
    assert told == [KeySenders.ALL]


def test_addresses_of_a_slice() -> None:
    """Ready endpoints, the admin port by its name, IPv6 in brackets."""
    endpoints = [
        {"addresses": ["192.0.2.1"], "conditions": {"ready": True}},
        {"addresses": ["192.0.2.2"], "conditions": {"ready": False}},
        {"addresses": ["192.0.2.3"]},
    ]
    ports = [{"name": "http", "port": 8080}, {"name": "admin", "port": 9191}]
    found = _addresses({"addressType": "IPv4", "endpoints": endpoints, "ports": ports})
    assert found == {"192.0.2.1:9191", "192.0.2.3:9191"}
    six = _addresses({"addressType": "IPv6", "endpoints": [{"addresses": ["2001:db8::1"]}], "ports": []})
    assert six == {"[2001:db8::1]:9090"}


async def test_no_line_ends_a_stream(clock: VirtualClock, gateway: Gateway) -> None:
    """Numbers of 400 digits, deep JSON, no JSON, a line without end: skipped; what comes next is heard."""
    heard: list[list[str]] = []
    streams = GatewayStreams(clock, lambda keys, _at: heard.append(keys), lambda: None)
    task = asyncio.create_task(streams.run())
    streams.on_slice("ns/s", gateway.slice)
    huge = b'{"gateway":"g","now_unix_seconds":1,"routes":[{"route":"default/a","held":1' + b"0" * 400 + b"}]}\n"
    for content in (huge, b"[" * 100_000 + b"\n", b"what?\n", b"x" * (gateway_streams.LINE_BYTES_MAX + 1) + b"\n"):
        gateway.lines.put_nowait(content)
    gateway.lines.put_nowait(line({"route": "a/b", "held": 1}))
    await clock.until(lambda: heard[-1:] == [["a/b"]])
    assert heard == [["default/a"], ["a/b"]]
    assert gateway.connections == 1
    gateway.lines.put_nowait(None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_stream_that_ends_at_once_is_opened_ever_more_seldom(
    clock: VirtualClock, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when it says something each time; the log says so once."""
    streams = GatewayStreams(clock, lambda _keys, _at: None, lambda: None)

    async def stream(_address: str) -> str:
        return "the gateway has ended it"

    monkeypatch.setattr(streams, "_stream", stream)
    task = asyncio.create_task(streams.run())
    streams.on_slice("ns/s", gateway.slice)

    def pauses() -> list[float]:
        return [pause for pause in clock.pauses if pause != gateway_streams.TICK_SECONDS]

    await clock.until(lambda: len(pauses()) == 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert pauses()[0] <= 0.1
    assert pauses()[-1] >= gateway_streams.RETRY_SECONDS_MAX / 2
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    assert gateway.connections == 0


async def test_refused_documents_are_told_when_they_come_and_go(clock: VirtualClock, gateway: Gateway) -> None:
    """By kind and key; a gateway that is gone refuses nothing any more."""
    told: list[set[tuple[str, str]]] = []
    streams = GatewayStreams(clock, lambda _keys, _at: None, lambda: None, told.append)
    task = asyncio.create_task(streams.run())
    streams.on_slice("ns/s", gateway.slice)
    refused = {"gateway": "g", "now_unix_seconds": 1, "refused": [{"kind": "route", "key": "a/b", "message": "no"}]}
    gateway.lines.put_nowait(json.dumps(refused).encode() + b"\n")
    await clock.until(lambda: told == [{("route", "a/b")}])
    gateway.lines.put_nowait(json.dumps(refused).encode() + b"\n")
    gateway.lines.put_nowait(line({"route": "a/b"}, gateway="g"))
    gateway.lines.put_nowait(json.dumps(refused | {"refused": []}).encode() + b"\n")
    await clock.until(lambda: len(told) == 2)
    assert told[1] == {("route", "a/b")}
    gateway.lines.put_nowait(None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_gateways_are_counted_by_what_they_tell(clock: VirtualClock) -> None:
    """While an update rolls one sees when the last old one has gone; those that are silent are none."""
    streams = GatewayStreams(clock, lambda _keys, _at: None, lambda: None)
    now = clock.now
    told = {"a:1": 1, "b:1": 2, "c:1": 2, "d:1": 7}
    streams.views |= {address: GatewayView(now, now, version=version) for address, version in told.items()}
    streams.views["e:1"] = GatewayView(now, now - 60, version=1)
    streams.report()

    def counted() -> list[float | None]:
        labels = ({"demand_version": version} for version in ("1", "2", "newer"))
        return [REGISTRY.get_sample_value("overspill_operator_gateways", label) for label in labels]

    assert counted() == [1, 2, 1]
    del streams.views["a:1"]
    streams.report()
    assert counted() == [0, 2, 1]


async def test_what_gateways_count_is_kept_over_a_stream_that_breaks(clock: VirtualClock, gateway: Gateway) -> None:
    """The next stream's first line goes on where the last one ended; a route that is gone is forgotten."""
    streams = GatewayStreams(clock, lambda _keys, _at: None, lambda: None)
    task = asyncio.create_task(streams.run())
    streams.on_slice("ns/s", gateway.slice)

    def says(arrivals: int) -> None:
        said = json.loads(line({"route": "a/b", "uid": "u", "arrivals_total": arrivals}))
        gateway.lines.put_nowait(json.dumps(said | {"version": 2, "uptime_seconds": 1e6}).encode() + b"\n")

    def arrivals() -> float | None:
        seen = streams.work.of("a/b", "u", clock.now + 20)
        return None if seen is None else seen.work.arrivals

    says(100)
    await clock.until(lambda: any(view.routes for view in streams.views.values()))
    says(103)
    await clock.until(lambda: arrivals() == 3)
    gateway.lines.put_nowait(None)
    await clock.until(lambda: gateway.connections == 2)
    says(110)
    await clock.until(lambda: arrivals() == 10)
    streams.forget("a/b")
    assert arrivals() is None
    gateway.lines.put_nowait(None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class SlowClock(VirtualClock):
    """Time passes whenever somebody looks at it, and pauses take none."""

    def monotonic(self) -> float:
        """See ``clock.Clock``."""
        self.now += 0.01
        return self.now

    async def sleep(self, seconds: float) -> None:
        """See ``clock.Clock``; each pause is kept in ``pauses``."""
        self.pauses.append(seconds)
        await asyncio.sleep(0)


async def test_a_gateway_gives_way_for_as_long_as_its_line_takes(gateway: Gateway) -> None:
    """Others have their turns while a long line is read: half of the time is theirs."""
    heard: asyncio.Queue[list[str]] = asyncio.Queue()
    clock = SlowClock()
    streams = GatewayStreams(clock, lambda keys, _at: heard.put_nowait(keys), lambda: None)
    streams.on_slice("ns/s", gateway.slice)
    gateway.lines.put_nowait(line(*({"route": f"a/r{number}", "held": 1} for number in range(5000))))
    task = asyncio.create_task(streams.run())
    keys = await asyncio.wait_for(heard.get(), 20)
    gateway.lines.put_nowait(None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    pauses = [pause for pause in clock.pauses if pause != gateway_streams.TICK_SECONDS]
    assert len(keys) == 5000
    assert len(pauses) > 20
    assert all(pause > 0.0 for pause in pauses)
