"""Prepares attempts: money and a place at a hosted API are taken, the request is put into the backend's words.

Not here: who is chosen (``core.plan``), and what follows from how the attempt goes (``exchange``).
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from overspill_gateway.core.ask import Ask
from overspill_gateway.core.balance import choose_replica
from overspill_gateway.core.body import BodyFacts, read_body
from overspill_gateway.core.continuation import Partial, continuation_body
from overspill_gateway.core.estimate import prompt_tokens_max
from overspill_gateway.core.plan import History, ServedReason
from overspill_gateway.core.prediction import LoadSnapshot
from overspill_gateway.core.request_form import REPLICA_FORM, RequestForm
from overspill_gateway.core.retry_budget import adds_load
from overspill_gateway.core.rope import length_of
from overspill_gateway.core.splice import BodyError
from overspill_gateway.proxy.attempt import Attempt
from overspill_gateway.proxy.backend import Hosted, Replica
from overspill_gateway.proxy.call import Call, Shared
from overspill_gateway.proxy.hosted_meter import NoHold
from overspill_gateway.proxy.outgoing import outgoing, outgoing_long
from overspill_gateway.proxy.settling import free

if TYPE_CHECKING:
    from overspill_gateway.core.budget import Hold
    from overspill_gateway.proxy.exchange import Exchange


def launch(
    exchange: "Exchange",
    backend: Replica | Hosted,
    reason: ServedReason,
    shared: Shared,
    now: float,
    *,
    is_retry: bool,
    snapshot: LoadSnapshot | None = None,
    partial: Partial | None = None,
    again: tuple[RequestForm, ...] = (),
) -> Attempt | NoHold:
    """An attempt that can be started, or why the backend can't take this request after all.

    ``snapshot``: what is expected of a replica. ``partial``: an answer that the backend is to go on with.
    ``again``: forms of the request, the last one to be sent, those before it refused.
    """
    call = exchange.call
    body, parts, facts, ask = call.body, call.parts, call.facts, call.ask
    hold: Hold | None = None
    max_tokens: int | None = None
    attempt: Attempt | None = None
    try:
        if partial is not None:
            body, parts, facts = _going_on(call, partial, local=isinstance(backend, Replica))
            if not body and not parts:
                return NoHold.NO
            ask = _longer(call, len(body) + length_of(parts), facts)
        if isinstance(backend, Hosted):
            found = shared.metering.hold(backend, ask, now)
            if isinstance(found, NoHold):
                return found
            hold = found
            max_tokens = hold.output_tokens_max
        attempt = Attempt(exchange, backend, reason, now, hold=hold, is_retry=is_retry, snapshot=snapshot)
        attempt.form, attempt.forms_tried = _form_for(backend, again), again
        _word(attempt, call, body, parts, facts, max_tokens)
        _occupy(call, shared, attempt, now)
    except BodyError:  # it can't be told to this hosted API
        if hold is not None and isinstance(backend, Hosted):
            shared.metering.settle_hold(hold, backend, None, now, may_have_cost=False)
        return NoHold.NO
    except Exception:
        if attempt is not None:
            free(call, shared, attempt)
        elif hold is not None and isinstance(backend, Hosted):
            shared.metering.settle_hold(hold, backend, None, now, may_have_cost=False)
        raise
    return attempt


def _going_on(call: Call, partial: Partial, *, local: bool) -> tuple[bytes, list[bytes], BodyFacts]:
    """The request that goes on with an answer, short or long, and what is read of it; empty: there is none."""
    if call.parts:  # made in another process before
        parts, facts = call.going_on or ([], call.facts)
        return b"", parts, facts
    body = continuation_body(call.body, partial, local=local) or b""
    return body, [], read_body(body, call.endpoint) if body else call.facts


def _longer(call: Call, length: int, facts: BodyFacts) -> Ask:
    """What it asks: what came so far is a part of the prompt now."""
    longer = prompt_tokens_max(length - facts.attachment_bytes, facts.attachments, facts.attachment_bytes)
    call.ask.bound()
    before = len(call.body) + length_of(call.parts)
    return call.ask.with_longer_prompt(max(longer, call.ask.prompt_tokens_max + length - before))


def _word(
    attempt: Attempt, call: Call, body: bytes, parts: list[bytes], facts: BodyFacts, max_tokens: int | None
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


def _form_for(backend: Replica | Hosted, again: tuple[RequestForm, ...]) -> RequestForm:
    if again:
        return again[-1]
    return backend.form if isinstance(backend, Hosted) else REPLICA_FORM


def is_retry(history: History[Replica], backend: Replica | Hosted, *, asked_anew: bool) -> bool:
    """Whether an attempt counts against the retry budget; ``asked_anew``: for an answer that broke its schema."""
    if asked_anew or not history.failures:
        return asked_anew
    return adds_load(history.failures[-1].kind, spills=isinstance(backend, Hosted) and not history.failed_hosted)


def hedge_for(
    exchange: "Exchange", first: Attempt, history: History[Replica], shared: Shared, now: float
) -> Attempt | None:
    """A second attempt beside one that is slow to begin, where there is a backend for it and the limits allow it."""
    call = exchange.call
    route, rules = call.route, call.route.compiled.hedging
    if rules is None or not shared.retries.may_retry(now, len(shared.sweeper)):
        return None
    avoid = [*history.failed_replicas, *([first.backend] if isinstance(first.backend, Replica) else [])]
    backend: Replica | Hosted | None = choose_replica(route.pool.replicas, call.ask, now, route.turn, avoid)
    cost = 0
    if backend is None or backend.outlier.ejected(now):
        asked = history.failed_hosted | {first.served_by}
        backend = _priced_hosted(call, asked, now)
        if backend is None:
            return None
        cost = backend.worst_case(call.ask)
    if not route.hedges.may_hedge(now, rules, hosted_cost_nano_usd=cost):
        return None
    rival: Attempt | None = None
    try:
        launched = launch(exchange, backend, ServedReason.HEDGED, shared, now, is_retry=True)
        rival = launched if isinstance(launched, Attempt) else None
        # The hold may be lower, where the budget lowers the answer's length; none: it was not begun after all.
        held = rival.hold.nano_usd if rival is not None and rival.hold is not None else 0
        if cost:
            route.hedges.settled(now, held_nano_usd=cost, actual_nano_usd=held)
    except Exception:
        if rival is not None:
            free(call, shared, rival)
        raise
    if rival is not None:
        rival.is_hedge = True
        route.tally.hedges += 1
    return rival


def _priced_hosted(call: Call, asked: Collection[str], now: float) -> Hosted | None:
    """The first hosted API that may take a hedge: what an unknown price may cost an hour nobody can tell."""
    if call.ask.local_only:
        return None
    for hosted in call.route.pool.hosted:
        if (
            hosted.served_by not in asked
            and hosted.price is not None
            and hosted.may_take(call.ask, now)
            and not hosted.lacks(call.ask, now)
        ):
            return hosted
    return None


def _occupy(call: Call, shared: Shared, attempt: Attempt, now: float) -> None:
    """Count the attempt where it is going to be."""
    backend, route = attempt.backend, call.route
    backend.attempts.add(attempt)
    if attempt.is_retry:
        shared.retries.began()
        attempt.counts_as_retry = True
    if isinstance(backend, Replica):
        backend.sent(call.ask, now)
        attempt.has_place = True
        return
    route.in_flight_spilled += 1
    attempt.has_place = True
    if route.pool.has_local:
        route.spilled += 1
    route.demand_changed()
