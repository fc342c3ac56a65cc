"""A fault of ours in a request ends that request and nothing else: it is caught where others call into the request.

Then it is logged, what was held is freed, and the client is told. Each step of that is tried by itself, and each can be
done twice: nobody knows how far the request had come.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from overspill_gateway.core.continuation import Partial
from overspill_gateway.core.plan import Refuse
from overspill_gateway.proxy.call import Call, Shared
from overspill_gateway.proxy.settling import Ending, close_admission, free
from overspill_gateway.proxy.verdict_fields import Verdict

if TYPE_CHECKING:
    from overspill_gateway.proxy.attempt import Attempt

logger = logging.getLogger(__name__)


class Contained:
    """A request, as everybody outside calls it: whatever breaks in it stays in it."""

    __slots__ = ("_is_broken", "call", "winner")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.winner: Attempt | None = None
        """The attempt whose answer the client gets."""
        self._is_broken = False

    def start(self) -> None:
        """Let it in and find a backend."""
        try:
            self._start()
        except Exception as fault:
            self.failed_inside(fault)

    def give_up(self, step: Refuse) -> None:
        """Nobody serves it."""
        try:
            self._give_up(step)
        except Exception as fault:
            self.failed_inside(fault)

    def release(self) -> bool:
        """Somebody may take it, or the rules have changed: try again. Whether it waits no more."""
        try:
            return self._release()
        except Exception as fault:
            self.failed_inside(fault)
            return True

    def money_came(self) -> None:
        """The ledger has answered: choose anew."""
        try:
            self._money_came()
        except Exception as fault:
            self.failed_inside(fault)

    def partial_counted(self, partial: Partial) -> None:
        """The tokens of an answer that broke off are counted: another backend may go on with it."""
        try:
            self._take_partial(partial)
        except Exception as fault:
            self.failed_inside(fault)

    def worded_anew(self) -> None:
        """A long request is in the words of whoever may go on with its answer."""
        try:
            self._go_on_worded()
        except Exception as fault:
            self.failed_inside(fault)

    def output_checked(self, verdict: Verdict) -> None:
        """An answer's check against its request's schema is over."""
        try:
            self._output_checked(verdict)
        except Exception as fault:
            self.failed_inside(fault)

    def client_gone(self) -> None:
        """Nobody wants the answer: backends are told to stop; a wake that the request caused stays."""
        try:
            self._finish(Ending.ABANDONED)
        except Exception as fault:
            self.failed_inside(fault)

    def client_slow(self) -> None:
        """The client takes less than it is given."""
        try:
            if self.winner is not None:
                self.winner.pause()
        except Exception as fault:
            self.failed_inside(fault)

    def client_ready(self) -> None:
        """The client takes more again."""
        try:
            if self.winner is not None:
                self.winner.resume()
        except Exception as fault:
            self.failed_inside(fault)

    def expire(self, now: float) -> None:
        """A deadline has passed."""
        try:
            self._expire(now)
        except Exception as fault:
            self.failed_inside(fault)

    def shut_down(self) -> None:
        """The gateway can't wait any longer: end this as well as it can be ended."""
        try:
            self._shut_down()
        except Exception as fault:
            self.failed_inside(fault)

    def failed_inside(self, fault: Exception) -> None:
        """A fault of ours: it is logged once, the client is told, and nothing stays held."""
        if not self._is_broken:
            self._is_broken = True
            log_fault(self.call, fault)
        self._clean_up()

    def _start(self) -> None:
        raise NotImplementedError

    def _give_up(self, step: Refuse) -> None:
        raise NotImplementedError

    def _release(self) -> bool:
        raise NotImplementedError

    def _money_came(self) -> None:
        raise NotImplementedError

    def _take_partial(self, partial: Partial) -> None:
        raise NotImplementedError

    def _go_on_worded(self) -> None:
        raise NotImplementedError

    def _output_checked(self, verdict: Verdict) -> None:
        raise NotImplementedError

    def _finish(self, ending: Ending = Ending.WHOLE) -> None:
        raise NotImplementedError

    def _expire(self, now: float) -> None:
        raise NotImplementedError

    def _shut_down(self) -> None:
        raise NotImplementedError

    def _clean_up(self) -> None:
        raise NotImplementedError


def log_fault(call: Call, fault: Exception) -> None:
    """Tell whoever runs the gateway."""
    where = {"route": call.route.key, "request_id": call.request_id.decode("latin-1")}
    logger.error("a request failed inside the gateway", exc_info=fault, extra=where)


def clean_up(call: Call, shared: Shared, attempts: "Iterable[Attempt]") -> None:
    """Nothing of a request stays held: connections, places, money, limits; and its client's answer ends."""
    for attempt in attempts:
        tried(attempt.abandon)
        tried(functools.partial(free, call, shared, attempt))
    call.body, call.parts, call.going_on = b"", [], None
    tried(functools.partial(close_admission, call, shared))
    tried(functools.partial(call.client.fail, call.head))
    tried(call.route.release)
    tried(call.route.demand_changed)


def tried(step: Callable[[], object]) -> None:
    """Do a step of cleaning up: a second fault must not keep the rest from being done, nor hide the first."""
    with contextlib.suppress(Exception):
        step()
