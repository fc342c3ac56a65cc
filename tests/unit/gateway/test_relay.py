"""What of an answer reaches the client, and when: held back, passed on, broken off, told inside a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.answers.events import EVENT_BYTES_MAX
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.dialects.error_events import stream_error
from overspill_gateway.core.http import errors
from overspill_gateway.core.http.answer_head import AnswerHead
from overspill_gateway.core.http.head import Header
from overspill_gateway.core.translation.messages_answer import MessagesStream
from overspill_gateway.proxy.early_stream import KEEP_ALIVE, EarlyStream
from overspill_gateway.proxy.gathered import GATHERED_BYTES_MAX, HELD_BYTES_MAX
from overspill_gateway.proxy.relay import Relay
from overspill_gateway.proxy.rewriting import answer_lines
from unit.gateway.client_double import ClientDouble
from unit.gateway.generated import DONE, PING, ROLE, STREAMS, data_event, said, usage_chunk

pytestmark = pytest.mark.interpreted  # its client is a double

STREAM: list[Header] = [(b"content-type", b"text/event-stream; charset=utf-8")]
JSON: list[Header] = [(b"content-type", b"application/json")]
EXTRA = answer_lines("local/tiny-0", ServedReason.NOT_SERVED, b"req-1")
BROKEN = errors.stream_broken("local/tiny-0", "reset")


def relay_to(client: ClientDouble, headers: list[Header] = STREAM, status: int = 200, **options: Any) -> Relay:
    """A relay of an answer with this head."""
    options = {"dialect": Dialect.CHAT} | options
    return Relay(client.connection, status, AnswerHead(headers), EXTRA, **options)


def opening_to(client: ClientDouble, dialect: Dialect = Dialect.CHAT) -> EarlyStream:
    """The beginning of an answer to a request that asked for a stream."""
    return EarlyStream(client.connection, dialect, b"req-1")


# -- streams -----------------------------------------------------------------------------------------------------------


def test_nothing_goes_to_the_client_before_the_first_token() -> None:
    """Not even the head: another backend can still take over."""
    client = ClientDouble()
    relay = relay_to(client)

    relay.feed(ROLE)
    assert (client.heads, relay.begun, relay.committed, relay.fault) == ([], False, False, None)

    relay.feed(said("x"))
    assert client.body == ROLE + said("x")
    type_and_pace = b"content-type: text/event-stream; charset=utf-8\r\nx-accel-buffering: no\r\n"
    assert client.heads == [(200, type_and_pace + EXTRA, None)]
    assert (relay.begun, relay.committed) == (True, True)


def test_a_whole_stream_ends_clean() -> None:
    """finish() says so; ending the answer is its caller's."""
    client = ClientDouble()
    relay = relay_to(client, strip_usage=True)

    for event in [ROLE, said("x"), said("", "stop"), usage_chunk(17, 3), DONE]:
        relay.feed(event)

    assert relay.ended
    assert relay.finish()
    assert client.body == ROLE + said("x") + said("", "stop") + DONE
    usage = relay.usage()
    assert usage is not None
    assert (usage.prompt_tokens, usage.output_tokens) == (17, 3)
    assert relay.content_events == 2


def test_an_error_before_the_first_token_leaves_the_client_untouched() -> None:
    """The attempt has failed, whatever the status said."""
    client = ClientDouble()
    relay = relay_to(client)

    relay.feed(ROLE)
    relay.feed(data_event({"error": {"message": "no memory", "code": 500}}) + DONE)

    assert (relay.fault, relay.fault_status) == ("no memory", 500)
    assert (relay.begun, client.heads, relay.finish()) == (False, [], False)
    assert client.heads == []


def test_an_engine_that_is_killed_never_ends_clean() -> None:
    """It says error and then [DONE]: the client gets our error, and no [DONE]."""
    client = ClientDouble()
    relay = relay_to(client)

    relay.feed(said("x"))
    relay.feed(data_event({"error": {"message": "EngineCore died", "code": 500}}))
    relay.feed(DONE)
    assert relay.fault == "EngineCore died"
    relay.break_off(BROKEN)

    assert client.body == said("x") + errors.error_event(BROKEN)
    assert client.ended


