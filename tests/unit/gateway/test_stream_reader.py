"""What a stream is judged to be while it passes: begun, whole, failed; and that it passes as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.answers.events import EVENT_BYTES_MAX, event_name_and_data, says_nothing, split_events
from overspill_gateway.core.answers.stream import HELD_BYTES_MAX, HELD_EVENTS_MAX, KEPT_CHARS_MAX, StreamReader
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.dialects.endpoints import Dialect
from unit.gateway.generated import (
    DONE,
    PING,
    ROLE,
    STREAMS,
    chunk,
    data_event,
    message_delta,
    message_event,
    response_event,
    said,
    usage_chunk,
    usage_of,
    whole_stream,
)
from unit.tiers import exhaustively

DIALECTS = list(STREAMS)


def fed(reader: StreamReader, *pieces: bytes) -> bytes:
    """What a reader lets pass of these pieces and of the connection's proper end."""
    passed = b"".join([reader.feed(piece) for piece in pieces])
    return passed + reader.rest()


def outcome(reader: StreamReader) -> tuple[Any, ...]:
    """All that a reader has found."""
    return (
        reader.committed,
        reader.ended,
        reader.fault,
        reader.fault_status,
        reader.content_events,
        reader.text,
        reader.sequence,
    )


# -- beginning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_comes_before_the_first_token_is_held_back(dialect: Dialect) -> None:
    """Ids, roles and empty deltas say nothing yet: they pass with the first token, in their order."""
    start, output, end = STREAMS[dialect]
    reader = StreamReader(dialect)

    assert [reader.feed(event) for event in start] == [b""] * len(start)
    assert (reader.committed,) == (False,)
    assert reader.feed(output[0]) == b"".join(start) + output[0]
    assert reader.committed
    assert [reader.feed(event) for event in [*output[1:], end]] == [*output[1:], end]
    assert (reader.ended, reader.fault, reader.rest()) == (True, None, b"")


@pytest.mark.parametrize(
    "first",
    [
        said("x"),
        chunk({"reasoning": "hm"}),
        chunk({"reasoning_content": "hm"}),
        chunk({"refusal": "no"}),
        chunk({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}),
        chunk({"something_new": {"a": 1}}),
        chunk({}, "stop"),
        chunk({"content": [{"type": "text", "text": "x"}]}),
    ],
)
def test_anything_generated_is_a_first_token(first: bytes) -> None:
    """Text, reasoning, refusals, tool calls, unknown output, and the reason of an answer without any of them."""
    reader = StreamReader(Dialect.CHAT)

    assert reader.feed(ROLE) == b""
    assert reader.feed(first) == ROLE + first
    assert reader.committed


def test_the_start_is_held_back_within_bounds() -> None:
    """So many events, or so many bytes, without a token: the stream passes as it is."""
    many, large = StreamReader(Dialect.CHAT), StreamReader(Dialect.RESPONSES)
    created = response_event("response.created", 0, response={"instructions": "x" * HELD_BYTES_MAX})

    passed = [many.feed(ROLE) for _ in range(HELD_EVENTS_MAX)]

    assert passed == [b""] * (HELD_EVENTS_MAX - 1) + [ROLE * HELD_EVENTS_MAX]
    assert many.committed
    assert large.feed(created) == created
    assert large.committed


@pytest.mark.parametrize(
    ("event", "nothing"),
    [
        (b"", True),
        (b"\n\n", True),
        (b"\r\n\r\n", True),
        (b"\r\r\n", True),
        (b": processing\n\n", True),
        (b":\n\n", True),
        (b": a\rdata: b\n\n", False),
        (b": a\ndata: b\n\n", False),
        (b"\n\ndata: b\n\n", False),
        (b"data: :\n\n", False),
        (b"{}\n\n", False),
    ],
)
def test_an_event_that_says_nothing_is_known_at_once(event: bytes, *, nothing: bool) -> None:
    """Only where reading it finds neither a name nor data."""
    assert says_nothing(event) is nothing
    assert not nothing or event_name_and_data(event) == (b"", None)


def test_a_backends_comments_do_not_begin_an_answer() -> None:
    """Before the first token they are dropped, however many; after it they pass."""
    reader = StreamReader(Dialect.CHAT)

    assert reader.feed(PING * 200) == b""
    assert reader.feed(said("x")) == said("x")
    assert reader.feed(PING) == PING


