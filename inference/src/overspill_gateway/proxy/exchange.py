"""One request of a client, from its arrival to the end of its answer, over as many backends as it takes.

The exchange asks ``core.plan`` who is next, sends the request there, and judges what comes back: a failure before
the answer's first byte goes on to the next, after it the client is told. Writing the answer is ``relay``'s part.
"""

import math
from enum import Enum, auto
from time import monotonic
from typing import TYPE_CHECKING

from overspill_gateway.core import errors
from overspill_gateway.core.body import BodyFacts
from overspill_gateway.core.errors import ApiError
from overspill_gateway.core.head import Head, Header
from overspill_gateway.core.outcome import BACKEND_GONE, Failure, FailureKind, failure_kind_of_status
from overspill_gateway.core.plan import (
    History,
    HoldIt,
    Refuse,
    ServedReason,
    UseHosted,
    UseReplica,
)
from overspill_gateway.proxy.backend import Hosted, Replica, count_answer, count_failure
from overspill_gateway.proxy.outgoing import outgoing
from overspill_gateway.proxy.refusals import refusal_of
from overspill_gateway.proxy.relay import Relay, answer_lines

if TYPE_CHECKING:
    from overspill_gateway.proxy.route import Route
    from overspill_gateway.wire.pool import Connecting
    from overspill_gateway.wire.server import ServerConnection
    from overspill_gateway.wire.sweep import Sweeper
    from overspill_gateway.wire.upstream import UpstreamConnection


class Phase(Enum):
    """What an exchange waits for."""

    HELD = auto()
    CONNECTING = auto()
    AWAITING = auto()
    ANSWERING = auto()
    DONE = auto()


