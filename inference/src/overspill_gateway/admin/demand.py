"""Contract 2, the gateway's side: who reads the stream of demand, and what is written to it when."""

import asyncio
from typing import TYPE_CHECKING, Final

from overspill_api.compiled import Compiled
from overspill_api.demand import DEMAND_VERSION, GatewayDemand, RefusedDocument
from overspill_gateway.clock import Clock
from overspill_gateway.wire.time_slice import TimeSlice

if TYPE_CHECKING:
    from overspill_gateway.routes.route import Route
    from overspill_gateway.wire.server import ServerConnection

COALESCE_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 10.0
SLICE_SECONDS: Final = 0.002
"""The longest that a line keeps the event loop from requests, or little more."""


class DemandStream:
    """One reader."""

    def __init__(self, hub: "DemandHub", connection: "ServerConnection") -> None:
        self.connection = connection
        self.behind: dict[str, Route] | None = None
        """While the reader takes nothing: the routes that have changed since then; None: it is up to date."""
        self.is_slow = False
        """Whether it takes nothing now."""
        self.is_told = False
        """Whether a line is being made for it, which takes more than a moment."""
        self.missed_refusals = False
        """Whether it has to be told which documents can't be used, once it takes something again."""
        self._hub = hub

    def write(self, line: bytes) -> None:
        """Write one line."""
        self.connection.send(line)
        self.connection.flush()

    def client_gone(self) -> None:
        """The reader has gone."""
        self._hub.leave(self)

    def client_slow(self) -> None:
        """A slow reader gets nothing more for now; one that stays so is cut off by its connection's deadline."""
        self.is_slow = True
        if self.behind is None:
            self.behind = {}

    def client_ready(self) -> None:
        """It reads again: tell it what has changed meanwhile."""
        self.is_slow = False
        if not self.is_told:
            self.catch_up()

    def catch_up(self) -> None:
        """Tell it what has changed while it was told nothing."""
        behind, self.behind = self.behind or {}, {}
        self._hub.tell(self, behind, self._hub.refused_for(self))


