"""Connections to one backend: as many idle ones are kept as were used, until they have been idle for a while."""

import asyncio
import logging
import math
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Protocol

from overspill_gateway.core.backends.outcome import ConnectFault
from overspill_gateway.wire.dialing import Dialer, DialError
from overspill_gateway.wire.stream_reads import StreamReads
from overspill_gateway.wire.upstream import ConnectionOwner, UpstreamConnection

logger = logging.getLogger(__name__)

_AGE_SPREAD: Final = 0.1
_GOLDEN_RATIO: Final = 0.618034


@dataclass(frozen=True, slots=True)
class Address:
    """Where a backend listens."""

    host: str
    """Name or address."""
    port: int
    """TCP port."""
    tls: bool = False
    """Whether it speaks TLS."""


class Waiter(Protocol):
    """Whoever waits for a connection."""

    def connected(self, connection: UpstreamConnection) -> None:
        """Here it is."""
        ...

    def connect_failed(self, detail: str, fault: ConnectFault) -> None:
        """There will be none."""
        ...


class Connecting:
    """A connection that is being made for somebody, who may stop waiting."""

    __slots__ = ("task", "waiter")

    def __init__(self, waiter: Waiter) -> None:
        self.waiter: Waiter | None = waiter
        self.task: asyncio.Task[None] | None = None

    def forget(self) -> None:
        """Nobody waits any more; a connection that still comes stays in the pool."""
        self.waiter = None


class Pool(ConnectionOwner):
    """The connections to one backend."""

    def __init__(
        self,
        address: Address,
        *,
        idle_seconds: float,
        connect_seconds: float,
        dialer: Dialer | None = None,
        connection_seconds: float = math.inf,
        reads: StreamReads | None = None,
    ) -> None:
        """``dialer``: makes the connections; None: the address is literal and in the open.

        ``connection_seconds``: a connection that is older gets no further request, so that the next one goes to where
        the name leads by then.
        """
        super().__init__(reads)
        self.address = address
        self._idle_seconds = idle_seconds
        self.connect_seconds = connect_seconds
        """The longest wait for a connection."""
        self._dialer = dialer
        self._connection_seconds = connection_seconds
        self._turn = 0
        self._loop = asyncio.get_running_loop()
        self._idle: dict[UpstreamConnection, None] = {}  # a set in the order of their last use
        self._connecting: set[Connecting] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle_count(self) -> int:
        """Idle connections now."""
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """The idle connection that was used last, or None."""
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            if connection.closed:
                continue
            now = self._loop.time()
            if now - connection.idle_since < self._idle_seconds and now < connection.retires_at:
                return connection
            connection.close()
        return None

    def put(self, connection: UpstreamConnection) -> None:
        """Keep a connection that can take another request."""
        now = self._loop.time()
        if self._closed or now >= connection.retires_at:
            connection.close()
            return
        connection.idle_since = now
        self._idle[connection] = None
        if self._timer is None:
            self._timer = self._loop.call_later(self._idle_seconds, self._trim)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection has ended."""
        self._idle.pop(connection, None)

    def connect(self, waiter: Waiter) -> Connecting:
        """Make a connection; the waiter is told."""
        connecting = Connecting(waiter)
        self._connecting.add(connecting)
        connecting.task = self._loop.create_task(self._connect(connecting))
        return connecting

    def close(self) -> None:
        """Close the idle connections; those in use go on to the end of their answer."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        idle, self._idle = self._idle, {}
        for connection in idle:
            connection.close()

    def new_connection(self) -> UpstreamConnection:
        """Its age is bounded a little differently from the last one's: those made together don't end together."""
        connection = UpstreamConnection(self)
        self._turn += 1
        share = 1.0 - _AGE_SPREAD * (self._turn * _GOLDEN_RATIO % 1.0)
        connection.retires_at = self._loop.time() + self._connection_seconds * share
        return connection

    async def _connect(self, connecting: Connecting) -> None:
        try:
            if self._dialer is None:
                connection = await self._connect_plainly()
            else:
                connection = await self._dialer.dial(self.new_connection, self.connect_seconds, secure=self.address.tls)
        except DialError as error:
            self._failed(connecting, str(error), error.fault)
        except Exception as error:  # whoever waits has to be told, whatever it was
            logger.exception("a connection could not be made", extra={"host": self.address.host})
            self._failed(connecting, f"no connection ({error})", ConnectFault.UNREACHABLE)
        else:
            self._connecting.discard(connecting)
            if connecting.waiter is None:
                self.put(connection)
            else:
                connecting.waiter.connected(connection)

    async def _connect_plainly(self) -> UpstreamConnection:
        address = self.address
        try:
            async with asyncio.timeout(self.connect_seconds):
                _, connection = await self._loop.create_connection(self.new_connection, address.host, address.port)
        except TimeoutError:
            raise DialError(ConnectFault.UNREACHABLE, f"no connection within {self.connect_seconds:g} s") from None
        except OSError as error:
            raise DialError(ConnectFault.UNREACHABLE, f"no connection ({error.strerror or error})") from None
        return connection

    def _failed(self, connecting: Connecting, detail: str, fault: ConnectFault) -> None:
        self._connecting.discard(connecting)
        if connecting.waiter is not None:
            connecting.waiter.connect_failed(detail, fault)

    def _trim(self) -> None:
        self._timer = None
        before = self._loop.time() - self._idle_seconds
        old = list(takewhile(lambda connection: connection.idle_since <= before, self._idle))
        for connection in old:
            del self._idle[connection]
            connection.close()
        oldest = next(iter(self._idle), None)
        if oldest is not None:
            due = oldest.idle_since + self._idle_seconds - self._loop.time()
            self._timer = self._loop.call_later(max(due, 0.05), self._trim)