def test_an_unknown_dialect_passes_at_once() -> None:
    """Nothing is known of its events: the first one is its beginning, the framing's end its end."""
    reader = StreamReader(Dialect.OTHER)

    assert reader.feed(b"data: hello\n\ndata: wor") == b"data: hello\n\n"
    assert reader.committed
    assert reader.feed(b"ld\n\n") == b"data: world\n\n"
    assert (reader.rest(), reader.fault) == (b"", None)


# -- faults ------------------------------------------------------------------------------------------------------------

ERRORS = [
    (
        Dialect.CHAT,
        data_event({"error": {"message": "out of memory", "type": "InternalServerError", "code": 500}}),
        500,
    ),
    (Dialect.CHAT, data_event({"error": {"message": "out of memory", "type": "server_error", "code": None}}), 502),
    (Dialect.CHAT, data_event({"object": "error", "message": "out of memory", "code": 503}), 503),
    (Dialect.CHAT, data_event({"error": "out of memory"}), 502),
    (Dialect.CHAT, data_event({"message": "out of memory"}, "error"), 502),
    (Dialect.CHAT, data_event({"error": {"message": "out of memory", "code": "429"}}), 429),
    (Dialect.CHAT, chunk({}, "error", error={"message": "out of memory", "code": 502}), 502),
    (Dialect.COMPLETIONS, data_event({"error": {"message": "out of memory", "type": "rate_limit_exceeded"}}), 429),
    (Dialect.RESPONSES, response_event("error", 3, message="out of memory", code="server_error"), 502),
    (
        Dialect.RESPONSES,
        response_event("response.failed", 3, response={"error": {"message": "out of memory", "code": "quota"}}),
        429,
    ),
    (Dialect.MESSAGES, message_event("error", error={"type": "overloaded_error", "message": "out of memory"}), 429),
]


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(("dialect", "error", "status"), ERRORS)
def test_an_error_inside_a_stream_is_a_fault(dialect: Dialect, error: bytes, status: int, begun: bool) -> None:  # noqa: FBT001
    """Whatever its shape: it never passes, nor does a [DONE] behind it; before the first token nothing has passed."""
    start, output, end = STREAMS[dialect]
    reader = StreamReader(dialect)
    before = [*start, output[0]] if begun else start

    passed = fed(reader, b"".join([*before, error, end]))

    assert passed == (b"".join(before) if begun else b"")
    assert (reader.committed, reader.ended) == (begun, False)
    assert reader.fault == "out of memory"
    assert reader.fault_status == status


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_answer_that_was_given_up_is_a_fault(reason: str) -> None:
    """No client takes these reasons for the end of an answer."""
    reader = StreamReader(Dialect.CHAT)

    assert fed(reader, said("x"), said("", reason), DONE) == said("x")
    assert reader.fault == f"it gave the answer up (finish_reason {reason})"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("bad", [b'data: {"choices":[{"ind\n\n', b"data: hello\n\n", b"data: [1]\n\n", b"data: \n\n"])
def test_an_event_that_is_no_json_object_is_a_fault(dialect: Dialect, bad: bytes) -> None:
    """A client would stumble over it: what came before it passes, it and what follows don't."""
    start, output, end = STREAMS[dialect]
    reader = StreamReader(dialect)

    passed = fed(reader, *start, output[0], bad, *output[1:], end)

    assert passed == b"".join([*start, output[0]])
    assert reader.fault is not None
    assert "can't be read" in reader.fault


