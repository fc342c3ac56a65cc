"""What a call can cost at most: by the whole body, and nothing that can't be bounded under a budget."""

import asyncio
import json
from typing import Any

import pytest

from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.requests.bounds import Bounds, _names_in, bounds_of
from overspill_gateway.core.text.splice import fields_of
from unit.gateway.backends import answers, backend
from unit.gateway.harness import GatewayUnderTest

MESSAGES = [{"role": "user", "content": "hi"}]
PRICE: dict[str, Any] = {"input_nano_usd_per_million": 150_000_000, "output_nano_usd_per_million": 600_000_000}
PIXEL = "data:image/png;base64," + "A" * 100_000


def chat(**fields: Any) -> bytes:
    """A chat request."""
    return json.dumps({"model": "m", "messages": MESSAGES} | fields).encode()


def bounds_in(body: bytes, dialect: Dialect) -> Bounds:
    """What a body can cost."""
    return bounds_of(fields_of(body), len(body), dialect)


def part(**content: Any) -> dict[str, Any]:
    """Messages with one part of content."""
    return {"messages": [{"role": "user", "content": [content]}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"functions": [{"name": "f", "description": "x" * 9000}]},
        {"tools": [{"type": "function", "function": {"name": "f", "description": "x" * 9000}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"description": "x" * 9000}}}},
        {"metadata": {"x": "x" * 9000}},
        {"stop": ["x" * 9000]},
    ],
)
def test_the_whole_body_bounds_the_prompt(fields: dict[str, Any]) -> None:
    """Whatever field it stands in, a token takes at least a byte."""
    bounds = bounds_in(chat(**fields), Dialect.CHAT)

    assert bounds.prompt_tokens >= 9000
    assert not bounds.unpriced
    assert not bounds.unbounded


def test_a_suffix_and_an_escaped_name_count_like_all_else() -> None:
    """``suffix`` of completions, a ``prompt`` that is spelled otherwise: their bytes are in the body."""
    body = b'{"model":"m","pr\\u006fmpt":"%b","suffix":"%b"}' % (b"x" * 5000, b"y" * 5000)

    assert bounds_in(body, Dialect.COMPLETIONS).prompt_tokens >= 10_000


def test_a_prediction_may_be_charged_as_output() -> None:
    """Tokens of it that are rejected cost as much as those of the answer."""
    bounds = bounds_in(chat(prediction={"type": "content", "content": "x" * 5000}), Dialect.CHAT)

    assert bounds.output_tokens_more >= 5000


@pytest.mark.parametrize(
    "fields",
    [
        {"web_search_options": {}},
        {"plugins": [{"id": "web"}]},
        {"models": ["dear"]},
        {"service_tier": "priority"},
        {"modalities": ["text", "audio"]},
        {"audio": {"voice": "x", "format": "wav"}},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "function"}, {"type": "code_interpreter"}]},
        {"Tools": [{"type": "web_search"}]},
        {"never_heard_of": 1},
        part(type="input_audio", input_audio={"data": "AAAA", "format": "wav"}),
        part(type="video_url", video_url={"url": "http://x"}),
        part(type="hologram", data="x"),
        {"messages": [{"role": "assistant", "audio": {"id": "a"}}]},
    ],
)
def test_what_may_cost_something_else_than_tokens_is_named(fields: dict[str, Any]) -> None:
    """Tools that the provider runs, dearer tiers, sound, and whatever nobody has heard of."""
    assert bounds_in(chat(**fields), Dialect.CHAT).unpriced


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"role":"user","content":[{"type":"input\\u005faudio","x":1}]}]}',
        b'{"model":"m","messages":[{"role":"user","content":[{"t\\u0079pe":"input_audio","x":1}]}]}',
        b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","image\\u005furl":{"url":"x"}}]}]}',
    ],
)
def test_escapes_hide_nothing(body: bytes) -> None:
    """A part's type or a field's name that is spelled with an escape could be any."""
    assert bounds_in(body, Dialect.CHAT).unpriced


@pytest.mark.parametrize(
    "text",
    ['"type": "input_audio"', '{"file_id": "x"}',
     "say \\u0022audio\\u0022: 1", 'gr\u00f6\u00dfer "audio":', "a\\", '\\": "', ":", ": file_id", '\\\\":'],
)  # fmt: skip
def test_text_that_speaks_of_such_fields_is_text(text: str) -> None:
    """Quotation marks inside a text are escaped, so that it is never taken for a field."""
    bounds = bounds_in(chat(messages=[{"role": "user", "content": text}]), Dialect.CHAT)
    parted = bounds_in(chat(**part(type="text", text=text)), Dialect.CHAT)

    assert not bounds.unpriced + bounds.unbounded + parted.unpriced + parted.unbounded


@pytest.mark.parametrize(
    "message",
    [
        b'{"role":"user","content":[{"type":"input_audio","x":1}],"content":"hi"}',
        b'{"role":"user","content":"hi","content":[{"type":"input_audio","x":1}]}',
        b'{"role":"user","content":"hi","name":{"type":"input_audio"},"name":"n"}',
        b'{"role":"user","content":"hi","conten\\u0074":[{"type":"input_audio","x":1}]}',
    ],
)
def test_what_comes_twice_in_a_message_hides_nothing(message: bytes) -> None:
    """A provider may take the first one or the last."""
    for text in (b"hi", b"{", b"{}"):
        body = b'{"model":"m","messages":[%b,{"role":"user","content":"%b"}]}' % (message, text)
        assert bounds_in(body, Dialect.CHAT).unpriced


