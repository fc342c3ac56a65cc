"""Prompts as raw JSON: turns of one conversation hash alike, and megabytes of base64 are not taken for text."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.dialects.endpoints import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Endpoint
from overspill_gateway.core.requests.body import read_body
from overspill_gateway.core.requests.prompt import PREFIX_BYTES

TEXT = st.text(max_size=40) | st.sampled_from(['"assistant"', "}", '{"role":"assistant"}', "a" * PREFIX_BYTES])
LAYOUTS: list[dict[str, Any]] = [{}, {"separators": (",", ":")}, {"indent": 2}, {"ensure_ascii": False}]
PICTURE = base64.b64encode(bytes(range(256)) * 40).decode()


def facts(endpoint: Endpoint, layout: dict[str, Any] | None = None, /, **fields: Any) -> Any:
    """The facts of a body in some layout."""
    text = json.dumps({"model": "a"} | fields, **(layout or {}))
    return read_body(text.encode("utf-8", "replace"), endpoint)


@given(TEXT, st.lists(TEXT, min_size=2, max_size=6), st.sampled_from(LAYOUTS))
def test_turns_of_one_conversation_hash_alike(system: str, said: list[str], layout: dict[str, Any]) -> None:
    """However long it gets: system and first question decide, in each dialect that has turns."""
    turns = [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(said)]
    with_system = [{"role": "system", "content": system}, *turns]

    forms: list[tuple[Endpoint, str, list[Any], dict[str, Any]]] = [
        (CHAT, "messages", with_system, {}),
        (RESPONSES, "input", turns, {"instructions": system}),
        (MESSAGES, "messages", turns, {"system": system}),
    ]
    for endpoint, field, messages, extra in forms:
        first = len(messages) - len(turns) + 1
        hashes = {
            facts(endpoint, layout, **{field: messages[:count]}, **extra).prefix
            for count in range(first, len(messages) + 1, 2)
        }
        assert len(hashes) == 1
        assert 0 not in hashes


def test_other_conversations_hash_apart() -> None:
    """Another first question or another system prompt is another conversation."""
    prefixes = {
        facts(CHAT, messages=[{"role": "system", "content": system}, {"role": "user", "content": user}]).prefix
        for system in ("be brief", "be kind")
        for user in ("Hello", "Bye")
    }

    assert len(prefixes) == 4


def test_the_hash_is_the_same_in_every_process() -> None:
    """Gateways agree on it: it is no hash of Python's, whose seed differs from process to process."""
    assert facts(COMPLETIONS, prompt="Hello").prefix == 17266649005549920724


def test_a_bare_prompt_is_known_by_its_beginning() -> None:
    """Without turns only the first part counts, so that what grows at its end still hashes alike."""
    start = "x" * 2000

    assert facts(COMPLETIONS, prompt=start + "a").prefix == facts(COMPLETIONS, prompt=start + "b").prefix
    assert facts(COMPLETIONS).prefix == 0


@pytest.mark.parametrize(
    ("endpoint", "field", "part"),
    [
        (CHAT, "messages", {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}),
        (CHAT, "messages", {"type": "input_audio", "input_audio": {"data": PICTURE, "format": "wav"}}),
        (CHAT, "messages", {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PICTURE}"}}),
        (RESPONSES, "input", {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"}),
        (MESSAGES, "messages", {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                                            "data": PICTURE}}),
    ],
)  # fmt: skip
def test_base64_is_not_text(endpoint: Endpoint, field: str, part: dict[str, Any]) -> None:
    """Attachments are counted, their bytes kept apart from those of the text."""
    content = [{"type": "text", "text": "What is this?"}, part, part]

    fields: dict[str, Any] = {field: [{"role": "user", "content": content}]}
    found = facts(endpoint, **fields)

    assert found.attachments == 2
    assert found.attachment_bytes == 2 * len(PICTURE)
    assert found.prompt_bytes < 600


@pytest.mark.parametrize(
    "content",
    [
        f"a picture;base64,{PICTURE}",
        f"data:image/png;base64,{PICTURE}",
        [{"type": "text", "text": f"data:image/png;base64,{PICTURE}"}],
        [{"type": "text", "text": f'"url":"data:image/png;base64,{PICTURE}'}],
    ],
)
def test_text_that_looks_like_base64_is_text(content: Any) -> None:
    """A prompt can't be made to look short by what is written in it."""
    found = facts(CHAT, messages=[{"role": "user", "content": content}])

    assert (found.attachments, found.attachment_bytes) == (0, 0)
    assert found.prompt_bytes > len(PICTURE)


def test_what_a_tool_was_given_is_text() -> None:
    """The input of a tool may be any JSON and is part of the prompt: nothing is left out of it."""
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"data": PICTURE}}

    found = facts(MESSAGES, messages=[{"role": "assistant", "content": [call]}])

    assert found.prompt_bytes > len(PICTURE)
