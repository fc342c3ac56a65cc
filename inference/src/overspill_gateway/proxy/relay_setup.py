"""How an attempt's answer reaches the client: in which dialect, with which parts kept, under which header lines."""

from typing import TYPE_CHECKING

from overspill_gateway.core.answers.answer import error_of_answer
from overspill_gateway.core.answers.continuation import Partial
from overspill_gateway.core.dialects.inability import BODY_BYTES_MAX
from overspill_gateway.core.http.answer_head import AnswerHead
from overspill_gateway.core.http.errors import refusal_body
from overspill_gateway.proxy.early_stream import EarlyStream
from overspill_gateway.proxy.outgoing import plain_answer, translator_of
from overspill_gateway.proxy.relay import Relay
from overspill_gateway.proxy.rewriting import answer_lines

if TYPE_CHECKING:
    from overspill_gateway.proxy.attempt import Attempt
    from overspill_gateway.proxy.request_context import RequestContext


def relay_of(
    call: "RequestContext",
    attempt: "Attempt",
    status: int,
    head: AnswerHead,
    opening: EarlyStream | None,
    *,
    checked: bool,
) -> Relay:
    """Writes this attempt's answer on to the client."""
    facts, endpoint = call.facts, call.endpoint
    if not attempt.backend.is_local:
        head = attempt.backend.problems.head_without_secrets(head)
    return Relay(
        call.client,
        status,
        head,
        answer_lines(attempt.served_by, attempt.reason, call.request_id),
        dialect=endpoint.dialect,
        strip_usage=facts.stream and not facts.include_usage,
        keep=facts.stream and keeps_text(call, attempt),
        translator=translator_of(attempt.backend, endpoint, facts, call.request_id),
        hold_plain=checked,
        opening=opening,
        asked_stream=facts.stream,
    )


def go_on_with(relay: Relay, partial: Partial, attempt: "Attempt", status: int, head: AnswerHead) -> Relay:
    """Lets this attempt's answer follow what the client has; a hosted API may repeat that instead."""
    may_echo = not attempt.backend.is_local
    relay.continue_with(status, head, partial, served_by=attempt.served_by, may_echo=may_echo)
    return relay


def keeps_text(call: "RequestContext", attempt: "Attempt") -> bool:
    """Whether text and request outlive the first token: to go on elsewhere, or to count what nobody may report."""
    if call.route.compiled.on_stream_failure == "Continue":
        return True
    return call.endpoint.generates and not attempt.backend.reports_usage


def body_for(call: "RequestContext", attempt: "Attempt", relay: Relay) -> bytes | None:
    """A plain answer in the client's words, where they differ from the backend's; None: as it came.

    A refusal never tells a client the key that the gateway has sent.
    """
    if relay.status < 400 or relay.streams:
        return None
    translated = None
    if call.endpoint.anthropic:
        translated = plain_answer(
            attempt.backend, call.endpoint, call.facts, call.request_id, relay.status, relay.body()
        )
    body, problems = relay.body() if translated is None else translated, attempt.backend.problems
    if not problems.hides(body):
        return translated
    if len(body) > BODY_BYTES_MAX:  # looking for parts of the key takes time
        body = refusal_body(error_of_answer(relay.status, body), call.endpoint.path, b"")
    return problems.hidden(body.decode("utf-8", "replace")).encode()