def test_names_are_found_however_they_are_written() -> None:
    """White space, empty names, texts full of JSON: what stands before a colon outside a string, and nothing else."""
    inner = json.dumps({"type": "input_audio", "a\\b": ["\\", ":"], "": 1})
    fields = {"role": inner, "content": [inner, ":", "\\"], "name": ""}

    for dense in ((",", ":"), (", ", ": "), (" ,\n", "\t : ")):
        text = json.dumps([fields, {"x": inner, "": [1]}], separators=dense).encode()
        names = _names_in(text)
        assert names is not None
        assert names - {b":"} - {b" ,\n", b", ", b","} == {b"role", b"content", b"name", b"x", b""}
        assert _names_in(text.replace(b'"name"', b'"na\\u006de"')) is None
        assert _names_in(text.replace(b'"name"', b'"na\\"me"')) is None
        assert _names_in(text.replace(b'"name"', b'"name\\\\"')) is None
        assert _names_in(text.replace(b'"name"', b'"name\\\\\\""')) is None


@pytest.mark.parametrize(
    ("document", "dialect"),
    [
        ({"input": "x", "previous_response_id": "r"}, Dialect.RESPONSES),
        ({"input": "x", "conversation": "c"}, Dialect.RESPONSES),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, Dialect.RESPONSES),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, Dialect.RESPONSES),
        ({"input": [{"type": "item_reference", "id": "i"}]}, Dialect.RESPONSES),
        (part(type="file", file={"file_data": "data:application/pdf;base64,AAAA"}), Dialect.CHAT),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "base64"}}]}]},
         Dialect.MESSAGES),
    ],
)  # fmt: skip
def test_what_is_not_in_the_body_is_bounded_by_the_context_alone(document: dict[str, Any], dialect: Dialect) -> None:
    """Stored conversations, files: their length is not that of what names them."""
    bounds = bounds_in(json.dumps({"model": "m"} | document).encode(), dialect)

    assert bounds.unbounded
    assert not bounds.unpriced


def test_a_stored_prompt_is_not_bounded_at_all() -> None:
    """It may name tools that the provider runs, and another model."""
    assert bounds_in(b'{"model":"m","prompt":{"id":"p"}}', Dialect.RESPONSES).unpriced


def test_an_image_counts_as_the_dearest_one() -> None:
    """Its base64 is no text; by reference it counts as much."""
    for url in (PIXEL, "https://example.test/x.png"):
        bounds = bounds_in(chat(**part(type="image_url", image_url={"url": url})), Dialect.CHAT)
        assert 50_000 < bounds.prompt_tokens < 52_000
    two = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}] * 2}]}
    assert bounds_in(chat(**two), Dialect.CHAT).prompt_tokens > 100_000


def test_text_is_never_taken_for_the_bytes_of_an_image() -> None:
    """Only what follows an image's own name is left out of the count."""
    text = "data:image/png;base64," + "A" * 9000
    body = chat(messages=[{"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url",
                          "image_url": {"url": "u"}}]}])  # fmt: skip

    assert bounds_in(body, Dialect.CHAT).prompt_tokens >= 59_000


async def test_a_hosted_api_under_a_budget_gets_nothing_unbounded(gateway: GatewayUnderTest) -> None:
    """400 that names the field and what mends it; without a budget, or at a replica, it passes as it came."""
    strange: dict[str, Any] = {"web_search_options": {}, "max_tokens": 10}
    async with backend(answers()) as api, backend(answers()) as engine:
        hosted = [api.hosted("api", **PRICE)]
        rules: dict[str, Any] = {"hosted": hosted, "overflow": {"on_cold_start": "Hosted"}}
        gateway.route(local=None, budget={"limit_nano_usd": 10**9}, **rules)
        refused = await gateway.post(**strange)
        gateway.route(local=None, **rules)
        passed = await gateway.post(**strange)
        gateway.route(budget={"limit_nano_usd": 10**9}, **rules)
        gateway.endpoints(engine.fact())
        local = await asyncio.wait_for(gateway.post(**strange), 5)

    assert (refused.status, refused.error["code"]) == (400, "cost_unbounded")
    assert '"web_search_options"' in refused.error["message"]
    assert (passed.status, passed.served_by) == (200, "hosted/api")
    assert (local.status, local.served_by) == (200, "local/tiny-0")


async def test_a_stored_conversation_is_held_for_by_the_context(gateway: GatewayUnderTest) -> None:
    """With ``contextTokens`` the bound is known; without, it is refused with the field that would mend it."""
    stored: dict[str, Any] = {
        "path": "/v1/responses",
        "input": "x",
        "previous_response_id": "r",
        "max_output_tokens": 10,
    }
    rules: dict[str, Any] = {"local": None, "overflow": {"on_cold_start": "Hosted"}}
    async with backend(answers()) as api:
        gateway.route(budget={"limit_nano_usd": 10**9}, hosted=[api.hosted("api", **PRICE)], **rules)
        refused = await gateway.post(**stored)
        hosted = [api.hosted("api", context_tokens=100_000, **PRICE)]
        gateway.route(budget={"limit_nano_usd": 10**9}, hosted=hosted, **rules)
        held = await gateway.post(**stored)
        gateway.route(budget={"limit_nano_usd": 10_000 * 150}, hosted=hosted, **rules)
        poor = await gateway.post(**stored)

    assert refused.status == 400
    assert "contextTokens" in refused.error["message"]
    assert held.status == 200
    assert poor.status == 429
