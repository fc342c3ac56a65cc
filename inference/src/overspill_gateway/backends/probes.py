"""Asks replicas whether they answer: GET /health on the engine's port, as often as ``core.backends.rotation`` says.

So that the gateway knows of an engine that can serve before Kubernetes' own probe comes round, and of a dead one
that nobody has reported.
"""

import asyncio
import math
from collections.abc import Mapping
from typing import Final, Protocol

from overspill_gateway.backends.backend import Replica
from overspill_gateway.core.backends.rotation import Health, gives_up_running, probe_delay
from overspill_gateway.wire.dialing import DialError

CONNECT_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 1.0
CONCURRENT_MAX: Final = 64
"""Probes at the same time that nobody waits for; more wait for their turn."""


class ProbedRoute(Protocol):
    """Whose replicas are asked."""

    @property
    def replicas(self) -> Mapping[tuple[str, str], Replica]:
        """All of them, whether or not they can serve."""
        ...

    @property
    def held(self) -> int:
        """Requests that wait for one."""
        ...

    @property
    def is_spilling(self) -> bool:
        """Whether a request lately found none."""
        ...

    def replicas_changed(self) -> None:
        """One of them answers now."""
        ...


class _HealthCheck(asyncio.Protocol):
    """One GET /health; ``status`` is set when its first line has come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host_line: bytes) -> None:
        self.status: asyncio.Future[int] = loop.create_future()
        self._request = b"GET /health HTTP/1.1\r\n" + host_line + b"connection: close\r\n\r\n"
        self._received = b""
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._transport.write(self._request)

    def abort(self) -> None:
        """Enough is known."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data[:64]
        line = self._received
        if not self.status.done() and len(line) >= len(b"HTTP/1.1 200"):
            good = line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")) and line[9:12].isdigit()
            self.status.set_result(int(line[9:12]) if good else 0)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.status.done():
            self.status.set_result(0)


class Prober:
    """Probes the replicas of all routes."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running = 0
        self._closed = False

    def look_again(self, route: ProbedRoute, replica: Replica) -> None:
        """Something about a replica changed: plan its next probe anew."""
        if self._closed or replica.probe_task is not None:
            return
        delay = probe_delay(
            replica.fact,
            replica.health,
            failures=replica.probe_failures,
            in_flight=replica.in_flight,
            held=route.held,
            spilling=route.is_spilling,
        )
        due = math.inf if delay is None else self._loop.time() + delay
        if replica.probe_timer is not None:
            if replica.probe_due <= due < math.inf:
                return  # a probe comes sooner: requests that come one after the other must not put it off for ever
            replica.probe_timer.cancel()
            replica.probe_timer = None
        if delay is not None:
            replica.probe_due = due
            replica.probe_timer = self._loop.call_later(delay, self._start, route, replica)

    def hurry(self, route: ProbedRoute) -> None:
        """Somebody needs a replica: those that are not in rotation are asked at the pace that this asks for."""
        for replica in route.replicas.values():
            if not replica.usable:
                self.look_again(route, replica)

    def broke(self, route: ProbedRoute, replica: Replica) -> None:
        """A connection to a replica failed: ask at once whether it is still there."""
        if replica.health is not Health.BROKEN:
            replica.health = Health.BROKEN
            replica.probe_failures = 0
        self.look_again(route, replica)

    def forget(self, replica: Replica) -> None:
        """Kubernetes says that a replica is not ready any more: what was found out before is old."""
        if replica.health is Health.ANSWERS:
            replica.health = Health.UNKNOWN
        replica.probe_failures = 0

    def close(self) -> None:
        """Start no further probe."""
        self._closed = True

    def _start(self, route: ProbedRoute, replica: Replica) -> None:
        replica.probe_timer = None
        if self._running >= CONCURRENT_MAX and not route.held:
            replica.probe_timer = self._loop.call_later(0.25, self._start, route, replica)
            return
        self._running += 1
        replica.probe_task = self._loop.create_task(self._probe(route, replica))

    async def _probe(self, route: ProbedRoute, replica: Replica) -> None:
        try:
            connected, status = await self._ask(replica)
        finally:
            self._running -= 1
            replica.probe_task = None
        replica.connect_failures = 0 if connected else replica.connect_failures + 1
        if status == 200:
            replica.probe_failures = 0
            if replica.fact is not None and not replica.usable:
                replica.health = Health.ANSWERS
                route.replicas_changed()
            elif replica.fact is None:
                replica.probe_failures = 1  # alive but listed no more: ask again while requests run on it
        else:
            replica.probe_failures += 1
        if replica.attempts and gives_up_running(replica.fact, replica.connect_failures):
            for attempt in list(replica.attempts):
                attempt.vanished("it can't be reached any more")
        self.look_again(route, replica)

    async def _ask(self, replica: Replica) -> tuple[bool, int]:
        try:
            check = await self._connect(replica)
        except (OSError, TimeoutError, DialError):
            return False, 0
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return True, await check.status
        except TimeoutError:
            return True, 0
        finally:
            check.abort()

    async def _connect(self, replica: Replica) -> _HealthCheck:
        def check() -> _HealthCheck:
            return _HealthCheck(self._loop, replica.host_line)

        if replica.dialer is not None:  # its address is a name: a dead one must hold up nobody
            return await replica.dialer.dial(check, CONNECT_SECONDS, secure=False)
        address = replica.address
        async with asyncio.timeout(CONNECT_SECONDS):
            _, made = await self._loop.create_connection(check, address.host, address.port)
        return made
