"""An Anthropic request as a chat request: every kind of content, and what can't be told."""

import json
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.text.splice import BodyError
from overspill_gateway.core.translation.messages_request import chat_request

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "weather", "description": "The weather", "input_schema": SCHEMA}


def translated(messages: list[Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The chat request of a Messages request."""
    document = {"model": "claude", "max_tokens": 64, "messages": messages or [{"role": "user", "content": "Hi"}]}
    body = json.dumps(document | fields).encode()
    chat: dict[str, Any] = json.loads(chat_request(body, b'"gpt"', max_tokens=64))
    return chat


def of_user(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    """The chat messages of one message of a user."""
    messages: list[dict[str, Any]] = translated([{"role": "user", "content": list(blocks)}])["messages"]
    return messages


def text(value: str) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": value}


def test_the_least() -> None:
    """Model, limit and messages; nothing that was not asked for."""
    assert translated() == {"model": "gpt", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 64}


def test_the_sdks_own_types() -> None:
    """A request as the SDK's types have it."""
    request: MessageCreateParamsNonStreaming = {
        "model": "claude",
        "max_tokens": 64,
        "system": "Be brief",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }

    older = {"temperature": 0.5, "top_p": 0.9, "top_k": 5}  # newer versions of the SDK no longer have these

    chat = json.loads(chat_request(json.dumps({**request, **older}).encode(), b'"gpt"', max_tokens=64))

    assert chat == {
        "model": "gpt",
        "max_tokens": 64,
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello!"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "user": "u-1",
    }


def test_system_blocks() -> None:
    """Paragraphs of one system message; marks for Anthropic's cache are left out."""
    blocks = [text("Be brief.") | {"cache_control": {"type": "ephemeral"}}, text("Be kind.")]

    assert translated(system=blocks)["messages"][0] == {"role": "system", "content": "Be brief.\n\nBe kind."}


def test_streams_ask_for_usage() -> None:
    """The last event of a stream has to tell it."""
    chat = translated(stream=True)

    assert (chat["stream"], chat["stream_options"]) == (True, {"include_usage": True})
    assert "stream" not in translated(stream=False)


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (text("Hi"), {"type": "text", "text": "Hi"}),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
         {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}),
        ({"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
         {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}),
        ({"type": "document", "title": "a.pdf",
          "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
         {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}),
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": 'Once "upon" é'}},
         {"type": "text", "text": 'Once "upon" é'}),
    ],
)  # fmt: skip
def test_a_users_content(block: dict[str, Any], part: dict[str, Any]) -> None:
    """Texts, images and documents, each a part."""
    assert of_user(text("Look:"), block) == [{"role": "user", "content": [{"type": "text", "text": "Look:"}, part]}]


def test_tools() -> None:
    """Definitions keep their schema; the choice has its four forms."""
    function = {"name": "weather", "description": "The weather", "parameters": SCHEMA}
    choices = [{"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": "weather"}]

    chats = [translated(tools=[WEATHER], tool_choice=choice) for choice in choices]

    assert chats[0]["tools"] == [{"type": "function", "function": function}]
    assert [chat["tool_choice"] for chat in chats] == [
        "auto", "required", "none", {"type": "function", "function": {"name": "weather"}},
    ]  # fmt: skip
    alone = translated(tools=[WEATHER], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert alone["parallel_tool_calls"] is False


def test_a_turn_with_tools() -> None:
    """Calls are the assistant's; results come right behind them as messages of their own, the user's words after."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    file = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "forecast"}}
    messages = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                text("Let me "),
                text("see."),
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Köln"}},
                {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                text("And?"),
                {"type": "tool_result", "tool_use_id": "t1", "content": [text("sun"), image, file]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "no such city", "is_error": True},
            ],
        },
    ]

    chat = translated(messages, tools=[WEATHER])["messages"]

    assert [one["role"] for one in chat] == ["user", "assistant", "tool", "tool", "user"]
    assert chat[1]["content"] == "Let me see."
    assert [call["id"] for call in chat[1]["tool_calls"]] == ["t1", "t2"]
    assert json.loads(chat[1]["tool_calls"][0]["function"]["arguments"]) == {"city": "Köln"}
    assert chat[2] == {"role": "tool", "tool_call_id": "t1", "content": "sun"}
    assert chat[3] == {"role": "tool", "tool_call_id": "t2", "content": "Error: no such city"}
    assert [part["type"] for part in chat[4]["content"]] == ["text", "image_url", "text"]


def test_a_call_without_words() -> None:
    """An assistant's message of calls only has no text, not an empty one."""
    call = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}

    message = translated([{"role": "assistant", "content": [call]}])["messages"][0]

    assert message["content"] is None


def test_a_schema_for_the_answer() -> None:
    """Structured output, in the place where it is now and where it was before."""
    wanted = {"type": "json_schema", "schema": SCHEMA}

    for fields in ({"output_config": {"format": wanted}}, {"output_format": wanted}):
        told = translated(**fields)["response_format"]

        assert told["type"] == "json_schema"
        assert told["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mcp_servers": [{"type": "url", "url": "https://example.org"}]}, "mcp_servers"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]},
         "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
         "messages[0].content[0].source.type"),
        ({"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": 'a/b"', "data": "x"}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": 3}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [
            {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b"}]}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": "Hi"}, "messages"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(fields: dict[str, Any], param: str) -> None:
    """What Anthropic's servers would do, or what nobody understands: refused by name, never left out in silence."""
    body = json.dumps({"model": "claude", "max_tokens": 64, "messages": [{"role": "user", "content": "x"}]} | fields)

    with pytest.raises(BodyError) as caught:
        chat_request(body.encode(), b'"gpt"', max_tokens=64)

    assert (caught.value.error.status, caught.value.error.code) == (400, "not_translatable")
    assert caught.value.error.param == param


@given(st.text(), st.text(), st.text())
def test_texts_arrive_as_they_were(system: str, user: str, assistant: str) -> None:
    """Whatever is said, in any script, with any characters."""
    document = {
        "messages": [{"role": "user", "content": user}, {"role": "assistant", "content": [text(assistant)]}],
        "system": system,
    }
    body = json.dumps({"model": "m"} | document).encode()
    if b"\\ud" in body:
        return

    said = [one["content"] for one in json.loads(chat_request(body, b'"gpt"', max_tokens=None))["messages"]]

    assert said == [*([system] if system else []), user, assistant]


def test_megabytes_of_pictures_are_not_decoded() -> None:
    """Base64 goes from one body to the other as it is."""
    picture = "A" * 5_000_000
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": picture}}

    (message,) = of_user(block)

    assert message["content"][0]["image_url"]["url"] == f"data:image/jpeg;base64,{picture}"
