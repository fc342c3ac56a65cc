"""How an attempt takes its backend's answer where that can't be done as it comes: see ``inflow``.

Not here: what the answer is, and what follows from it (``attempt``).
"""

import functools
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.answers.long_event import UNREAD, LongEvent
from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.flow.attempt_state import AttemptState
from overspill_gateway.core.prediction.prediction import LoadSnapshot
from overspill_gateway.core.text.rope import length_of
from overspill_gateway.core.translation.long_stream import division_fault, event_told
from overspill_gateway.proxy.inflow import Inflow
from overspill_gateway.proxy.long_answers import why_unread
from overspill_gateway.proxy.relay import Relay
from overspill_gateway.workers.worker_pool import OnAnswer, Unanswered, WorkAnswer, WorkItem

if TYPE_CHECKING:
    from overspill_gateway.wire.upstream import UpstreamConnection


class Stage(Enum):
    """What an attempt waits for."""

    CONNECTING = auto()
    AWAITING = auto()
    """The first token; of a plain answer, its head."""
    ANSWERING = auto()
    OVER = auto()


class Taking(AttemptState[Replica | Hosted]):
    """One attempt, as far as it takes an answer."""

    __slots__ = ("_inflow", "_paused", "_upstream", "relay", "stage")

    def __init__(
        self, backend: Replica | Hosted, reason: ServedReason, now: float, *, is_retry: bool,
        snapshot: LoadSnapshot | None,
    ) -> None:  # fmt: skip
        super().__init__(backend, reason, now, is_retry=is_retry, snapshot=snapshot)
        self.relay: Relay | None = None
        self.stage = Stage.CONNECTING
        self._upstream: UpstreamConnection | None = None
        self._inflow: Inflow | None = None
        """Of an answer that can't be taken as it comes."""
        self._paused = False
        """Whether the client takes less than it is given."""

    @property
    def takes(self) -> bool:
        """Whether it takes more of its answer now."""
        return self.stage is not Stage.OVER and self.relay is not None and not self._paused

    def take_piece(self, data: bytes) -> None:
        """The next piece of its answer."""
        if self.relay is not None:
            self._feed(self.relay, data)

    def hold_back(self) -> None:
        """The backend has to wait."""
        if self._upstream is not None:
            self._upstream.pause()

    def go_on(self) -> None:
        """Everybody else has had a turn."""
        try:
            self.answer_pause()
        except Exception as fault:
            self._failed_inside(fault)

    def all_taken(self, fault: str | None) -> None:
        """All that has come was taken."""
        inflow, relay = self._inflow, self.relay
        if self.stage is Stage.OVER or inflow is None or relay is None:
            return
        if fault is not None and relay.fault is None:
            relay.fault = fault
            self._faulty()
        elif inflow.ended:
            self._ended()
        elif inflow.lost is not None:
            self._lost(*inflow.lost)
        elif not inflow.is_packed:
            self._inflow = None
            if self._upstream is not None:
                self._upstream.resume()
        elif self._upstream is not None:
            self._upstream.resume()

    def _read_elsewhere(self, asked: bytes, parts: list[bytes]) -> None:
        """The whole answer takes too long to read here."""
        self._inflow = inflow = Inflow(self)
        inflow.ended = True
        inflow.waits_for(self._have_read(asked, parts, self._once_read(self._answer_read)))

    def _answer_read(self, relay: Relay, _: Inflow, answer: WorkAnswer) -> None:
        why = why_unread(answer)
        if not why:
            relay.plain.was_read(answer.told, answer.more)
        elif answer.unanswered is Unanswered.TOO_LONG:
            relay.fault = why
        else:
            relay.plain.was_not_read(why)
        self._ended()

    def _read_event(self, relay: Relay, *, is_last: bool = False) -> None:
        """A long event has come: what comes behind it waits. ``is_last``: nothing does."""
        inflow = self._inflow = self._inflow or Inflow(self)
        inflow.ended = inflow.ended or is_last
        asked, parts, rest = relay.long_event()
        inflow.put_back([rest])
        self.hold_back()
        then = self._once_read(functools.partial(self._event_read, parts))
        inflow.waits_for(self._have_read(asked, parts, then))

    def _event_read(self, parts: list[bytes], relay: Relay, inflow: Inflow, answer: WorkAnswer) -> None:
        why = why_unread(answer)
        if relay.rewrites:
            relay.fault = why or division_fault(answer.told) or None
            inflow.put_back(answer.more)
        elif answer.unanswered is Unanswered.TOO_LONG:
            relay.fault = why
        else:
            unread = LongEvent(UNREAD, text_bytes=length_of(parts))
            relay.take_long(unread if why else event_told(answer.told, answer.more), parts)
        self._feed(relay, b"")
        self.answer_pause()

    def _once_read(self, then: Callable[[Relay, Inflow, WorkAnswer], None]) -> OnAnswer:
        """Go on with what was read elsewhere, if anybody still wants it."""

        def read(answer: WorkAnswer) -> None:
            inflow, relay = self._inflow, self.relay
            if inflow is None or relay is None:
                return
            try:
                inflow.was_read()
                then(relay, inflow, answer)
            except Exception as fault:
                self._failed_inside(fault)

        return read

    def answer_pause(self) -> None:
        """All that has come was handed over: write it on."""
        raise NotImplementedError

    def _feed(self, relay: Relay, data: bytes) -> None:
        raise NotImplementedError

    def _have_read(self, asked: bytes, parts: list[bytes], then: OnAnswer) -> WorkItem:
        raise NotImplementedError

    def _failed_inside(self, fault: Exception) -> None:
        raise NotImplementedError

    def _ended(self) -> None:
        raise NotImplementedError

    def _lost(self, kind: FailureKind, detail: str) -> None:
        raise NotImplementedError

    def _faulty(self) -> None:
        raise NotImplementedError
