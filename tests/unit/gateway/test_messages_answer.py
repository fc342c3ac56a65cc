"""A chat answer in Anthropic's words: the order of events, tools, stop reasons, usage, errors; judged by its SDK."""

import itertools
import json
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from anthropic.types import Message, TextBlock, ToolUseBlock
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.answers.events import EVENT_BYTES_MAX
from overspill_gateway.core.translation.messages_answer import MessagesStream, plain_error, plain_message
from unit.tiers import exhaustively

USAGE = {"prompt_tokens": 17, "completion_tokens": 8, "total_tokens": 25, "prompt_tokens_details": {"cached_tokens": 4}}
DONE = b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **fields: Any) -> bytes:
    """One event of a chat's stream."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    document = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt", "choices": choices} | fields
    return f"data: {json.dumps(document)}\n\n".encode()


def call(index: int | None, arguments: object, **fields: Any) -> dict[str, Any]:
    """A delta with a piece of a tool call."""
    place = {} if index is None else {"index": index}
    function: dict[str, Any] = {"arguments": arguments} | ({"name": fields.pop("name")} if "name" in fields else {})
    return {"tool_calls": [place | {"function": function} | fields]}


TEXT = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo é\n"}),
        chunk({}, "stop"), chunk(usage=USAGE), DONE]  # fmt: skip
TOOLS = [
    chunk({"role": "assistant", "content": None}),
    chunk({"content": "Let me see."}),
    chunk(call(0, "", id="call_1", name="weather", type="function")),
    chunk(call(0, '{"city": "K')),
    chunk(call(0, 'öln"}')),
    chunk(call(1, "", id="call_2", name="time", type="function")),
    chunk(call(1, "{}")),
    chunk({}, "tool_calls"),
    chunk(usage=USAGE),
    DONE,
]


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """The data of each event; its name has to be its type."""
    found = []
    for event in stream.split(b"\n\n")[:-1]:
        name, data = event.split(b"\n")
        document = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + document["type"].encode()
        found.append(document)
    return found


def translate(*pieces: bytes) -> bytes:
    """The whole stream."""
    stream = MessagesStream("claude", "req-1")
    return b"".join([stream.feed(piece) for piece in pieces]) + stream.finish()


def sdk_message(stream: bytes) -> Message:
    """What Anthropic's SDK makes of a stream."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    transport = httpx2.MockTransport(lambda _: answer)
    with (
        httpx2.Client(transport=transport) as http,
        Anthropic(api_key="k", base_url="http://gateway", http_client=http, max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]) as events,
    ):
        return events.get_final_message()


def test_the_order_of_events() -> None:
    """As a real server of Anthropic's API orders them."""
    events = events_of(translate(*TEXT))

    assert [event["type"] for event in events] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert events[0]["message"] == {
        "id": "chatcmpl-1", "type": "message", "role": "assistant", "model": "claude", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 0, "output_tokens": 0},
    }  # fmt: skip
    assert events[1] == {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert events[2]["delta"] == {"type": "text_delta", "text": "Hel"}
    assert events[5]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[5]["usage"] == {
        "input_tokens": 13, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 8,
    }  # fmt: skip


def test_the_sdk_reads_texts() -> None:
    """The message that the SDK puts together."""
    message = sdk_message(translate(*TEXT))

    assert message.content[0].type == "text"
    assert message.content[0].text == "Hello é\n"
    assert (message.stop_reason, message.model) == ("end_turn", "claude")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (13, 8)


def test_the_sdk_reads_tool_calls() -> None:
    """Text, then two calls, each a block of its own whose JSON comes in pieces."""
    message = sdk_message(translate(*TOOLS))

    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(block.id, block.name, block.input) for block in calls] == [
        ("call_1", "weather", {"city": "Köln"}),
        ("call_2", "time", {}),
    ]
    assert message.stop_reason == "tool_use"


