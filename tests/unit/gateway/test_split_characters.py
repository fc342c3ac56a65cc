"""Characters whose halves come in two events arrive whole, and no half of one ever reaches a client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.answers.events import event_name_and_data, split_events
from overspill_gateway.core.answers.stream import StreamReader
from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.text.json_text import decoded, has_halves, whole_characters
from overspill_gateway.core.translation.messages_answer import MessagesStream
from unit.gateway.generated import DONE, HEAD, ROLE

HIGH, LOW = "\ud83d", "\ude00"


def event(document: Any, name: str = "") -> bytes:
    """One event, halves of pairs as escapes."""
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(document).encode() + b"\n\n"


def said(text: str, finish: str | None = None, index: int = 0) -> bytes:
    """One chunk of a chat."""
    return event(HEAD | {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]})


def passed(dialect: Dialect, *events: bytes, keep: bool = False) -> bytes:
    """What of these events goes on."""
    reader = StreamReader(dialect, keep=keep)
    whole = b"".join([reader.feed(one) for one in events]) + reader.rest()
    assert reader.fault is None
    return whole


def text_of(stream: bytes, index: int = 0) -> str:
    """What one choice of a chat says; fails where an event can't be read strictly."""
    text = ""
    for one in split_events(stream):
        _, data = event_name_and_data(one)
        if data is None or data == b"[DONE]":
            continue
        assert not has_halves(data)
        for choice in json.loads(data).get("choices", []):
            if choice["index"] == index:
                text += choice["delta"].get("content") or ""
    text.encode()
    return text


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((f"a{HIGH}", f"{LOW}b"), "a😀b"),
        ((HIGH, LOW), "😀"),
        (("x", HIGH, LOW, "y"), "x😀y"),
        ((f"{HIGH}{LOW}",), "😀"),
        ((f"a{HIGH}", "b"), "a\ufffdb"),
        (("a", f"{LOW}b"), "a\ufffdb"),
        ((f"a{HIGH}",), "a"),
        ((HIGH, HIGH, LOW), "\ufffd😀"),
        (("plain", "text"), "plaintext"),
    ],
)
def test_in_chat(pieces: tuple[str, ...], expected: str, *, keep: bool) -> None:
    """Joined where the other half follows; a half that stays alone is U+FFFD, or nothing at the very end."""
    stream = passed(Dialect.CHAT, ROLE, *[said(piece) for piece in pieces], said("", "stop"), DONE, keep=keep)

    assert text_of(stream) == expected
    told = MessagesStream("claude", "r")
    assert expected.rstrip("\ufffd").encode() in b"".join(json_texts(told.feed(stream) + told.finish()))


def json_texts(stream: bytes) -> list[bytes]:
    """Texts of a stream of messages."""
    found = []
    for one in split_events(stream):
        _, data = event_name_and_data(one)
        document = json.loads(data or b"{}")
        found.append(str(document.get("delta", {}).get("text", "")).encode())
    return found


def test_choices_do_not_mix() -> None:
    """Each choice waits for its own half."""
    events = [said(f"a{HIGH}"), said(f"b{HIGH}", index=1), said(LOW), said(LOW, index=1), said("", "stop")]

    stream = passed(Dialect.CHAT, *events, DONE)

    assert (text_of(stream, 0), text_of(stream, 1)) == ("a😀", "b😀")


def test_in_responses_and_in_messages() -> None:
    """Where a backend of our own speaks them itself."""
    responses = [event({"type": "response.output_text.delta", "delta": text}) for text in (f"a{HIGH}", LOW)]
    messages = [
        event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
        for text in (f"a{HIGH}", LOW)
    ]
    ends = {
        Dialect.RESPONSES: event({"type": "response.completed", "response": {}}),
        Dialect.MESSAGES: event({"type": "message_stop"}),
    }

    for dialect, pieces in ((Dialect.RESPONSES, responses), (Dialect.MESSAGES, messages)):
        stream = passed(dialect, *pieces, ends[dialect])
        assert not has_halves(stream)
        assert '"😀"'.encode() in stream


def test_an_error_with_half_a_character_is_an_error() -> None:
    """Its message can be told again, and it has the status that it names."""
    reader = StreamReader(Dialect.CHAT)
    reader.feed(said("x"))

    reader.feed(event({"error": {"message": f"quota of {HIGH} spent", "code": 500}}))

    assert (reader.fault, reader.fault_status) == ("quota of \ufffd spent", 500)


@given(st.text(alphabet=st.characters(codec=None) | st.sampled_from([HIGH, LOW]), max_size=20))
def test_what_is_decoded_can_be_encoded(text: str) -> None:
    """For every text, halves of pairs at any place in it."""
    for body in (json.dumps({"a": text}).encode(), json.dumps({text: [text]}).encode()):
        assert not has_halves(whole_characters(body))
        value = decoded(body)
        assert isinstance(value, dict)
        json.dumps(value, ensure_ascii=False).encode()
