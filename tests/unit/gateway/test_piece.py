"""Pieces of output that are known by the form of the last one: they mean the same, and nothing else is one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.answers.piece import PieceMemory
from overspill_gateway.core.answers.stream import StreamReader
from overspill_gateway.core.dialects.endpoints import Dialect
from unit.gateway.generated import DONE, ROLE, chunk, data_event, message_event, response_event, said, text_chunk

WORD = said(" word")


def remembered(event: bytes) -> PieceMemory:
    """A memory of this event."""
    memory = PieceMemory()
    memory.remember(event)
    return memory


def text_in(memory: PieceMemory, event: bytes) -> str | None:
    """The text that it finds."""
    span = memory.text_span(event)
    return None if span is None else event[span[0] : span[1]].decode()


@pytest.mark.parametrize("text", ["", " the", "Grüße", "👋", "a" * 5000, "{}[]:,", "\x7f"])
@pytest.mark.parametrize("make", [said, text_chunk, lambda text: chunk({"reasoning_content": text})])
def test_another_text_in_the_same_form_is_found(text: str, make: object) -> None:
    """Chat, completions, reasoning; any text that JSON writes as it is."""
    assert callable(make)
    assert text_in(remembered(make("x")), make(text)) == text


def test_spaces_as_python_writes_them_do_not_matter() -> None:
    """`"content": "..."`."""

    def event(text: str) -> bytes:
        return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"

    assert text_in(remembered(event("x")), event(" y")) == " y"


@pytest.mark.parametrize(
    "event",
    [
        said('say "x"'),
        said("a\\b"),
        said("a\nb"),
        said("\t"),
        said("x", "stop"),
        said("x", usage={"prompt_tokens": 1}),
        chunk({"content": "x", "tool_calls": []}),
        chunk({"role": "assistant", "content": "x"}),
        WORD[:-1],
        WORD + b"\n",
        WORD + WORD,
        WORD.replace(b'"index":0', b'"index":1'),
        WORD.replace(b" word", b" \x01"),
        WORD.replace(b" word", b' w","finish_reason":"stop'),
        DONE,
        b"",
    ],
)
def test_what_differs_in_more_is_not_taken_for_it(event: bytes) -> None:
    """Escapes, other fields, reasons, several events, broken ones: they are decoded."""
    assert remembered(WORD).text_span(event) is None


@pytest.mark.parametrize(
    "event",
    [
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}),
        said("x", logprobs={"content": [{"text": "x"}]}),
        said('say "x"'),
        b"",
    ],
)
def test_forms_that_say_no_single_text_are_not_remembered(event: bytes) -> None:
    """Nothing resembles them, themselves included."""
    assert remembered(event).text_span(event) is None


def test_it_does_not_go_on_remembering_in_vain() -> None:
    """Streams whose events never resemble each other are not searched for ever; one that does in between is."""
    memory = PieceMemory()
    for number in range(40):
        event = said("x", logprobs={"content": number})
        memory.remember(event)
    assert memory.text_span(event) is None


@given(st.text(max_size=8), st.binary(max_size=12), st.integers(0, 400), st.integers(0, 12))
def test_whatever_it_takes_is_the_same_json(text: str, put: bytes, at: int, dropped: int) -> None:
    """Any bytes anywhere in an event: where it finds a text, the document is the remembered one with that text."""
    first = said(text)
    at = min(at, len(first))
    event = first[:at] + put + first[at + dropped :]
    memory = remembered(first)

    span = memory.text_span(event)
    if span is None:
        return
    try:
        found = event[span[0] : span[1]].decode()
    except UnicodeDecodeError:
        return  # decoding judges a text no more strictly
    document = json.loads(event.removeprefix(b"data: "), strict=False)
    assert document == json.loads(said(found).removeprefix(b"data: "))


pieces = st.one_of(
    st.text(max_size=6).map(said),
    st.sampled_from(
        [
            said("x", "stop"),
            said("x", usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}),
            chunk({"reasoning": "hm"}),
            data_event({"error": {"message": "no", "code": 500}}),
            b'data: {"choices":[{"delta":{"content":"x"}\n\n',
            b"data: \xff\n\n",
            said("x").replace(b'"x"', b'"\xff"'),
        ]
    ),
)


@given(events=st.lists(pieces, max_size=12), keep=st.booleans())
def test_a_stream_is_judged_as_if_each_event_were_the_first_of_its_form(events: list[bytes], *, keep: bool) -> None:
    """With words in between that have another form, so that nothing can be known by the one before."""
    together, apart = StreamReader(Dialect.CHAT, keep=keep), StreamReader(Dialect.CHAT, keep=keep)
    other_form = chunk({"tool_calls": []})
    for reader in (together, apart):
        assert reader.feed(ROLE + said("begin"))
    for event in events:
        assert together.feed(event) == apart.feed(event)
        if apart.fault is None and not apart.ended:
            apart.feed(other_form + said("x", logprobs={"content": [{"text": "x"}]}))
    assert (together.ended, together.fault, together.fault_status) == (apart.ended, apart.fault, apart.fault_status)


@pytest.mark.parametrize("rest", [b"\r", b" ", b"\t", b"", b"x"])
def test_an_event_is_one_only_with_its_empty_line(rest: bytes) -> None:
    """White space behind it is none, though it is good behind JSON: what comes next may belong to the event."""
    reader = StreamReader(Dialect.CHAT)
    assert reader.feed(ROLE + WORD)
    unfinished = said(" more", usage={"prompt_tokens": 1})[:-1]

    assert reader.feed(unfinished + rest) == b""
    assert reader.feed(b"\n" if rest == b"\r" else b"\n\n").startswith(unfinished + rest)


@pytest.mark.parametrize("dialect", [Dialect.RESPONSES, Dialect.MESSAGES])
def test_other_dialects_keep_what_they_count(dialect: Dialect) -> None:
    """The Responses dialect numbers its events; what is counted does not depend on how an event was known."""
    reader = StreamReader(dialect)
    for number in range(1, 20):
        if dialect is Dialect.RESPONSES:
            event = response_event("response.output_text.delta", number, delta=f"w{number}", item_id="m")
        else:
            delta = {"type": "text_delta", "text": f"w{number}"}
            event = message_event("content_block_delta", index=0, delta=delta)
        assert reader.feed(event) == event
    assert reader.content_events == 19
    assert reader.sequence == (19 if dialect is Dialect.RESPONSES else 0)


def test_an_event_with_usage_keeps_its_number() -> None:
    """The error event that may follow has to have the next one."""
    reader = StreamReader(Dialect.RESPONSES)
    first = response_event("response.output_text.delta", 1, delta="a")
    second = response_event("response.output_text.delta", 2, delta="b", usage={"input_tokens": 1, "output_tokens": 2})

    assert (reader.feed(first), reader.feed(second)) == (first, second)
    assert reader.sequence == 2