class Exchange:
    """A request and its answer."""

    __slots__ = (
        "_backend", "_body", "_client", "_connecting", "_deadline_total", "_facts", "_fresh_retry", "_head", "_history",
         "_paused", "_phase", "_reason", "_relay", "_route", "_sent_at", "_started", "_sweeper", "_upstream",
        "deadline", "request_id",
    )  # fmt: skip

    def __init__(
        self,
        route: "Route",
        client: "ServerConnection",
        head: Head,
        body: bytes,
        facts: BodyFacts,
        request_id: bytes,
        sweeper: "Sweeper",
    ) -> None:
        self.deadline = math.inf
        self.request_id = request_id
        self._route = route
        self._client = client
        self._head = head
        self._body = body
        self._facts = facts
        self._sweeper = sweeper
        self._started = monotonic()
        self._deadline_total = self._started + route.compiled.timeouts.total_seconds
        self._history: History[Replica] = History()
        self._phase = Phase.AWAITING
        self._backend: Replica | Hosted | None = None
        self._reason = ServedReason.NOT_SERVED
        self._upstream: UpstreamConnection | None = None
        self._connecting: Connecting | None = None
        self._relay: Relay | None = None
        self._fresh_retry = False
        self._paused = False
        self._sent_at = 0.0

    def start(self) -> None:
        """Find a backend."""
        self._client.answerer = self
        self._sweeper.add(self)
        self._route.arrived()
        self._advance()

    # -- choosing ----------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        route = self._route
        step = route.next_step(self._history)
        if isinstance(step, UseReplica):
            self._use(step.replica, step.reason)
            return
        if isinstance(step, HoldIt):
            self._hold()
            return
        route.lacks_replica(monotonic())
        if isinstance(step, UseHosted):
            self._use(step.hosted, step.reason)
        else:
            error, reason = refusal_of(step.why, self._route, self._facts.model, self._history)
            self._refuse(error, reason)

    def _hold(self) -> None:
        route = self._route
        self._phase = Phase.HELD
        self._history.was_held = True
        self.deadline = min(monotonic() + route.compiled.overflow.hold_timeout_seconds, self._deadline_total)
        route.held[self] = None
        route.lacks_replica(monotonic())
        route.demand_changed()

    def release(self) -> None:
        """A replica answers, or the rules have changed: try again."""
        if self not in self._route.held:
            return
        del self._route.held[self]
        self._history.failed_replicas.clear()
        self._route.demand_changed()
        self._advance()

    def _use(self, backend: Replica | Hosted, reason: ServedReason) -> None:
        self._backend = backend
        self._reason = reason
        backend.exchanges.add(self)
        if isinstance(backend, Hosted):
            self._route.in_flight_spilled += 1
            if self._route.pool.has_local:
                self._route.spilled += 1
            self._route.demand_changed()
        connection = backend.pool.take()
        if connection is not None:
            self._send(connection)
        else:
            self._phase = Phase.CONNECTING
            self.deadline = self._deadline_total
            self._connecting = backend.pool.connect(self)

    def connected(self, connection: "UpstreamConnection") -> None:
        """A connection to the backend is there."""
        self._connecting = None
        self._send(connection)

    def connect_failed(self, detail: str) -> None:
        """There is no connection to the backend."""
        self._connecting = None
        self._failed(FailureKind.CONNECT, detail)

    def _send(self, connection: "UpstreamConnection") -> None:
        backend = self._backend
        if backend is None:
            return
        self._phase = Phase.AWAITING
        self._upstream = connection
        now = self._sent_at = monotonic()
        self.deadline = self._deadline_total
        if self._facts.stream:  # a plain answer's first byte is its last: the total holds for it
            self.deadline = min(self.deadline, now + self._route.compiled.timeouts.first_token_seconds)
        head, body = outgoing(backend, self._route, self._head, self._body, self._facts, self.request_id)
        connection.send(self, head, body)

    # -- what comes back ---------------------------------------------------------------------------------------

    def answer_head(self, status: int, headers: list[Header]) -> None:
        """The backend's status: pass the answer on, or try another backend."""
        kind = failure_kind_of_status(status)
        if kind is not None and self._tries_elsewhere(kind, status):
            return
        extra = answer_lines(self._served_by, self._reason, self.request_id)
        self._relay = Relay(self._client, status, headers, extra)

    def _tries_elsewhere(self, kind: FailureKind, status: int) -> bool:
        """Whether a failing status is kept from the client."""
        count_failure(self._backend, kind)
        self._note_failure(Failure(kind, self._served_by, f"it answered {status}"))
        if kind is FailureKind.REDIRECT or (kind is FailureKind.CREDENTIALS and isinstance(self._backend, Hosted)):
            self._leave_backend()
            self._advance()
            return True
        step = self._route.next_step(self._history)
        if isinstance(step, Refuse):
            return False  # nobody else is left: the client gets what this one said
        self._leave_backend()
        self._route.retries += 1
        self._advance()
        return True

    def answer_body(self, data: bytes) -> None:
        """A piece of the answer."""
        relay = self._relay
        if relay is None:
            return
        if self._phase is Phase.AWAITING:
            self._first_byte()
        relay.feed(data)

    def answer_pause(self) -> None:
        """Write on what has come."""
        relay = self._relay
        if relay is None or self._phase is not Phase.ANSWERING:
            return
        if not self._paused:
            idle = monotonic() + self._route.compiled.timeouts.idle_seconds
            self.deadline = min(self._deadline_total, idle)
        if relay.begun:
            self._body = b""  # nobody else can be asked any more
            self._client.flush()

    def _first_byte(self) -> None:
        self._phase = Phase.ANSWERING
        seconds = monotonic() - self._started
        if self._backend is not None:
            self._backend.counters.first_byte.observe(seconds)
        self._route.first_token_seconds_sum += seconds
        self._route.first_token_count += 1
        self.deadline = self._deadline_total

    def answer_end(self) -> None:
        """The answer is whole."""
        relay, client, backend = self._relay, self._client, self._backend
        if relay is None or backend is None:
            return
        if self._phase is Phase.AWAITING:
            self._first_byte()
        self._upstream = None
        count_answer(backend, relay.status, relay.usage(), monotonic() - self._started)
        self._finish()
        relay.finish()
        client.end()

    def answer_lost(self, kind: FailureKind, detail: str) -> None:
        """The backend broke off."""
        upstream, self._upstream = self._upstream, None
        if self._relay is not None and self._relay.begun:
            self._broken(kind, detail)
            return
        self._relay = None
        stale = kind is FailureKind.RESET and upstream is not None and upstream.used and not self._fresh_retry
        if stale and isinstance(self._backend, (Replica, Hosted)) and self._is_last_resort():
            # An idle connection may be closed by the backend just as it is used: that says nothing about the backend.
            self._fresh_retry = True
            self._phase = Phase.CONNECTING
            self._connecting = self._backend.pool.connect(self)
            return
        self._failed(kind, detail)

    def _is_last_resort(self) -> bool:
        """Whether no other replica could take over at once."""
        return isinstance(self._backend, Hosted) or len(self._route.pool.replicas) <= 1

    def backend_vanished(self, detail: str) -> None:
        """The backend is gone without a word."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abandon()
        if self._relay is not None and self._relay.begun:
            self._broken(FailureKind.RESET, detail)
        else:
            self._relay = None
            self._failed(FailureKind.RESET, detail)

    def _failed(self, kind: FailureKind, detail: str) -> None:
        """The attempt failed before its first byte: on to the next."""
        count_failure(self._backend, kind)
        self._note_failure(Failure(kind, self._served_by, detail))
        backend = self._backend
        self._leave_backend()
        if isinstance(backend, Replica) and kind in BACKEND_GONE:
            self._route.replica_broke(backend)
        self._route.retries += 1
        self._advance()

    def _note_failure(self, failure: Failure) -> None:
        self._history.failures.append(failure)
        if isinstance(self._backend, Replica):
            self._history.failed_replicas.append(self._backend)
        elif self._backend is not None:
            self._history.failed_hosted.add(self._backend.served_by)

    def _broken(self, kind: FailureKind, detail: str) -> None:
        """The answer broke off after it had begun: the client is told inside the stream, or by a cut."""
        relay, backend = self._relay, self._backend
        if relay is None or backend is None:
            return
        count_failure(self._backend, kind)
        count_answer(backend, relay.status, relay.usage(), monotonic() - self._started)
        self._finish()
        if isinstance(backend, Replica) and kind in BACKEND_GONE:
            self._route.replica_broke(backend)
        relay.break_off(errors.stream_broken(backend.served_by, detail))

    # -- the client --------------------------------------------------------------------------------------------

    def client_gone(self) -> None:
        """Nobody wants the answer: the backend is told to stop; a wake that the request caused stays."""
        if self._relay is not None and self._backend is not None:
            relay = self._relay
            count_answer(self._backend, relay.status, relay.usage(), monotonic() - self._started)
        self._route.held.pop(self, None)
        self._abandon_upstream()
        self._finish()

    def client_slow(self) -> None:
        """The client takes less than it is given."""
        self._paused = True
        self.deadline = self._deadline_total
        if self._upstream is not None:
            self._upstream.pause()

    def client_ready(self) -> None:
        """The client takes more again."""
        self._paused = False
        if self._upstream is not None:
            self._upstream.resume()

    # -- ending ------------------------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """A deadline has passed."""
        self.deadline = self._deadline_total if now < self._deadline_total else math.inf
        if self._phase is Phase.DONE:
            return
        over = now >= self._deadline_total
        if self._phase is Phase.HELD:
            self._route.held.pop(self, None)
            self._history.hold_expired = True
            self._route.demand_changed()
            self._advance()
        elif self._relay is not None and self._relay.begun:
            self._abandon_upstream()
            seconds = self._route.compiled.timeouts.idle_seconds
            self._broken(FailureKind.TIMEOUT, "it took too long" if over else f"nothing came for {seconds:g} s")
        elif over:
            self._abandon_upstream()
            count_failure(self._backend, FailureKind.TIMEOUT)
            self._refuse(errors.total_timeout(self._facts.model, self._route.compiled.timeouts.total_seconds))
        else:
            self._abandon_upstream()
            self._relay = None
            timeouts = self._route.compiled.timeouts
            stalled = self._phase is Phase.ANSWERING
            detail = f"nothing came for {timeouts.idle_seconds:g} s" if stalled else ""
            self._failed(FailureKind.TIMEOUT, detail or f"no first token within {timeouts.first_token_seconds:g} s")

    def shut_down(self) -> None:
        """The gateway can't wait any longer: end this as well as it can be ended."""
        relay = self._relay
        self._route.held.pop(self, None)
        if relay is not None and relay.begun:
            self._finish()
            relay.break_off(errors.SHUTTING_DOWN)
        elif self._phase is not Phase.DONE:
            self._refuse(errors.SHUTTING_DOWN)

    def _refuse(self, error: ApiError, reason: ServedReason = ServedReason.NOT_SERVED) -> None:
        client = self._client
        self._route.refused += 1
        self._finish()
        client.refuse(error, answer_lines("none", reason, self.request_id))

    def _abandon_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abandon()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.forget()

    def _leave_backend(self) -> None:
        self._abandon_upstream()
        backend, self._backend = self._backend, None
        if backend is None:
            return
        backend.exchanges.discard(self)
        if isinstance(backend, Hosted):
            self._route.in_flight_spilled -= 1
            if self._route.pool.has_local and self._sent_at:
                self._route.spilled_seconds += monotonic() - self._sent_at

    def _finish(self) -> None:
        if self._phase is Phase.DONE:
            return
        self._phase = Phase.DONE
        self._sweeper.discard(self)
        self._leave_backend()
        self._client.answerer = None
        self._body = b""
        self._route.demand_changed()

    @property
    def _served_by(self) -> str:
        return self._backend.served_by if self._backend is not None else "none"