@pytest.mark.parametrize("dialect", list(STREAMS))
def test_a_broken_stream_says_so_in_its_own_dialect(dialect: Dialect) -> None:
    """As one event that the dialect's SDKs raise on; nothing that means an end follows it."""
    start, output, _ = STREAMS[dialect]
    client = ClientDouble()
    relay = relay_to(client, dialect=dialect)
    relay.feed(b"".join([*start, output[0]]))

    assert relay.close() is not None
    assert relay.finish() is False
    relay.break_off(BROKEN)

    event = client.body.removeprefix(b"".join([*start, output[0]])).decode()
    document = json.loads(event.partition("data: ")[2])
    assert document["error"]["message"] == BROKEN.message
    assert event.startswith("event: error\n") == (dialect in {Dialect.MESSAGES, Dialect.RESPONSES})
    if dialect is Dialect.MESSAGES:
        assert (document["type"], document["error"]["type"]) == ("error", "api_error")
        assert document["request_id"] == "req-1"
    if dialect is Dialect.RESPONSES:
        assert (document["type"], document["message"]) == ("error", BROKEN.message)
        assert document["sequence_number"] == 4
    assert (client.ended, client.was_cut) == (True, False)


def test_a_stream_that_breaks_behind_its_end_is_whole() -> None:
    """What happens to the connection after [DONE] is nobody's business."""
    client = ClientDouble()
    relay = relay_to(client)
    relay.feed(said("x") + DONE)

    assert relay.ended
    relay.break_off(BROKEN)

    assert client.body == said("x") + DONE
    assert client.ended


def test_of_an_event_that_is_too_long_nothing_passes() -> None:
    """It is a fault that names the bound, and the error stands where an event ends."""
    client = ClientDouble()
    relay = relay_to(client)
    relay.feed(said("x"))
    relay.feed(b"data: " + b"y" * EVENT_BYTES_MAX)

    relay.break_off(BROKEN)

    assert relay.fault == "an event of its stream is longer than 16 MiB"
    assert client.body == said("x") + errors.error_event(BROKEN)


def translator() -> MessagesStream:
    """Of one answer."""
    return MessagesStream("tiny", "req-1")


def translated(events: bytes) -> bytes:
    """What a translator makes of a whole stream."""
    stream = translator()
    return stream.feed(events) + stream.finish()


def test_a_translated_stream_is_judged_before_it_is_translated() -> None:
    """The backend speaks chat completions, with usage; the client's dialect is another, and so are its errors."""
    client, broken = ClientDouble(), ClientDouble()
    relay = relay_to(client, dialect=Dialect.MESSAGES, strip_usage=True, translator=translator())
    second = relay_to(broken, dialect=Dialect.MESSAGES, translator=translator())

    relay.feed(ROLE + said("x"))
    relay.feed(usage_chunk() + DONE)
    assert relay.finish()
    second.feed(said("x"))
    second.break_off(BROKEN)

    assert client.body == translated(ROLE + said("x") + usage_chunk() + DONE)
    assert b'"output_tokens":3' in client.body
    assert broken.body == translator().feed(said("x")) + stream_error(BROKEN, Dialect.MESSAGES, request_id="req-1")


def test_a_plain_answer_is_translated_as_a_whole() -> None:
    """Errors too; what is no answer at all is a fault. Token counts are read in the backend's words."""
    usage = b'{"choices":[{"text":"x"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}'
    for status, body in ((200, usage), (400, b'{"error":{"message":"no"}}')):
        client = ClientDouble()
        relay = relay_to(client, JSON, status, dialect=Dialect.MESSAGES, translator=translator())
        relay.feed(body)
        assert relay.finish()
        assert client.body == translator().plain(status, body)
        assert (relay.usage() is None) == (status == 400)
    nothing = relay_to(ClientDouble(), JSON, dialect=Dialect.MESSAGES, translator=translator())
    nothing.feed(b'{"choices":[{"message":{"content":7},"text":"a"}],"id":[]}')

    assert nothing.close() == "its answer is no chat completion"


