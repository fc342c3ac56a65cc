"""Prepares attempts: a hosted API's money and place are taken, the request is put into the backend's words.

Not here: who is chosen (``core.admission.plan``), and what follows from how the attempt goes (``exchange``).
"""

from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.core.answers.continuation import Partial, continuation_body
from overspill_gateway.core.dialects.request_form import RequestForm
from overspill_gateway.core.flow.flow_actions import NotSent, Send
from overspill_gateway.core.money.budget import Hold
from overspill_gateway.core.requests.ask import Ask
from overspill_gateway.core.requests.body import BodyFacts, read_body
from overspill_gateway.core.requests.estimate import prompt_tokens_max
from overspill_gateway.core.text.rope import length_of
from overspill_gateway.core.text.splice import BodyError
from overspill_gateway.proxy.attempt import Attempt, AttemptOwner
from overspill_gateway.proxy.outgoing import outgoing, outgoing_long
from overspill_gateway.proxy.request_context import RequestContext


def dispatch(
    exchange: AttemptOwner,
    send: Send[Replica | Hosted],
    now: float,
    *,
    partial: Partial | None = None,
    again: tuple[RequestForm, ...] = (),
) -> Attempt | NotSent:
    """An attempt that can be started, or why the backend can't take this request after all.

    ``partial``: an answer that the backend is to go on with. ``again``: forms of the request, the last one to be sent,
    those before it refused.
    """
    call, backend = exchange.call, send.backend
    body, parts, facts, ask = call.body, call.parts, call.facts, call.ask
    hold: Hold | None = None
    max_tokens: int | None = None
    try:
        if partial is not None:
            body, parts, facts = _going_on(call, partial, local=backend.is_local)
            if not body and not parts:
                return NotSent.NO
            ask = _longer(call, len(body) + length_of(parts), facts)
        if backend.meter is not None:
            held = backend.meter.hold(ask, now)
            if isinstance(held, NotSent):
                return held
            hold = held
            max_tokens = hold.output_tokens_max
        attempt = Attempt(
            exchange, backend, send.reason, now, hold=hold, is_retry=send.is_retry, snapshot=send.snapshot
        )
        attempt.form, attempt.forms_tried = again[-1] if again else backend.form, again
        _word(attempt, call, body, parts, facts, max_tokens)
    except BodyError:  # it can't be told to this hosted API
        _give_back(backend, hold, now)
        return NotSent.NO
    except Exception:
        _give_back(backend, hold, now)
        raise
    return attempt


def _give_back(backend: Replica | Hosted, hold: Hold | None, now: float) -> None:
    """Nothing was sent."""
    if hold is not None and backend.meter is not None:
        backend.meter.settle(hold, now, None, may_have_cost=False)


def _going_on(call: RequestContext, partial: Partial, *, local: bool) -> tuple[bytes, list[bytes], BodyFacts]:
    """The request that goes on with an answer, short or long, and what is read of it; empty: there is none."""
    if call.parts:  # made in another process before
        parts, facts = call.going_on or ([], call.facts)
        return b"", parts, facts
    body = continuation_body(call.body, partial, local=local) or b""
    return body, [], read_body(body, call.endpoint) if body else call.facts


def _longer(call: RequestContext, length: int, facts: BodyFacts) -> Ask:
    """What it asks: what came so far is a part of the prompt now."""
    longer = prompt_tokens_max(length - facts.attachment_bytes, facts.attachments, facts.attachment_bytes)
    call.ask.bound()
    before = len(call.body) + length_of(call.parts)
    return call.ask.with_longer_prompt(max(longer, call.ask.prompt_tokens_max + length - before))


def _word(
    attempt: Attempt, call: RequestContext, body: bytes, parts: list[bytes], facts: BodyFacts, max_tokens: int | None
) -> None:
    """Put the request into the backend's words."""
    if parts:
        attempt.head, attempt.parts = outgoing_long(
            attempt.backend, call.route, call.head, parts, facts, call.request_id, endpoint=call.endpoint,
            max_tokens=max_tokens, form=attempt.form,
        )  # fmt: skip
    else:
        attempt.head, attempt.body = outgoing(
            attempt.backend, call.route, call.head, body, facts, call.request_id, endpoint=call.endpoint,
            max_tokens=max_tokens, form=attempt.form,
        )  # fmt: skip
