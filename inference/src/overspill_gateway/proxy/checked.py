"""What follows when an answer is whole: it is checked against its request's schema where the route says so, then sent.

A check takes its time elsewhere (``schema_checker``); meanwhile the request waits, with nothing at any backend. Not
here: how an answer came about (``exchange``).
"""

from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.core.admission.plan import Refusal, Refuse, ServedReason
from overspill_gateway.core.flow.attempt_state import Ending
from overspill_gateway.core.flow.flow_actions import Action, Send
from overspill_gateway.core.flow.phase import Phase
from overspill_gateway.core.flow.request_flow import RequestFlow
from overspill_gateway.core.http import errors
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.proxy.attempt import Attempt
from overspill_gateway.proxy.containment import Contained
from overspill_gateway.proxy.output_check import check_of
from overspill_gateway.proxy.relay import Relay
from overspill_gateway.proxy.relay_setup import body_for
from overspill_gateway.proxy.request_context import RequestContext
from overspill_gateway.proxy.rewriting import answer_lines
from overspill_gateway.proxy.shared import Shared
from overspill_gateway.workers.schema_checker import TOO_LONG
from overspill_gateway.workers.verdict_fields import Verdict
from overspill_gateway.workers.worker_pool import OnAnswer, WorkItem


class Checked(Contained):
    """A request whose answers may have to keep to a schema."""

    __slots__ = ("_check", "_checking", "_shared", "client", "flow")

    def __init__(self, call: RequestContext, shared: Shared) -> None:
        super().__init__(call)
        self.client = call.client
        self._shared = shared
        route = call.route
        self.flow: RequestFlow[Replica, Hosted, Attempt] = RequestFlow(
            self, route.pool, call.ask, shared.retries, shared.random,
            [shared.settling, route.learning, route.counting], self.clock.monotonic(), streams=call.facts.stream,
        )  # fmt: skip
        self._check = check_of(call)
        self._checking: Attempt | None = None
        """Whose answer is being checked."""

    def _refuses_schema(self) -> bool:
        """Whether the request is refused, unsent, since a check against its schema has lately taken too long."""
        if self._check is None or not self._shared.checker.is_too_dear(self._check.schema):
            return False
        error = errors.unchecked_structured_output(self.call.facts.model, TOO_LONG)
        self.client.refuse(error, answer_lines("none", ServedReason.NOT_SERVED, self.call.request_id))
        return True

    def read_elsewhere(self, attempt: Attempt, asked: bytes, parts: list[bytes], then: OnAnswer) -> WorkItem:
        """Have something long read in another process: backends have their turns."""
        return self._shared.answers.ask(f"{self.call.route.key} {attempt.served_by}", asked, parts, then)

    @property
    def winner(self) -> Attempt | None:
        """The attempt whose answer the client gets."""
        return self.flow.winner

    def attempt_ended(self, attempt: Attempt) -> None:
        """Its answer is whole."""
        relay = attempt.relay
        if relay is None:
            return
        check = self._check
        if check is not None and check.begin(self.call, relay, self._shared.checker, self.output_checked):
            self._checking = attempt
            self.flow.checks(attempt, self.clock.monotonic())
            self.deadline_changed()
        else:
            self._answer(attempt, relay)

    def _answer(self, attempt: Attempt, relay: Relay) -> None:
        """The client gets the whole answer."""
        body = body_for(self.call, attempt, relay)
        self._finish(Ending.WHOLE)
        relay.finish(body)
        self.client.end()

    def _output_checked(self, verdict: Verdict) -> None:
        """Good answers go to the client; one that broke its schema is asked for anew."""
        attempt, check = self._checking, self._check
        if self.flow.phase is not Phase.CHECKING or attempt is None or attempt.relay is None or check is None:
            return  # the client has gone, or its time was up
        self._checking = None
        self.flow.checked()
        check.take(self.call, verdict)
        if verdict.unchecked is not None:
            error = errors.unchecked_structured_output(self.call.facts.model, verdict.unchecked)
            self._refuse(error, "OutputUnchecked")
        elif verdict.why is not None:
            self._ask_for_valid_output(attempt, verdict.why)
        else:
            self._answer(attempt, attempt.relay)

    def _ask_for_valid_output(self, attempt: Attempt, why: str) -> None:
        """An answer broke its schema: another one is asked for, or it is an error."""
        now = self.clock.monotonic()
        action = self.flow.output_broke(attempt.backend, now)
        if isinstance(action, Refuse) and action.why is Refusal.INVALID_OUTPUT:
            self._refuse(errors.invalid_structured_output(self.call.facts.model, why), action.why.value)
            return
        self.call.route.tally.output_retries += isinstance(action, Send)
        self._do(action, now)

    def _do(self, action: Action[Replica | Hosted], now: float) -> None:
        raise NotImplementedError

    def _refuse(self, error: ApiError, why: str, reason: ServedReason = ServedReason.NOT_SERVED) -> None:
        raise NotImplementedError