# -- plain answers -----------------------------------------------------------------------------------------------------


def test_a_short_plain_answer_is_written_when_it_is_whole() -> None:
    """With its length; half of one costs the client nothing."""
    client = ClientDouble()
    relay = relay_to(client, JSON)

    relay.feed(b'{"choices":[{"message":{"content":"hi"}}],')
    relay.feed(b'"usage":{"prompt_tokens":3,"completion_tokens":1}}')
    assert (client.heads, relay.begun, relay.streams) == ([], False, False)
    assert relay.output_text() == "hi"
    assert relay.finish()

    assert json.loads(client.body)["usage"] == {"prompt_tokens": 3, "completion_tokens": 1}
    assert client.heads[0][2] == len(client.body)
    usage = relay.usage()
    assert usage is not None
    assert usage.prompt_tokens == 3


def test_a_long_plain_answer_is_written_as_it_comes_unless_held() -> None:
    """Over the bound the client sees it grow, and a broken one is cut; one to be checked waits for its end."""
    piece = b'{"choices":[{"text":"' + b"x" * GATHERED_BYTES_MAX + b'"}]'
    flowing, held = ClientDouble(), ClientDouble()
    relay, waiting = relay_to(flowing, JSON), relay_to(held, JSON, hold_plain=True)
    for one in (relay, waiting):
        one.feed(piece)
        one.feed(b"}")

    assert flowing.body == piece + b"}"
    assert (relay.begun, relay.committed) == (True, True)
    relay.break_off(BROKEN)
    assert flowing.was_cut
    assert held.heads == []
    assert waiting.body() == piece + b"}"
    assert waiting.finish(b"instead")
    assert held.body == b"instead"
    assert held.heads[0][2] == len(b"instead")


def test_a_held_answer_has_a_bound() -> None:
    """One that never ends is a fault, not a full memory."""
    client = ClientDouble()
    relay = relay_to(client, JSON, hold_plain=True)
    piece = b"x" * (1 << 20)

    for _ in range(HELD_BYTES_MAX // len(piece) + 1):
        relay.feed(piece)

    assert relay.fault is not None
    assert "longer than 16 MiB" in relay.fault
    assert client.heads == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "its answer is empty"),
        (b'{"error":{"message":"out of memory"}}', "out of memory"),
        (b'{"error":"out of memory"}', "out of memory"),
        (b'{"type":"error","error":{"type":"api_error","message":"out of memory"}}', "out of memory"),
        (b'{"choices":[{"message":{"content":"x"},"finish_reason":"abort"}]}', "it gave the answer up"),
    ],
)
def test_an_error_inside_a_plain_200_is_a_fault(body: bytes, why: str) -> None:
    """As in a stream: nothing has reached the client. Of other paths nobody knows what an answer looks like."""
    client, other = ClientDouble(), ClientDouble()
    relay = relay_to(client, JSON)
    unknown = relay_to(other, JSON, dialect=Dialect.OTHER)
    for one in (relay, unknown):
        one.feed(body)

    fault = relay.close()
    assert fault is not None
    assert fault.startswith(why)
    assert (relay.finish(), client.heads) == (False, [])
    assert unknown.finish()
    assert other.body == body


def test_an_answer_that_has_room_for_an_error_is_none() -> None:
    """null is no error."""
    for body in (b'{"error":null,"choices":[{"text":"x"}]}', b'{"choices":[{"text":"x"}],"error":null}'):
        client = ClientDouble()
        relay = relay_to(client, JSON)
        relay.feed(body)
        assert relay.finish()
        assert client.body == body


def test_a_refusal_to_a_request_for_a_stream_is_plain() -> None:
    """A JSON error goes on as it is, its status with it."""
    client = ClientDouble()
    relay = relay_to(client, JSON, status=400)

    relay.feed(b'{"error":{"message":"no"}}')

    assert relay.finish()
    assert client.heads[0][0] == 400
    assert client.body == b'{"error":{"message":"no"}}'


