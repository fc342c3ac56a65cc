"""What a client is told when nobody serves its request: the error, and the reason for the header."""

import math
from typing import TYPE_CHECKING, Final

from overspill_gateway.core.admission.plan import History, Refusal, Refuse, ServedReason, only_credentials_refused
from overspill_gateway.core.admission.route_pool import FlowRules
from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.http import errors
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.requests.ask import Ask

if TYPE_CHECKING:
    from overspill_gateway.proxy.request_context import RequestContext
    from overspill_gateway.routes.route import Route

RETRY_AFTER_SECONDS: Final = 10
"""Where nobody can tell when there will be a place."""


def refusal_of(
    refuse: Refuse, call: "RequestContext", history: History, rules: FlowRules
) -> tuple[ApiError, ServedReason]:
    """The error for a request that nobody serves; ``rules``: those that it began with."""
    route, model = call.route, call.facts.model
    wait = refuse.retry_after_seconds or RETRY_AFTER_SECONDS
    if refuse.why is Refusal.QUEUE_FULL:
        return errors.queue_full(model, len(route.pool.queue), wait), ServedReason.QUEUE_FULL
    if refuse.why is Refusal.HOLD_TIMEOUT:
        state = "; ".join([route.describe_pool(), *map(str, history.failures)])
        return errors.hold_timed_out(model, rules.hold_timeout_seconds, state), ServedReason.HOLD_TIMEOUT
    return _not_served(refuse.why, call, history, rules), ServedReason.NOT_SERVED


def _not_served(why: Refusal, call: "RequestContext", history: History, rules: FlowRules) -> ApiError:
    route, model = call.route, call.facts.model
    if why is Refusal.BUDGET_SPENT:
        return budget_refusal(route, model)
    if why is Refusal.TOTAL_TIMEOUT:
        return errors.total_timeout(model, rules.total_seconds)
    if why is Refusal.HOSTED_UNABLE:
        return _hosted_unable(route, model, call.ask)
    if why is Refusal.NOT_AVAILABLE:
        return errors.not_available(model, route.describe_pool())
    return _all_failed(model, history)


def _all_failed(model: str, history: History) -> ApiError:
    failures = history.failures
    if not failures:  # an answer broke its schema, and no further attempt is allowed
        return errors.no_second_output(model)
    if only_credentials_refused(history):
        refused = [failure.backend for failure in failures if failure.kind is FailureKind.CREDENTIALS]
        return errors.credentials_refused(model, refused)
    last = failures[-1]
    reasons = [str(failure) for failure in failures]
    if last.kind is FailureKind.ERROR_IN_ANSWER and last.status == 429:
        return errors.backends_limited(model, reasons, last.retry_after_seconds)
    return errors.backends_failed(model, reasons, timeout=last.kind is FailureKind.TIMEOUT)


def budget_refusal(route: "Route", model: str) -> ApiError:
    """The route's money is spent, or can't be counted: until when."""
    budget = route.meter.budget
    if budget.unusable:
        return errors.not_available(model, "its budget can't be kept now; the gateway's log says why")
    seconds = budget.seconds_to_next_period()
    period = route.compiled.budget.period if route.compiled.budget is not None else "Month"
    return errors.budget_exhausted(model, period, math.ceil(seconds) if seconds is not None else None)


def _hosted_unable(route: "Route", model: str, ask: Ask) -> ApiError:
    """Why no hosted API may take a request now: money that is used up, else limits and rests that pass by."""
    now = route.clock.monotonic()
    if not any(api.has_path(ask.hosted_path) for api in route.pool.hosted):
        return errors.path_not_hosted(ask.hosted_path.decode("latin-1"), model)
    if not route.meter.can_bound(ask):
        return errors.cost_unbounded(model, ask.unpriced, ask.unbounded)
    if not route.meter.is_affordable(ask):
        return budget_refusal(route, model)
    waits = [api.outlier.returns_at - now for api in route.pool.hosted if api.outlier.returns_at > now]
    wait = route.meter.hosted_wait_seconds(ask, now)
    if wait == math.inf and route.pool.hosted:
        return errors.larger_than_hosted_limits(model, ask.prompt_tokens)
    waits.append(wait)
    passing = [math.ceil(wait) for wait in waits if 0.0 < wait < math.inf]
    return errors.hosted_limits(model, min(passing, default=RETRY_AFTER_SECONDS))