def test_lenient_json_is_no_fault() -> None:
    """NaN or a stray byte breaks no stream: clients read them."""
    odd = [b'data: {"choices":[],"x":NaN}\n\n']
    odd.append(b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n')
    reader = StreamReader(Dialect.CHAT)

    assert fed(reader, said("x"), *odd, DONE) == b"".join([said("x"), *odd, DONE])
    assert reader.ended


def test_words_that_look_like_marks_are_none() -> None:
    """Text that speaks of errors, usage and [DONE] is text."""
    text = said('{"error":{"message":"x"}} "usage":{"prompt_tokens":1} data: [DONE]')
    tool = chunk({"tool_calls": [{"function": {"arguments": '{"error": "usage"}'}}]})
    reader = StreamReader(Dialect.CHAT, strip_usage=True)

    assert (
        fed(reader, text, tool, said("error"), said("usage"), DONE)
        == text + tool + said("error") + said("usage") + DONE
    )
    assert (reader.fault, reader.usage) == (None, None)


# -- ending ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_without_its_last_event_is_not_whole(dialect: Dialect) -> None:
    """A connection that ends properly proves nothing: the dialect's own end has to come."""
    start, output, end = STREAMS[dialect]
    named = event_name_and_data(end)[0].decode() or "[DONE]"
    reader = StreamReader(dialect)

    assert fed(reader, *start, *output) == b"".join([*start, *output])
    assert reader.fault == f"its stream ended without {named}"


def test_an_end_without_an_answer_is_a_fault() -> None:
    """[DONE] before any output, not even a reason: another backend may know better."""
    reader = StreamReader(Dialect.CHAT)

    assert fed(reader, ROLE, DONE) == b""
    assert reader.fault == "its stream ended without an answer"


def test_nothing_passes_behind_the_end() -> None:
    """What a backend writes behind its last event is not part of the answer."""
    reader = StreamReader(Dialect.CHAT)

    assert fed(reader, said("x"), DONE + said("y"), said("z")) == said("x") + DONE


@pytest.mark.parametrize("missing", [b"\n", b"\n\n"])
def test_a_last_event_without_its_empty_line_still_counts(missing: bytes) -> None:
    """It is completed; half an event is dropped, and the stream is not whole."""
    reader, half = StreamReader(Dialect.CHAT), StreamReader(Dialect.CHAT)

    assert fed(reader, said("x"), DONE.removesuffix(missing)).rstrip() == (said("x") + DONE).rstrip()
    assert reader.ended
    assert fed(half, said("x"), said("y")[:40]) == said("x")
    assert half.fault == "its stream ended without [DONE]"


# -- framing -----------------------------------------------------------------------------------------------------------


def variants(stream: bytes) -> list[bytes]:
    """The same stream with other line ends, fields written otherwise, a byte order mark, comments."""
    lines = stream.replace(b"data: ", b"data:")
    return [
        stream,
        lines,
        stream.replace(b"\n", b"\r\n"),
        stream.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + stream,
        stream.replace(b"\n\n", b"\n\n: comment\n\n"),
        stream.replace(b"data: ", b"id: 7\nretry: 10\ndata: "),
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("number", [2, 3, *exhaustively(0, 1, 4, 5, 6)])
@pytest.mark.parametrize("keep", [True, *exhaustively(False)])
def test_a_stream_split_anywhere_is_the_same_stream(dialect: Dialect, number: int, keep: bool) -> None:  # noqa: FBT001
    """At every byte: the same bytes pass, and the same is found out; only whole events ever pass."""
    stream = variants(whole_stream(dialect))[number]
    reference = StreamReader(dialect, keep=keep)
    expected = fed(reference, stream)
    assert reference.ended, reference.fault

    for position in range(len(stream) + 1):
        reader = StreamReader(dialect, keep=keep)
        first = reader.feed(stream[:position])
        assert first + fed(reader, stream[position:]) == expected
        assert first.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")) or not first
        assert outcome(reader) == outcome(reference)


@given(st.sampled_from(DIALECTS), st.integers(0, 6), st.lists(st.integers(1, 40), max_size=60))
def test_a_trickled_stream_is_the_same_stream(dialect: Dialect, number: int, sizes: list[int]) -> None:
    """In pieces of any sizes."""
    stream = variants(whole_stream(dialect))[number]
    reference, reader = StreamReader(dialect), StreamReader(dialect)
    pieces, start = [], 0
    for size in sizes:
        pieces.append(stream[start : start + size])
        start += size

    assert fed(reader, *pieces, stream[start:]) == fed(reference, stream)
    assert outcome(reader) == outcome(reference)


ODD_EVENTS = [
    ROLE,
    said("x"),
    said(""),
    said("y").replace(b"\n", b"\r\n"),
    said("z", "stop"),
    usage_chunk(),
    said("u", usage=usage_of(3, 1)),
    message_delta("m"),
    response_event("response.output_text.delta", 3, delta="r"),
    PING,
    DONE,
    b"data: {\n\n",
    b"}\n\n",
    b"\n",
    b"\r",
    b"data:{}\n\n",
    b"event: error\n",
    b'data: {"choices":[{"delta":{"content":"a"}}],\r"x":1}\n\n',
    b'data: {"error":"no"}\n\n',
    b"\xef\xbb\xbf",
]


@given(st.sampled_from(list(Dialect)), st.booleans(), st.lists(st.sampled_from(ODD_EVENTS), max_size=8), st.data())
def test_odd_streams_are_judged_alike_however_they_are_split(
    dialect: Dialect,
    keep: bool,  # noqa: FBT001
    events: list[bytes],
    data: st.DataObject,
) -> None:
    """What an ordinary stream never has, in any order: whole, split once, and byte by byte."""
    stream = b"".join(events)
    whole, split, bytewise = (StreamReader(dialect, keep=keep, strip_usage=True) for _ in range(3))
    position = data.draw(st.integers(0, len(stream)))

    expected = fed(whole, stream)

    assert fed(split, stream[:position], stream[position:]) == expected
    assert fed(bytewise, *[bytes([byte]) for byte in stream]) == expected
    if dialect not in {Dialect.OTHER, Dialect.EMBEDDINGS}:  # counted by what comes together
        assert outcome(whole) == outcome(split) == outcome(bytewise)


def test_data_over_several_lines_is_one_document() -> None:
    """As the specification of server-sent events has it."""
    event = b'data: {"choices":\ndata: [{"delta":{"content":"x"}}]}\n\n'
    reader = StreamReader(Dialect.CHAT, keep=True)

    assert fed(reader, event, DONE) == event + DONE
    assert reader.text == "x"


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\n\n", b"\r\n\r\n", b"data: x", b": y"]), max_size=30))
def test_splitting_into_events_loses_nothing(pieces: list[bytes]) -> None:
    """For any bytes."""
    whole = b"".join(pieces) + b"\n\n"

    assert b"".join(split_events(whole)) == whole


def big_stream(length: int) -> bytes:
    """A chat with an image of this length in it, as some models send."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * length}}
    big = chunk({"content": "Here", "images": [image]})
    return b"".join([ROLE, big, said("!", "stop"), usage_chunk(9, 4), DONE])


@pytest.mark.parametrize("piece_bytes", [1 << 30, 256 << 10, 60_000])
def test_a_big_event_is_as_a_small_one(*, piece_bytes: int) -> None:
    """Megabytes of an image, the rest of the stream in the same read or in one of its own: it passes and is whole."""
    stream = big_stream(1_500_000)
    reader = StreamReader(Dialect.CHAT)

    passed = fed(reader, *[stream[start : start + piece_bytes] for start in range(0, len(stream), piece_bytes)])

    assert passed == stream
    assert (reader.ended, reader.finished, reader.fault) == (True, True, None)
    assert reader.usage is not None
    assert reader.usage.output_tokens == 4


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("piece_bytes", [1 << 30, (1 << 20) + 7])
def test_the_bound_of_an_event_is_its_length_alone(*, piece_bytes: int, over: int) -> None:
    """One byte more is a fault, however the stream was cut into reads; what came before it has passed."""
    stream = big_stream(0)
    missing = EVENT_BYTES_MAX - len(split_events(stream)[1])
    stream = big_stream(missing + over)
    reader = StreamReader(Dialect.CHAT)

    passed = fed(reader, *[stream[start : start + piece_bytes] for start in range(0, len(stream), piece_bytes)])

    assert reader.fault == ("an event of its stream is longer than 16 MiB" if over else None)
    assert passed == (b"" if over else stream)


# -- token counts ------------------------------------------------------------------------------------------------------


def test_usage_is_stripped_where_nobody_asked_for_it() -> None:
    """Only the chunk that has nothing else; the counts are known all the same."""
    both = said("!", "stop", usage=usage_of(17, 2))
    stream = [ROLE, said("x", usage=None), both, usage_chunk(17, 3, cached=4), DONE]
    stripped, kept = StreamReader(Dialect.CHAT, strip_usage=True), StreamReader(Dialect.CHAT)

    assert fed(stripped, *stream) == b"".join([*stream[:3], DONE])
    assert fed(kept, *stream) == b"".join(stream)
    for reader in (stripped, kept):
        assert reader.usage is not None
        assert (reader.usage.prompt_tokens, reader.usage.cached_tokens, reader.usage.output_tokens) == (17, 4, 3)


@pytest.mark.parametrize("keep", [False, True])
def test_counts_that_come_with_every_event_are_running_totals(keep: bool) -> None:  # noqa: FBT001
    """The last ones count, also where the stream breaks off behind them."""
    events = [said(str(number), usage=usage_of(17, number)) for number in range(1, 6)]
    reader = StreamReader(Dialect.CHAT, strip_usage=True, keep=keep)

    assert [reader.feed(event) for event in events] == events
    usage = reader.usage

    assert usage is not None
    assert (usage.prompt_tokens, usage.output_tokens) == (17, 5)
    assert reader.text == ("12345" if keep else "")


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("later", [{}, {"completion_tokens": None}, {"completion_tokens": "?"}, {"prompt_tokens": 9}])
def test_a_report_without_its_output_counts_nothing_of_the_text_before_it(later: dict[str, Any], *, keep: bool) -> None:
    """Usage that can't be read says nothing of what was written since the last that could."""
    first = {"prompt_tokens": 9, "completion_tokens": 1}
    reader = StreamReader(Dialect.CHAT, keep=keep)
    events = [said("a", usage=first), said("bc", usage=later), said("d", "stop", usage=later)]

    assert fed(reader, *events, data_event({"choices": [], "usage": later}), DONE)
    assert reader.content_bytes - reader.reported_bytes >= len("bcd")
    assert reader.usage == Usage(9, 0, 1)


def test_output_is_counted_by_events() -> None:
    """One for each event with output: without usage that is what is known."""
    reader = StreamReader(Dialect.CHAT)

    fed(reader, ROLE, said("a"), said("b") + said("c"), PING, said("", "stop"), usage_chunk(), DONE)

    assert reader.content_events == 4


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_text_is_kept_on_demand(dialect: Dialect) -> None:
    """For counting its tokens, and for going on elsewhere."""
    reader, without = StreamReader(dialect, keep=True), StreamReader(dialect)

    assert fed(reader, whole_stream(dialect)) == fed(without, whole_stream(dialect))
    assert reader.text == ("Grüß dich 👋" if dialect is Dialect.CHAT else "one two")
    assert without.text == ""


def test_tool_arguments_and_reasoning_are_text_too() -> None:
    """They are tokens that were generated; but such an answer is not plain."""
    reader = StreamReader(Dialect.CHAT, keep=True)

    fed(reader, chunk({"reasoning": "hm "}), chunk({"tool_calls": [{"function": {"arguments": "{}"}}]}), DONE)

    assert reader.text.startswith("hm ")
    assert "arguments" in reader.text
    assert not reader.plain


@pytest.mark.parametrize(
    "event",
    [
        chunk({"tool_calls": [{"index": 0}]}),
        chunk({"reasoning": "hm"}),
        data_event({"choices": [{"index": 1, "delta": {"content": "x"}}]}),
        data_event({"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": {"content": [1]}}]}),
    ],
)
def test_an_answer_is_plain_only_as_one_text(event: bytes) -> None:
    """Tools, reasoning, further choices and log probabilities can't be told by text alone."""
    reader = StreamReader(Dialect.CHAT, keep=True)
    reader.feed(ROLE + said("a") + said("b"))
    assert (reader.plain, reader.text) == (True, "ab")

    reader.feed(event)

    assert not reader.plain