def test_an_attempt_that_is_given_up_before_it_began_is_refused() -> None:
    """break_off where nothing has been sent is an answer of its own."""
    client = ClientDouble()

    relay_to(client).break_off(BROKEN)

    assert client.refused is BROKEN


# -- heartbeats --------------------------------------------------------------------------------------------------------


def test_a_waiting_client_hears_heartbeats() -> None:
    """The head of a stream once, then comments; each is written at once."""
    client = ClientDouble()
    opening = opening_to(client)

    opening.heartbeat()
    opening.heartbeat()

    status, lines, length = client.heads[0]
    assert (status, length) == (200, None)
    assert b"content-type: text/event-stream" in lines
    assert b"x-request-id: req-1\r\n" in lines
    assert client.flushed == KEEP_ALIVE * 2


def test_an_answer_behind_heartbeats_goes_on_in_the_same_stream() -> None:
    """What would have been header lines comes as comments; the events are the backend's."""
    client = ClientDouble()
    opening = opening_to(client)
    opening.heartbeat()
    relay = relay_to(client, opening=opening)

    relay.feed(ROLE)
    assert not relay.begun
    opening.heartbeat()
    relay.feed(said("x") + DONE)

    assert relay.finish()
    comments, _, events = client.body.removeprefix(KEEP_ALIVE * 2).partition(b"\n\n")
    assert comments.split(b"\n")[0] == b": x-overspill-served-by: local/tiny-0"
    assert all(line.startswith(b": ") for line in comments.split(b"\n"))
    assert events == ROLE + said("x") + DONE


def test_a_stream_that_has_begun_needs_no_second_head() -> None:
    """A heartbeat while another backend is looked for comes in the same answer."""
    client = ClientDouble()
    opening = opening_to(client)
    relay_to(client, opening=opening).feed(said("x"))

    opening.heartbeat()

    assert client.body == said("x") + KEEP_ALIVE


@pytest.mark.parametrize("dialect", list(STREAMS))
def test_a_refusal_behind_heartbeats_is_an_event(dialect: Dialect) -> None:
    """The status is gone: the error is told inside the stream; without heartbeats it is an answer of its own."""
    client, unopened = ClientDouble(), ClientDouble()
    opening = opening_to(client, dialect)
    opening.heartbeat()

    opening.refuse(errors.SHUTTING_DOWN, EXTRA)
    opening_to(unopened, dialect).refuse(errors.SHUTTING_DOWN, EXTRA)

    assert stream_error(errors.SHUTTING_DOWN, dialect, request_id="req-1") in client.body
    assert client.ended
    assert unopened.refused is errors.SHUTTING_DOWN


def test_a_backends_refusal_behind_heartbeats_is_an_event() -> None:
    """What it said is kept: type, code, parameter and message."""
    client = ClientDouble()
    opening = opening_to(client)
    opening.heartbeat()
    relay = relay_to(client, JSON, status=400, opening=opening)
    error = {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length"}

    relay.feed(json.dumps({"error": error}).encode())
    assert relay.finish()

    assert json.loads(client.body.rpartition(b"data: ")[2])["error"] == error


def test_a_plain_answer_behind_heartbeats_is_a_fault() -> None:
    """A client that reads events can't be given a document: another backend may do better."""
    client = ClientDouble()
    opening = opening_to(client)
    opening.heartbeat()
    relay = relay_to(client, JSON, opening=opening)

    relay.feed(b"{}")

    assert relay.fault == "it answered with no stream"
    relay.break_off(BROKEN)
    assert client.body.endswith(errors.error_event(BROKEN))
    assert client.ended


def test_a_backends_own_heartbeats_pass_once_the_answer_has_begun() -> None:
    """They are part of its stream."""
    client = ClientDouble()
    relay = relay_to(client)

    for event in (PING, ROLE, PING, said("x"), PING):
        relay.feed(event)

    assert client.body == ROLE + said("x") + PING
