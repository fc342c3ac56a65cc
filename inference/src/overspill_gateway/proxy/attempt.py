"""One attempt at one backend: its connection, its timers, and the answer as it comes.

It knows how a backend can fail and says so once; what follows from that is the exchange's to decide.
"""

import math
from typing import TYPE_CHECKING

from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.backends.last_words import LastWords
from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.admission.request_state import Waiter
from overspill_gateway.core.backends.engine_keys import REFUSED
from overspill_gateway.core.backends.outcome import ConnectFault, Failure, FailureKind, failure_kind_of_status
from overspill_gateway.core.dialects.engine_full import FULL_STATUSES, says_full
from overspill_gateway.core.dialects.request_form import REPLICA_FORM, RequestForm
from overspill_gateway.core.http.answer_head import AnswerHead
from overspill_gateway.core.http.content_coding import Unpacker, is_unpacked
from overspill_gateway.core.http.head import Header
from overspill_gateway.core.http.retry_after import retry_after_seconds
from overspill_gateway.core.prediction.prediction import LoadSnapshot
from overspill_gateway.core.text.rope import Buffer
from overspill_gateway.proxy.inflow import PIECE_BYTES, Inflow
from overspill_gateway.proxy.relay import Relay
from overspill_gateway.proxy.request_context import RequestContext
from overspill_gateway.proxy.taking import Stage, Taking
from overspill_gateway.workers.worker_pool import OnAnswer, WorkItem

if TYPE_CHECKING:
    from overspill_gateway.core.money.budget import Hold
    from overspill_gateway.wire.pool import Connecting
    from overspill_gateway.wire.upstream import UpstreamConnection


class AttemptOwner(Waiter):
    """Whose an attempt is: the request of a client, as its attempts know it."""

    __slots__ = ("call", "clock", "streams", "timeouts")

    def __init__(self, call: RequestContext) -> None:
        self.call = call
        self.clock = call.route.clock
        self.timeouts = call.route.compiled.timeouts
        self.streams = call.facts.stream

    @property
    def winner(self) -> "Attempt | None":
        """The attempt whose answer the client gets."""
        raise NotImplementedError

    def relay_for(self, attempt: "Attempt", status: int, head: AnswerHead) -> Relay:
        """Where the attempt's answer goes."""
        raise NotImplementedError

    def answer_refused(self, attempt: "Attempt", relay: Relay) -> bool:
        """Whether a refusal is kept from the client: it is asked again in another form, or somebody else who can is."""
        raise NotImplementedError

    def goes_elsewhere(self, attempt: "Attempt", failure: Failure) -> bool:
        """The same of a status that says enough."""
        raise NotImplementedError

    def read_elsewhere(self, attempt: "Attempt", asked: bytes, parts: list[bytes], then: OnAnswer) -> WorkItem:
        """Have something long read in another process."""
        raise NotImplementedError

    def first_token(self, attempt: "Attempt", now: float) -> None:
        """The answer has begun."""
        raise NotImplementedError

    def attempt_failed(self, attempt: "Attempt", failure: Failure) -> None:
        """It failed before its first token."""
        raise NotImplementedError

    def attempt_broke(self, attempt: "Attempt", failure: Failure) -> None:
        """It broke off after its first token."""
        raise NotImplementedError

    def attempt_ended(self, attempt: "Attempt") -> None:
        """Its answer is whole."""
        raise NotImplementedError

    def deadline_changed(self) -> None:
        """Work out when to be called next."""
        raise NotImplementedError

    def failed_inside(self, fault: Exception, attempt: "Attempt | None" = None) -> None:
        """A fault of ours; ``attempt``: the one through which it came."""
        raise NotImplementedError


