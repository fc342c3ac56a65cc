"""What a client is told when nobody serves its request: the error, and the reason for the header."""

import math
from time import monotonic
from typing import TYPE_CHECKING, Final

from overspill_gateway.core import errors
from overspill_gateway.core.errors import ApiError
from overspill_gateway.core.outcome import FailureKind
from overspill_gateway.core.plan import History, Refusal, Refuse, ServedReason, only_credentials_refused
from overspill_gateway.proxy.backend import Replica

if TYPE_CHECKING:
    from overspill_gateway.proxy.route import Route

RETRY_AFTER_SECONDS: Final = 10
"""Where nobody can tell when there will be a place."""


def refusal_of(refuse: Refuse, route: "Route", model: str, history: History[Replica]) -> tuple[ApiError, ServedReason]:
    """The error for a request that nobody serves."""
    wait = refuse.retry_after_seconds or RETRY_AFTER_SECONDS
    if refuse.why is Refusal.QUEUE_FULL:
        return errors.queue_full(model, len(route.held), wait), ServedReason.QUEUE_FULL
    if refuse.why is Refusal.HOLD_TIMEOUT:
        seconds = route.compiled.overflow.hold_timeout_seconds
        return errors.hold_timed_out(model, seconds, route.describe_pool()), ServedReason.HOLD_TIMEOUT
    if refuse.why is Refusal.HOSTED_UNABLE:
        return _hosted_unable(route, model), ServedReason.NOT_SERVED
    if refuse.why is Refusal.NOT_AVAILABLE:
        return errors.not_available(model, route.describe_pool()), ServedReason.NOT_SERVED
    failures = history.failures
    if only_credentials_refused(history):
        refused = [one.backend for one in failures if one.kind is FailureKind.CREDENTIALS]
        return errors.credentials_refused(model, refused), ServedReason.NOT_SERVED
    timeout = bool(failures) and failures[-1].kind is FailureKind.TIMEOUT
    told = [str(one) for one in failures]
    return errors.backends_failed(model, told, timeout=timeout), ServedReason.NOT_SERVED


def _hosted_unable(route: "Route", model: str) -> ApiError:
    """Why no hosted API may take a request now: money that is used up, else limits and rests that pass by."""
    budget = route.compiled.budget
    spending = route.meter.budget.current() if budget is not None else None
    if budget is not None and (spending is None or spending.account.left <= 0):
        return errors.budget_exhausted(model, budget.period)
    now = monotonic()
    rests = [one.outlier.returns_at - now for one in route.pool.hosted if one.outlier.returns_at > now]
    wait = math.ceil(min(rests)) if rests else RETRY_AFTER_SECONDS
    return errors.hosted_limits(model, wait)