class DemandHub:
    """Gathers what has changed and writes it to all readers."""

    def __init__(self, gateway: str, clock: Clock | None = None) -> None:
        self.gateway = gateway
        self._clock = clock or Clock()
        self._started_at = self._clock.monotonic()
        self._loop = asyncio.get_running_loop()
        self._routes: dict[str, Route] = {}
        self._changed: dict[str, Route] = {}
        self.streams: set[DemandStream] = set()
        """Of readers now."""
        self._refused: tuple[RefusedDocument, ...] = ()
        self._tellings: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._heartbeat: asyncio.TimerHandle | None = None

    def serve(self, routes: "dict[str, Route]") -> None:
        """Publish these routes; the mapping is read when a reader comes."""
        self._routes = routes

    @property
    def readers(self) -> int:
        """Readers now."""
        return len(self.streams)

    @property
    def is_gathering(self) -> bool:
        """Whether something waits to be written to readers."""
        return self._timer is not None or bool(self._changed)

    def changed(self, route: "Route", urgent: bool) -> None:  # noqa: FBT001
        """A route's demand has changed; ``urgent``: it wants a replica and has none."""
        if not self.streams:
            return
        if urgent:  # nothing that can wait is told with it
            self._changed.pop(route.key, None)
            self._write({route.key: route}, [_told(route)])
            return
        self._changed[route.key] = route
        if self._timer is None:
            self._timer = self._loop.call_later(COALESCE_SECONDS, self._flush)

    def join(self, connection: "ServerConnection") -> None:
        """A new reader: everything first, then what changes."""
        stream = DemandStream(self, connection)
        connection.answerer = stream
        connection.send_head(200, b"content-type: application/x-ndjson\r\ncache-control: no-store\r\n", None)
        self.streams.add(stream)
        stream.behind = {}
        self.tell(stream, dict(self._routes), self._refused)
        if self._heartbeat is None:
            self._heartbeat = self._loop.call_later(HEARTBEAT_SECONDS, self._beat)

    def tell(
        self, stream: DemandStream, routes: "dict[str, Route]", refused: tuple[RefusedDocument, ...] | None
    ) -> None:
        """Tell a reader of these routes, and then of what has changed meanwhile."""
        stream.is_told = True
        task = self._loop.create_task(self._tell(stream, routes, refused))
        self._tellings.add(task)
        task.add_done_callback(self._tellings.discard)

    async def _tell(
        self, stream: DemandStream, routes: "dict[str, Route]", refused: tuple[RefusedDocument, ...] | None
    ) -> None:
        """A few routes at a time: a thousand take longer than requests may wait."""
        try:
            while routes or refused is not None:
                told = []
                turn = TimeSlice(SLICE_SECONDS)
                for route in routes.values():
                    if self._routes.get(route.key) is route:
                        told.append(_told(route))
                    await turn.give_way()
                if stream not in self.streams:
                    return
                stream.write(self._line(told, refused))
                if stream.is_slow:
                    return
                routes, stream.behind = stream.behind or {}, {}
                refused = self.refused_for(stream)
            stream.behind = None
        finally:
            stream.is_told = False

    def leave(self, stream: DemandStream) -> None:
        """A reader is gone."""
        self.streams.discard(stream)
        if not self.streams:
            self._changed.clear()
            for timer in (self._timer, self._heartbeat):
                if timer is not None:
                    timer.cancel()
            self._timer = self._heartbeat = None

    def close(self) -> None:
        """End all streams."""
        for stream in list(self.streams):
            self.leave(stream)
            stream.connection.end()

    def _flush(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, {}
        self._write_some(changed)

    def _write_some(self, changed: "dict[str, Route]") -> None:
        """A line of as many of them as can be told in a moment, the rest when others have had their turn."""
        if not self.streams:
            return
        turn = TimeSlice(SLICE_SECONDS)
        part: dict[str, Route] = {}
        told = []
        while changed and not turn.is_over:
            key, route = changed.popitem()
            part[key] = route
            told.append(_told(route))
        self._write(part, told)
        if changed:
            self._loop.call_soon(self._write_some, changed)

    def _beat(self) -> None:
        self._heartbeat = self._loop.call_later(HEARTBEAT_SECONDS, self._beat)
        self._write({}, [])

    def _write(self, routes: "dict[str, Route]", told: list[bytes]) -> None:
        if self.streams:
            line = self._line(told, None)
            for stream in list(self.streams):
                if stream.behind is None:
                    stream.write(line)
                else:
                    stream.behind.update(routes)

    def refused(self, documents: tuple[RefusedDocument, ...]) -> None:
        """Other documents than before can't be used: readers are told at once."""
        self._refused = documents
        for stream in list(self.streams):
            if stream.behind is None:
                stream.write(self._line([], documents))
            else:
                stream.missed_refusals = True

    def refused_for(self, stream: DemandStream) -> tuple[RefusedDocument, ...] | None:
        """What a reader that takes lines again has not been told; None: nothing."""
        missed, stream.missed_refusals = stream.missed_refusals, False
        return self._refused if missed else None

    def _line(self, routes: list[bytes], refused: tuple[RefusedDocument, ...] | None) -> bytes:
        """One line of the stream: what is said of routes, and all documents that can't be used."""
        head = GatewayDemand(
            gateway=self.gateway,
            now_unix_seconds=self._clock.unix(),
            version=DEMAND_VERSION,
            uptime_seconds=self._clock.monotonic() - self._started_at,
            refused=refused,
            sends_engine_keys=True,
        )
        return b'%b,"routes":[%b]}\n' % (_json(head).removesuffix(b"}"), b",".join(routes))


def _told(route: "Route") -> bytes:
    return _json(route.demand())


def _json(said: Compiled) -> bytes:
    """As the contract has it: what has its default is left out."""
    return said.model_dump_json(exclude_defaults=True).encode()