def test_blocks_come_one_at_a_time() -> None:
    """Each is stopped before the next one starts, and their numbers count up."""
    open_block, started = None, []
    for event in events_of(translate(*TOOLS)):
        if event["type"] == "content_block_start":
            assert open_block is None
            open_block = event["index"]
            started.append(open_block)
        elif event["type"] == "content_block_delta":
            assert event["index"] == open_block
        elif event["type"] == "content_block_stop":
            assert event["index"] == open_block
            open_block = None

    assert (open_block, started) == (None, [0, 1, 2])


@pytest.mark.parametrize("stream", [TEXT, TOOLS])
@pytest.mark.parametrize("line_end", [b"\r\n", *exhaustively(b"\n", b"\r")])
def test_split_at_every_byte_it_is_the_same(stream: list[bytes], line_end: bytes) -> None:
    """Where the network cuts a stream does not matter, nor how its lines end."""
    whole = b"".join(stream)
    expected = translate(whole)
    ended = whole.replace(b"\n", line_end)

    for position in range(len(ended) + 1):
        assert translate(ended[:position], ended[position:]) == expected
    assert translate(*[ended[i : i + 1] for i in range(len(ended))]) == expected


@given(st.lists(st.text(), max_size=6), st.lists(st.integers(0, 2000), max_size=5))
def test_any_text_arrives_however_it_is_cut(texts: list[str], cuts: list[int]) -> None:
    """All that was said, in its order."""
    stream = b"".join([chunk({"content": piece}) for piece in texts]) + chunk({}, "stop") + DONE
    if b"\\ud" in stream:
        return
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]

    events = events_of(translate(*pieces))

    assert "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta") == "".join(
        texts
    )
    assert events[-1] == {"type": "message_stop"}


@pytest.mark.parametrize(
    ("fields", "reason", "sequence"),
    [
        ({"finish_reason": "stop"}, "end_turn", None),
        ({"finish_reason": "length"}, "max_tokens", None),
        ({"finish_reason": "content_filter"}, "refusal", None),
        ({"finish_reason": "stop", "stop_reason": "END"}, "stop_sequence", "END"),
        ({"finish_reason": "stop", "stop_reason": 128009}, "end_turn", None),
        ({"finish_reason": "tool_calls"}, "tool_use", None),
        ({"finish_reason": "something_new"}, "end_turn", None),
    ],
)
def test_stop_reasons(fields: dict[str, Any], reason: str, sequence: str | None) -> None:
    """Plain and streamed alike, a stop sequence where the server tells which one it was."""
    plain = json.dumps({"choices": [{"index": 0, "message": {"content": "x"}} | fields]}).encode()
    streamed = chunk({"content": "x"}) + chunk(choices=[{"index": 0, "delta": {}} | fields]) + DONE

    message = json.loads(plain_message(plain, "claude", "r"))
    delta = events_of(translate(streamed))[-2]["delta"]

    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)
    assert (delta["stop_reason"], delta["stop_sequence"]) == (reason, sequence)


@pytest.mark.parametrize(
    "said",
    [
        {"content": None, "refusal": "No."},
        {"content": [{"type": "refusal", "refusal": "No."}]},
        {"content": {"type": "refusal", "refusal": "No."}},
    ],
)
def test_a_refusal(said: dict[str, Any]) -> None:
    """What the model says instead of an answer, and that it refused: in a field of its own or as a part."""
    plain = json.dumps({"choices": [{"message": said, "finish_reason": "stop"}]})
    message = json.loads(plain_message(plain.encode(), "claude", "r"))
    events = events_of(translate(chunk(said), chunk({}, "stop"), DONE))
    texts = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]

    assert texts == ["No."]

    assert (message["content"], message["stop_reason"]) == ([{"type": "text", "text": "No."}], "refusal")
    assert events[-2]["delta"]["stop_reason"] == "refusal"