def test_kept_text_is_bounded() -> None:
    """An endless answer does not fill the memory; it can't go on elsewhere either."""
    reader = StreamReader(Dialect.CHAT, keep=True)
    piece = said("x" * 1000)

    for _ in range(KEPT_CHARS_MAX // 1000 + 50):
        assert reader.feed(piece) == piece

    assert len(reader.text) <= KEPT_CHARS_MAX + 1000
    assert not reader.plain


def test_the_common_event_of_each_dialect_is_read_without_searching_it() -> None:
    """What passes quickly and what passes slowly is judged alike."""
    for dialect, event in (
        (Dialect.CHAT, said("x")),
        (Dialect.MESSAGES, message_delta("x")),
        (Dialect.RESPONSES, response_event("response.output_text.delta", 4, delta="x")),
    ):
        quick, slow = StreamReader(dialect), StreamReader(dialect)
        quick.feed(event)
        slow.feed(event)
        assert [quick.feed(event) for _ in range(3)] == [event] * 3
        assert b"".join([slow.feed(bytes([byte])) for byte in event * 3]) == event * 3
        assert quick.content_events == slow.content_events == 4


def test_numbers_of_responses_events_are_known() -> None:
    """So that an error of ours can carry the next one."""
    reader = StreamReader(Dialect.RESPONSES)

    for number in range(3, 6):
        reader.feed(response_event("response.output_text.delta", number, delta="x"))
        assert reader.sequence == number

    reader.feed(response_event("response.output_text.done", 6, text="x"))

    assert reader.sequence == 6
    assert json.loads(event_name_and_data(response_event("x", 1))[1] or b"") == {"type": "x", "sequence_number": 1}
