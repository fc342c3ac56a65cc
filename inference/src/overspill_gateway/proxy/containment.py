"""A fault of ours in a request ends that request and nothing else: it is caught where others call into the request.

Then it is logged, what was held is freed, and the client is told. Each step of that is tried by itself, and each can be
done twice: nobody knows how far the request had come.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable

from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.core.admission.plan import Refuse
from overspill_gateway.core.answers.continuation import Partial
from overspill_gateway.core.flow.attempt_state import Ending
from overspill_gateway.core.flow.request_flow import RequestFlow
from overspill_gateway.proxy.attempt import Attempt, AttemptOwner
from overspill_gateway.proxy.request_context import RequestContext
from overspill_gateway.proxy.settling import close_admission, free
from overspill_gateway.proxy.shared import Shared
from overspill_gateway.workers.verdict_fields import Verdict

logger = logging.getLogger(__name__)


class Contained(AttemptOwner):
    """A request, as everybody outside calls it: whatever breaks in it stays in it."""

    __slots__ = ("_is_broken",)

    def __init__(self, call: RequestContext) -> None:
        super().__init__(call)
        self._is_broken = False

    def start(self) -> None:
        """Let it in and find a backend."""
        try:
            self._start()
        except Exception as fault:
            self.failed_inside(fault)

    def give_up(self, step: Refuse, now: float) -> None:
        """Nobody serves it."""
        try:
            self._give_up(step, now)
        except Exception as fault:
            self.failed_inside(fault)

    def release(self, now: float) -> bool:
        """Somebody may take it, or the rules have changed: try again. Whether it waits no more."""
        try:
            return self._release(now)
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
            self._go_on()
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

    def failed_inside(self, fault: Exception, attempt: Attempt | None = None) -> None:
        """A fault of ours: it is logged once, the client is told, and nothing stays held.

        The request may have left ``attempt`` by then: nothing more that comes of it may reach a request that is over.
        """
        if not self._is_broken:
            self._is_broken = True
            log_fault(self.call, fault)
        if attempt is not None:
            tried(attempt.abandon)
        self._clean_up()

    def _start(self) -> None:
        raise NotImplementedError

    def _give_up(self, step: Refuse, now: float) -> None:
        raise NotImplementedError

    def _release(self, now: float) -> bool:
        raise NotImplementedError

    def _money_came(self) -> None:
        raise NotImplementedError

    def _take_partial(self, partial: Partial) -> None:
        raise NotImplementedError

    def _go_on(self) -> None:
        raise NotImplementedError

    def _output_checked(self, verdict: Verdict) -> None:
        raise NotImplementedError

    def _finish(self, ending: Ending) -> None:
        raise NotImplementedError

    def _expire(self, now: float) -> None:
        raise NotImplementedError

    def _shut_down(self) -> None:
        raise NotImplementedError

    def _clean_up(self) -> None:
        raise NotImplementedError


def log_fault(call: RequestContext, fault: Exception) -> None:
    """Tell whoever runs the gateway."""
    where = {"route": call.route.key, "request_id": call.request_id.decode("latin-1")}
    logger.error("a request failed inside the gateway", exc_info=fault, extra=where)


def clean_up(
    call: RequestContext,
    shared: Shared,
    flow: RequestFlow[Replica, Hosted, Attempt],
    attempts: Iterable[Attempt],
    now: float,
) -> None:
    """Nothing of a request stays held: connections, places, money, limits; and its client's answer ends."""
    for attempt in attempts:
        tried(attempt.abandon)
        tried(functools.partial(flow.vacate, attempt))
        tried(functools.partial(free, call, shared.metering, attempt, now))
    call.body, call.parts, call.going_on = b"", [], None
    tried(functools.partial(close_admission, call, shared.metering, now))
    tried(functools.partial(call.client.fail, call.head))
    tried(functools.partial(call.route.pool.release, now))
    tried(call.route.demand_changed)


def tried(step: Callable[[], object]) -> None:
    """Do a step of cleaning up: a second fault must not keep the rest from being done, nor hide the first."""
    with contextlib.suppress(Exception):
        step()