def test_a_plain_answer() -> None:
    """Texts and calls as the SDK's type reads them, with usage."""
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "not JSON"}},
        {"type": "function", "function": {"name": "h", "arguments": ""}},
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "x", "tool_calls": calls},
        "finish_reason": "stop",
    }
    body = json.dumps({"id": "chatcmpl-1", "choices": [choice], "usage": USAGE}).encode()

    message = Message.model_validate_json(plain_message(body, "claude", "r"))

    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use", "tool_use"]
    inputs = [block.input for block in message.content if block.type == "tool_use"]
    assert inputs == [{"a": 1}, {"arguments": "not JSON"}, {}]
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("tool_use", 13, 8)


@pytest.mark.parametrize("body", [b"", b"no", b"{}", b'{"choices": []}', b'{"choices": [{"message": 3}]}', b"[]"])
def test_what_is_no_answer_is_told_apart(body: bytes) -> None:
    """Nothing is made up for it: the caller treats it as a failure."""
    assert plain_message(body, "claude", "r") == b""


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
        (404, "not_found_error"), (413, "request_too_large"), (429, "rate_limit_error"), (500, "api_error"),
        (503, "overloaded_error"), (504, "timeout_error"),
    ],
)  # fmt: skip
def test_errors(status: int, kind: str) -> None:
    """A backend's error keeps its message and gets the type that goes with its status."""
    body = b'{"error": {"message": "too long", "type": "BadRequestError", "code": 400}}'

    told = json.loads(plain_error(status, body, "req-1"))

    assert told == {"type": "error", "error": {"type": kind, "message": "too long"}, "request_id": "req-1"}
    assert json.loads(MessagesStream("claude", "req-1").plain(status, body)) == told
    assert json.loads(plain_error(status, b"<html>", "r"))["error"]["message"] == f"The backend answered {status}."


def test_a_stream_that_did_not_end_gets_no_end() -> None:
    """Without [DONE] or a reason there is no message_stop: nobody takes half an answer for a whole one."""
    for pieces in ((), (TEXT[0],), TEXT[:3]):
        assert b"message_stop" not in translate(*pieces)
    assert translate() == b""


def test_heartbeats_go_on() -> None:
    """A comment that keeps the backend's stream alive becomes a ping; before the answer begins it is dropped."""
    stream = translate(b": processing\n\n", *TEXT[:2], b": processing\n\n", *TEXT[2:])

    assert [event["type"] for event in events_of(stream)].count("ping") == 1
    assert sdk_message(stream).content[0].type == "text"


def test_many_heartbeats_at_once_are_one() -> None:
    """A backend can't make a client's stream many times as long as its own."""
    stream = translate(TEXT[0], TEXT[1] + b": a\n\n" * 1000 + b"\n\n" * 1000 + TEXT[2], *TEXT[3:])

    assert [event["type"] for event in events_of(stream)].count("ping") == 1


def test_a_long_event_arrives_whole() -> None:
    """An event of megabytes is still one delta; beyond all bounds the answer gets no end."""
    arguments = json.dumps({"text": "x" * 3_000_000})
    whole = chunk(call(0, arguments, id="c", name="f")) + b"".join(TOOLS[-3:])
    pieces = [whole[start : start + 65_536] for start in range(0, len(whole), 65_536)]

    (use,) = sdk_message(translate(*pieces)).content

    assert use.type == "tool_use"
    assert use.input == {"text": "x" * 3_000_000}
    stream = MessagesStream("claude", "r")
    told = (
        stream.feed(TEXT[1]) + stream.feed(b"data: " + b"x" * EVENT_BYTES_MAX) + stream.feed(b"\n\n" + TEXT[3] + DONE)
    )
    assert b"message_stop" not in told + stream.finish()