class Attempt(Taking):
    """One attempt. It tells its exchange exactly one of: failed, broke off, ended; or it is abandoned."""

    __slots__ = (
        "_connecting", "_fresh_retry", "_heard_at", "_keys_tried", "_last_words", "body", "connect_fault", "deadline",
        "exchange", "form", "forms_tried", "head", "headers", "hold", "parts",
    )  # fmt: skip

    def __init__(
        self,
        exchange: AttemptOwner,
        backend: Replica | Hosted,
        reason: ServedReason,
        now: float,
        *,
        hold: "Hold | None",
        is_retry: bool,
        snapshot: LoadSnapshot | None,
    ) -> None:
        super().__init__(backend, reason, now, is_retry=is_retry, snapshot=snapshot)
        self.exchange = exchange
        self.hold = hold
        """Money held for it."""
        self.head = self.body = b""
        self.parts: list[Buffer] = []
        """Of a long body, instead of it."""
        self.headers: list[Header] = []
        """Of the answer."""
        self.form = REPLICA_FORM
        """How its backend is told what the gateway adds."""
        self.forms_tried: tuple[RequestForm, ...] = ()
        """Where an API refused such a field before: its own form, behind those that were refused."""
        self.connect_fault: ConnectFault | None = None
        """Why there was no connection."""
        self.deadline = math.inf
        self._connecting: Connecting | None = None
        self._fresh_retry = False
        self._heard_at = 0.0
        self._keys_tried = 1
        self._last_words: LastWords | None = None

    def start(self, now: float) -> None:
        """Send it, on a connection that is there or on a new one."""
        connection = self.backend.pool.take()
        if connection is not None:
            self._send(connection, now)
        else:
            self._connecting = self.backend.pool.connect(self)

    def abandon(self) -> None:
        """Nobody wants it any more: the backend is told to stop by closing its connection."""
        self.stage = Stage.OVER
        if self._inflow is not None:
            self._inflow.drop()
            self._inflow = None
        if self._upstream is not None:
            if self._last_words is not None:
                self._last_words.listen(self._upstream)
            else:
                self._upstream.abandon()
            self._upstream = None
        if self._connecting is not None:
            self._connecting.forget()
            self._connecting = None

    # -- connection --------------------------------------------------------------------------------------------

    def connected(self, connection: "UpstreamConnection") -> None:
        """A connection to the backend is there."""
        self._connecting = None
        try:
            self._send(connection, self.exchange.clock.monotonic())
        except Exception as fault:
            self.exchange.failed_inside(fault, self)

    def connect_failed(self, detail: str, fault: ConnectFault) -> None:
        """There is no connection to the backend."""
        self._connecting = None
        self.connect_fault = fault
        try:
            self._failed(FailureKind.CONNECT, detail)
        except Exception as broken:
            self.exchange.failed_inside(broken, self)

    def _send(self, connection: "UpstreamConnection", now: float) -> None:
        self._upstream = connection
        self.stage = Stage.AWAITING
        self.sent_at = now
        if self.exchange.streams:  # a plain answer's first byte is its last: the total holds for it
            self.deadline = now + self.exchange.timeouts.first_token_seconds
            self.exchange.deadline_changed()
        connection.send(self, self.head, self.body, self.parts)

    # -- what comes back ---------------------------------------------------------------------------------------

    def answer_head(self, status: int, head: AnswerHead) -> None:
        """The backend's status: an answer for the client, or a failure."""
        self.headers = head.headers
        self.status = status
        try:
            kind = failure_kind_of_status(status) if not self._words_tell(status) else None
            if kind is not None:
                if status == REFUSED and self._asks_with_another_key():
                    return
                self._last_words = LastWords(self.backend.problems, status)
                if self.exchange.goes_elsewhere(self, self.failure(kind, f"it answered {status}", status)):
                    return
                self._last_words = None  # they go to the client
            coding = head.coding
            if is_unpacked(coding):
                self._inflow = Inflow(self, Unpacker(coding))
                head = head.unpacked()
            elif coding and status < 300:
                self._is_packed(coding)
                return
            self.relay = self.exchange.relay_for(self, status, head)
        except Exception as fault:
            self.exchange.failed_inside(fault, self)

    def _words_tell(self, status: int) -> bool:
        """Whether it takes what a refusal says to know which kind it is."""
        return status == 403 or (status in FULL_STATUSES and self.backend.is_local)

    def _asks_with_another_key(self) -> bool:
        """Whether the replica was started with another of its route's keys: nothing has begun, so it is asked anew."""
        backend = self.backend
        head = backend.another_head(self.head, self._keys_tried)
        if head is None:
            return False
        self._keys_tried += 1
        self.head = head
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None
        self.stage = Stage.CONNECTING
        self.deadline = math.inf
        self._connecting = backend.pool.connect(self)
        return True

    def answer_body(self, data: bytes, chunk: bytes = b"") -> None:
        """A piece of the answer."""
        relay = self.relay
        if relay is None:
            return
        try:
            if self._inflow is None and len(data) > PIECE_BYTES and relay.may_stream:
                self._inflow = Inflow(self)
            if self._inflow is not None:
                self._inflow.add(data)  # handed on when all that came together is there
            else:
                self._feed(relay, data, chunk)
        except Exception as fault:
            self.exchange.failed_inside(fault, self)

    def _feed(self, relay: Relay, data: bytes, chunk: bytes = b"") -> None:
        relay.feed(data, chunk)
        if self.stage is Stage.AWAITING and relay.committed:
            self._first_token()
        if relay.fault is not None:
            self._faulty()
        elif relay.has_long_event:
            self._read_event(relay)

    def answer_pause(self) -> None:
        """Write on what has come."""
        try:
            if self._inflow is not None:
                self._inflow.go_on()
            if self.stage is Stage.ANSWERING:
                self._heard_at = self.exchange.clock.monotonic()
                if self.exchange.winner is self:
                    self.exchange.call.client.flush()
            elif self._is_gathering:
                self._heard_at = self.exchange.clock.monotonic()
                if self.deadline == math.inf:
                    self.deadline = self._heard_at + self.exchange.timeouts.idle_seconds
                    self.exchange.deadline_changed()
        except Exception as fault:
            self.exchange.failed_inside(fault, self)

    @property
    def _is_gathering(self) -> bool:
        """Whether a plain answer has begun to come in, of which the client sees nothing before it is whole."""
        return self.relay is not None and self.relay.gathers

    def _first_token(self) -> None:
        self.stage = Stage.ANSWERING
        if self._upstream is not None:
            self._upstream.flowing = True
        now = self._heard_at = self.exchange.clock.monotonic()
        self.deadline = now + self.exchange.timeouts.idle_seconds
        backend, relay = self.backend, self.relay
        if self.forms_tried and relay is not None and relay.status < 400:
            backend.form = self.form  # it takes requests in this form: so it is asked from now on
        self.exchange.first_token(self, now)

    def answer_end(self) -> None:
        """The answer is whole, as far as HTTP goes."""
        try:
            self._ended()
        except Exception as fault:
            self.exchange.failed_inside(fault, self)

    def _ended(self) -> None:
        self._upstream = None
        inflow, relay = self._inflow, self.relay
        if inflow is not None and not inflow.ended:
            inflow.ended = True
            inflow.go_on()
            return
        if relay is None or self.stage is Stage.OVER:
            return
        if relay.is_long:
            self._read_elsewhere(*relay.plain.question)
            return
        if relay.ends_long():
            self._read_event(relay, is_last=True)
            return
        fault = relay.close()
        if fault is not None:
            self._faulty()
            return
        if relay.status >= 400 and not relay.begun and self.exchange.answer_refused(self, relay):
            if not (self.backend.is_local and says_full(relay.status, relay.body())):
                self.backend.problems.refused_unseen(relay.status, relay.body())
            return
        if self.stage is Stage.AWAITING:
            self._first_token()
        self.stage = Stage.OVER
        self.exchange.attempt_ended(self)

    def answer_lost(self, kind: FailureKind, detail: str) -> None:
        """The backend broke off."""
        try:
            self._lost(kind, detail)
        except Exception as fault:
            self.exchange.failed_inside(fault, self)

    def _lost(self, kind: FailureKind, detail: str) -> None:
        upstream, self._upstream = self._upstream, None
        inflow = self._inflow
        if self.stage is Stage.OVER:
            return
        if inflow is not None and inflow.lost is None and (inflow.is_read or not inflow.is_packed):
            inflow.lost = kind, detail  # once that has been dealt with which came before
            inflow.go_on()
            return
        if self.relay is not None and self.relay.ended:
            self._ended()  # the stream has said that it is whole: its connection's end is no matter
            return
        if self.stage is Stage.ANSWERING and self.relay is not None and self.relay.begun:
            self._broke(kind, detail)
            return
        self.relay = self._inflow = None
        if kind is FailureKind.RESET and upstream is not None and upstream.used and not self._fresh_retry:
            # An idle connection may be closed by the backend just as it is used: that says nothing about the backend.
            self._fresh_retry = True
            self.stage = Stage.CONNECTING
            self.deadline = math.inf
            self._connecting = self.backend.pool.connect(self)
            return
        self._failed(kind, detail)

    def vanished(self, detail: str) -> None:
        """The backend is gone without a word."""
        if self._upstream is None and self._inflow is not None:
            return  # what it had to say is here
        try:
            if self._upstream is not None:
                self._upstream.abandon()
            self._upstream = None
            self._fresh_retry = True
            self._lost(FailureKind.RESET, detail)
        except Exception as fault:
            self.exchange.failed_inside(fault, self)

    def expire(self, now: float) -> None:
        """Its deadline has passed, unless something came meanwhile."""
        timeouts = self.exchange.timeouts
        if self._inflow is not None and self._inflow.is_read:  # it is not the backend that takes its time
            self.deadline = now + timeouts.idle_seconds
            return
        if self.stage is Stage.AWAITING and not self._is_gathering:
            self.abandon()
            self._failed(FailureKind.TIMEOUT, f"no first token within {timeouts.first_token_seconds:g} s")
            return
        due = self._heard_at + timeouts.idle_seconds
        if self._paused or due > now:
            self.deadline = now + timeouts.idle_seconds if self._paused else due
            return
        begun = self.relay is not None and self.relay.begun
        self.abandon()
        detail = f"nothing came for {timeouts.idle_seconds:g} s"
        if begun:
            self._broke(FailureKind.TIMEOUT, detail)
        else:
            self._failed(FailureKind.TIMEOUT, detail)

    # -- answers that can't be taken as they come --------------------------------------------------------------

    def _have_read(self, asked: bytes, parts: list[bytes], then: OnAnswer) -> WorkItem:
        return self.exchange.read_elsewhere(self, asked, parts, then)

    def _failed_inside(self, fault: Exception) -> None:
        self.exchange.failed_inside(fault, self)

    def _is_packed(self, coding: str) -> None:
        """In a way that nobody asked for and that can't be unpacked: so would the next answer be."""
        detail = f"its answer has the content-encoding {coding[:100]!r}, although it was asked for a plain one"
        self.backend.problems.failed(FailureKind.PROTOCOL, detail)
        self.abandon()
        self._failed(FailureKind.UNABLE, detail)

    # -- failing -----------------------------------------------------------------------------------------------

    def _faulty(self) -> None:
        """The answer is HTTP, and yet no answer: an error inside it, or no proper end."""
        relay = self.relay
        if relay is None or relay.fault is None or self.stage is Stage.OVER:
            return
        begun, fault = relay.begun and self.stage is Stage.ANSWERING, self.backend.problems.hidden(relay.fault)
        self.abandon()
        if begun:
            self._broke(FailureKind.ERROR_IN_ANSWER, fault, relay.fault_status)
        else:
            self._failed(FailureKind.ERROR_IN_ANSWER, fault, relay.fault_status)

    def _failed(self, kind: FailureKind, detail: str, status: int = 0) -> None:
        self.stage = Stage.OVER
        self.exchange.attempt_failed(self, self.failure(kind, detail, status))

    def _broke(self, kind: FailureKind, detail: str, status: int = 0) -> None:
        self.stage = Stage.OVER
        self.exchange.attempt_broke(self, self.failure(kind, detail, status))

    def failure(self, kind: FailureKind, detail: str, status: int) -> Failure:
        """How it has failed. ``status``: its own, or an error's inside it: then the head may say when to return."""
        pause = retry_after_seconds(self.headers, self.exchange.clock.unix()) if status else None
        return Failure(kind, self.served_by, detail, pause, status)

    # -- the client's pace -------------------------------------------------------------------------------------

    def pause(self) -> None:
        """The client takes less than it is given."""
        self._paused = self.was_paused = True
        if self._upstream is not None:
            self._upstream.pause()

    def resume(self) -> None:
        """The client takes more again."""
        self._paused = False
        self._heard_at = self.exchange.clock.monotonic()
        if self._inflow is not None:
            self._inflow.go_on_soon()
        elif self._upstream is not None:
            self._upstream.resume()
