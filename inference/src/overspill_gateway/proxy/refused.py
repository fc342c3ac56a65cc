"""A backend's refusal of a request, once its words are there: whether somebody else can what it says it can't.

Not here: who is asked next (``exchange``), and what refusals say (``inability``, ``request_form``).
"""

from overspill_gateway.core.admission.plan import History
from overspill_gateway.core.backends.outcome import Failure, FailureKind
from overspill_gateway.core.dialects.engine_full import FULL_STATUSES, says_full
from overspill_gateway.core.dialects.inability import Inability, inability_of, said_by
from overspill_gateway.core.dialects.request_form import RequestForm, another_form
from overspill_gateway.proxy.attempt import Attempt
from overspill_gateway.proxy.outgoing import added_fields
from overspill_gateway.proxy.relay import Relay
from overspill_gateway.proxy.request_context import RequestContext


def forms_to_ask_again(call: RequestContext, attempt: Attempt, relay: Relay) -> tuple[RequestForm, ...]:
    """The forms to ask the same API again with, the last one anew, where it refused a field of ours; none: it did not.

    Once for each field: a form that was tried is never come back to.
    """
    backend, hold = attempt.backend, attempt.hold
    if backend.is_local:
        return ()
    limit = hold.output_tokens_max if hold is not None else None
    added = added_fields(call.endpoint, call.facts, attempt.form, limit)
    form = another_form(attempt.form, added, relay.status, relay.body()) if added else None
    tried = attempt.forms_tried or (attempt.form,)
    return () if form is None or form in tried else (*tried, form)


def refusal_told_by_words(attempt: Attempt, relay: Relay, history: History, now: float, path: bytes) -> Failure | None:
    """What kind of failure a refusal is that somebody else may mend; None: it is about the request."""
    backend, status, body = attempt.backend, relay.status, relay.body()
    inability = inability_of(status, body, local=backend.is_local)
    if inability is None:
        if status == 403:
            return Failure(FailureKind.CREDENTIALS, attempt.served_by, "it answered 403")
        if status not in FULL_STATUSES or not backend.is_local:
            return None  # such a status of a hosted API was a failure before its words came
        kind = FailureKind.FULL if says_full(status, body) else FailureKind.STATUS
        return attempt.failure(kind, _detail(status, body), status)
    if not backend.is_local:
        history.unable_hosted += (backend.served_by,)
        if inability is Inability.PATH or inability is Inability.MODEL:
            backend.has_said_that_it_lacks(path, now)
    elif inability is Inability.CONTEXT:
        history.replicas_unable = True  # what they have differs while they are rolled out, and how long it is does not
    history.unable += 1
    return Failure(FailureKind.UNABLE, attempt.served_by, _detail(status, body), status=status)


def _detail(status: int, body: bytes) -> str:
    words = said_by(body)
    return f"it answered {status}" + (f" ({words})" if words else "")