def test_calls_of_servers_that_leave_the_index_out() -> None:
    """An id begins a call, and what has none goes on with the last one."""
    stream = translate(
        chunk(call(None, '{"a"', id="c1", name="f")), chunk(call(None, ": 1}")),
        chunk(call(None, "{}", id="c2", name="g")), chunk({}, "stop"), DONE,
    )  # fmt: skip

    calls = [block for block in sdk_message(stream).content if block.type == "tool_use"]

    assert [(block.id, block.input) for block in calls] == [("c1", {"a": 1}), ("c2", {})]
    assert events_of(stream)[-2]["delta"]["stop_reason"] == "tool_use"


ONE_INDEX = [
    ("call_a", "get_weather", '{"city":"Oslo"}'), ("call_b", "get_weather", '{"city":"Rome"}'),
    ("call_c", "get_time", '{"tz":"UTC"}'),
]  # fmt: skip


@pytest.mark.parametrize("index", [0, None])
@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("cut", [False, True])
def test_parallel_calls_that_share_an_index_are_as_many_calls(index: int | None, *, ids: bool, cut: bool) -> None:
    """Each has an id and a name of its own, or a name where the arguments before it are whole."""
    deltas = []
    for call_id, name, arguments in ONE_INDEX:
        known = {"name": name} | ({"id": call_id} if ids else {})
        deltas.append(chunk(call(index, arguments[:5] if cut else arguments, **known)))
        if cut:
            deltas.append(chunk(call(index, arguments[5:])))

    message = sdk_message(translate(*deltas, chunk({}, "stop"), DONE))

    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in calls] == [(name, json.loads(text)) for _, name, text in ONE_INDEX]
    assert len({block.id for block in calls}) == 3
    assert message.stop_reason == "tool_use"


def test_a_call_that_repeats_its_id_or_its_name_is_one() -> None:
    """As some servers do in each piece; a new id without a name goes on as well."""
    same = [chunk(call(0, text, id="c1", name="f")) for text in ('{"a"', ": 1", "}")]
    named = [chunk(call(0, text, name="f")) for text in ('{"a"', ": 1}", "")]
    other_ids = [chunk(call(0, '{"a"', id="c1", name="f")), chunk(call(0, ": 1}", id="c2"))]

    for pieces in (same, named, other_ids):
        calls = sdk_message(translate(*pieces, chunk({}, "tool_calls"), DONE)).content
        assert [(block.type, getattr(block, "input", None)) for block in calls] == [("tool_use", {"a": 1})]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "Hi"}],
        [{"type": "text", "text": "H"}, {"text": "i"}],
        {"type": "text", "text": "Hi"},
        [{"index": 0, "type": "text", "text": {"value": "Hi", "annotations": []}}],
        [{"type": "text", "text": {"value": "H"}}, {"type": "text", "text": {"value": None}}, "i"],
        {"type": "text", "text": {"value": "Hi"}},
    ],
)
def test_content_in_parts_is_text(content: object) -> None:
    """As a list of parts, or as one: streamed and plain."""
    stream = sdk_message(translate(chunk({"content": content}), chunk({}, "stop"), DONE))
    body = json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}).encode()

    (block,) = stream.content
    assert isinstance(block, TextBlock)
    assert block.text == "Hi"
    assert json.loads(plain_message(body, "claude", "r"))["content"] == [{"type": "text", "text": "Hi"}]


def test_arguments_that_are_an_object_are_its_text() -> None:
    """Some servers write the object where its text belongs."""
    (use,) = sdk_message(translate(chunk(call(0, {"a": 1}, id="c", name="f")), chunk({}, "stop"), DONE)).content

    assert isinstance(use, ToolUseBlock)
    assert use.input == {"a": 1}


def test_only_the_first_choice_is_told() -> None:
    """Anthropic's answers have one."""
    other = chunk(choices=[{"index": 1, "delta": {"content": "other"}, "finish_reason": None}])

    assert b"other" not in translate(TEXT[0], other, *TEXT[1:])


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(junk: bytes) -> None:
    """Whatever a backend sends: what comes out is made of whole events."""
    assert events_of(translate(*TEXT[:2], junk, b"\n\n", *TEXT[2:])) is not None
    assert plain_error(500, junk, "r")
