"""What a client is told when nobody serves its request: the error, and the reason for the header."""

from typing import TYPE_CHECKING, Final

from overspill_gateway.core import errors
from overspill_gateway.core.errors import ApiError
from overspill_gateway.core.outcome import FailureKind
from overspill_gateway.core.plan import History, Refusal, ServedReason, only_credentials_refused
from overspill_gateway.proxy.backend import Replica

if TYPE_CHECKING:
    from overspill_gateway.proxy.route import Route

RETRY_AFTER_SECONDS: Final = 5
"""After a full queue; a guess until service rates are learned."""


def refusal_of(why: Refusal, route: "Route", model: str, history: History[Replica]) -> tuple[ApiError, ServedReason]:
    """The error for a request that nobody serves."""
    if why is Refusal.QUEUE_FULL:
        return errors.queue_full(model, len(route.held), RETRY_AFTER_SECONDS), ServedReason.QUEUE_FULL
    if why is Refusal.HOLD_TIMEOUT:
        seconds = route.compiled.overflow.hold_timeout_seconds
        return errors.hold_timed_out(model, seconds, route.describe_pool()), ServedReason.HOLD_TIMEOUT
    if why is Refusal.NOT_AVAILABLE:
        return errors.not_available(model, route.describe_pool()), ServedReason.NOT_SERVED
    failures = history.failures
    if only_credentials_refused(history):
        refused = [one.backend for one in failures if one.kind is FailureKind.CREDENTIALS]
        return errors.credentials_refused(model, refused), ServedReason.NOT_SERVED
    timeout = bool(failures) and failures[-1].kind is FailureKind.TIMEOUT
    told = [str(one) for one in failures]
    return errors.backends_failed(model, told, timeout=timeout), ServedReason.NOT_SERVED
