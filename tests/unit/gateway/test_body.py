"""Reading and splicing bodies: only the model's name changes, and there is no doubt about which name it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.dialects.endpoints import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    Endpoint,
    endpoint_of,
)
from overspill_gateway.core.requests.access import Grant
from overspill_gateway.core.requests.ask import Needs
from overspill_gateway.core.requests.asking import ask_of
from overspill_gateway.core.requests.body import BodyError, BodyFacts, json_string, read_body, with_model

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text() | st.sampled_from(["model", '"model":', "\\"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("model"), inner, max_size=4),
    max_leaves=12,
)
READ = {"model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "response_format", "api_base",
        "api_key", "base_url"}  # fmt: skip
OBJECTS = st.dictionaries(st.text().filter(lambda key: key.casefold() not in READ), JSON, max_size=5)
NAMES = st.text(min_size=1, max_size=20)


def shuffled(document: dict[str, Any], model: str, position: int) -> dict[str, Any]:
    """The document with a model at some position among its keys."""
    items = list(document.items())
    items.insert(position % (len(items) + 1), ("model", model))
    return dict(items)


@given(OBJECTS, NAMES, NAMES, st.integers(0, 5), st.booleans(), st.sampled_from([None, 1, 4]))
def test_splicing_changes_the_model_and_nothing_else(
    document: dict[str, Any],
    model: str,
    other: str,
    position: int,
    escaped: bool,  # noqa: FBT001
    indent: int | None,
) -> None:
    """For any JSON object, in any layout: what is read back differs in the top-level model only."""
    whole = shuffled(document, model, position)
    body = json.dumps(whole, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        return

    facts = read_body(body)
    spliced = with_model(body, facts, json_string(other))

    assert facts.model == model
    assert json.loads(spliced) == whole | {"model": other}
    assert list(json.loads(spliced)) == list(whole)


@given(OBJECTS, NAMES, NAMES)
def test_two_models_are_refused(document: dict[str, Any], first: str, second: str) -> None:
    """A body with two top-level models could be read as either: it is refused, however the key is written."""
    for key in ('"model"', '"mod\\u0065l"', '"\\u006Dodel"'):
        rest = json.dumps(document)[1:-1]
        parts = [f'"model": {json.dumps(first)}', *([rest] if rest else []), f"{key}: {json.dumps(second)}"]
        body = ("{" + ", ".join(parts) + "}").encode()

        with pytest.raises(BodyError) as caught:
            read_body(body)

        assert caught.value.error.code == "duplicate_field"


@pytest.mark.parametrize(
    "body",
    [
        b'{"tools": [{"model": "x"}], "model": "a"}',
        b'{"model": "a", "metadata": {"model": "b", "deeper": {"model": "c"}}}',
        b'{"mod\\u0065l": "a"}',
        b'{"user": "model", "model": "a"}',
        b'{"stop": ["model", "]", "}"], "model" : "a"}',
        b'  {\n"model"\t:\r\n"a"}  ',
    ],
)
def test_only_the_top_level_model_counts(body: bytes) -> None:
    """Nested models, values that say model, and escaped keys do not mislead."""
    facts = read_body(body)

    assert facts.model == "a"
    assert json.loads(with_model(body, facts, b'"new"')) == json.loads(body) | {"model": "new"}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b'{"model": "a"} x', "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        (b"[" * 100_000, "invalid_type", None),
        (b'{"x": ' + b"[" * 100_000, "invalid_json", None),
        (b"[]", "invalid_type", None),
        (b'"model"', "invalid_type", None),
        (b"{}", "missing_model", "model"),
        (b'{"model": null}', "missing_model", "model"),
        (b'{"model": ""}', "missing_model", "model"),
        (b'{"model": 3}', "invalid_type", "model"),
        (b'{"model": ["a"]}', "invalid_type", "model"),
        (b'{"model": "a", "stream": "yes"}', "invalid_type", "stream"),
    ],
)
def test_what_cannot_be_routed_is_refused(body: bytes, code: str, param: str | None) -> None:
    """Each kind of wrong body has its own code, and names the field that is wrong."""
    with pytest.raises(BodyError) as caught:
        read_body(body)

    error = caught.value.error
    assert (error.status, error.code, error.param) == (400, code, param)


@pytest.mark.parametrize(("text", "stream"), [("true", True), ("false", False), ("null", False)])
def test_the_stream_flag(text: str, stream: bool) -> None:  # noqa: FBT001
    """Only true streams."""
    assert read_body(b'{"model": "a", "stream": %b}' % text.encode()).stream is stream


def facts_of(endpoint: Endpoint = CHAT, /, **fields: Any) -> BodyFacts:
    """The facts of a body with these fields."""
    return read_body(json.dumps({"model": "a"} | fields).encode(), endpoint)


def chat(content: Any = "Hello", **fields: Any) -> dict[str, Any]:
    """Fields of a chat."""
    return {"messages": [{"role": "user", "content": content}]} | fields


@pytest.mark.parametrize("field", ["api_base", "base_url", "api_key"])
@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES])
def test_where_requests_go_is_not_for_clients_to_say(field: str, endpoint: Endpoint) -> None:
    """Addresses and keys of backends come from the configuration only: a body that names one is refused."""
    for value in ("http://169.254.169.254/", None):
        with pytest.raises(BodyError) as caught:
            facts_of(endpoint, **{field: value})

        assert (caught.value.error.code, caught.value.error.param) == ("forbidden_field", field)


@pytest.mark.parametrize(
    ("endpoint", "fields", "field"),
    [
        (CHAT, {"n": 0}, "n"),
        (CHAT, {"n": 129}, "n"),
        (CHAT, {"n": 10**30}, "n"),
        (COMPLETIONS, {"best_of": 200}, "best_of"),
        (CHAT, {"max_tokens": -1}, "max_tokens"),
        (CHAT, {"max_completion_tokens": 10**12}, "max_completion_tokens"),
        (RESPONSES, {"max_output_tokens": -5}, "max_output_tokens"),
        (MESSAGES, {"max_tokens": 10**9}, "max_tokens"),
    ],
)
def test_numbers_have_bounds(endpoint: Endpoint, fields: dict[str, int], field: str) -> None:
    """No request asks for more answers or tokens than anybody could want."""
    with pytest.raises(BodyError) as caught:
        facts_of(endpoint, **fields)

    assert (caught.value.error.code, caught.value.error.param) == ("invalid_value", field)


@pytest.mark.parametrize("field", ["n", "max_tokens", "stream_options"])
def test_wrong_types_are_named(field: str) -> None:
    """A field that is read has to have its type."""
    with pytest.raises(BodyError) as caught:
        facts_of(CHAT, **{field: "many"})

    assert (caught.value.error.code, caught.value.error.param) == ("invalid_type", field)


def test_fields_nobody_reads_may_be_anything() -> None:
    """Unknown fields are the engine's business."""
    facts = facts_of(**chat(), guided_json={"type": 3}, priority="high", vllm_xargs=[1, {"model": 2}])

    assert facts.model == "a"


@pytest.mark.parametrize(
    ("endpoint", "fields", "limit", "names"),
    [
        (CHAT, {}, None, ()),
        (CHAT, {"max_tokens": None}, None, ()),
        (CHAT, {"max_tokens": 5}, 5, ("max_tokens",)),
        (CHAT, {"max_completion_tokens": 7}, 7, ("max_completion_tokens",)),
        (CHAT, {"max_tokens": 5, "max_completion_tokens": 7}, 7, ("max_tokens", "max_completion_tokens")),
        (CHAT, {"max_tokens": 9, "max_completion_tokens": 7}, 9, ("max_tokens", "max_completion_tokens")),
        (COMPLETIONS, {"max_tokens": 5}, 5, ("max_tokens",)),
        (RESPONSES, {"max_output_tokens": 5}, 5, ("max_output_tokens",)),
        (MESSAGES, {"max_tokens": 5}, 5, ("max_tokens",)),
        (EMBEDDINGS, {"max_tokens": 5}, None, ()),
    ],
)
def test_the_clients_own_limit(endpoint: Endpoint, fields: dict[str, Any], limit: int | None, names: Any) -> None:
    """Every dialect's field; of two the higher one counts, since which one a backend obeys is not sure."""
    facts = facts_of(endpoint, **fields)

    assert (facts.max_tokens, facts.max_tokens_fields) == (limit, names)


@pytest.mark.parametrize(
    ("fields", "there", "asked"),
    [
        ({}, False, False),
        ({"stream_options": None}, True, False),
        ({"stream_options": {}}, True, False),
        ({"stream_options": {"include_usage": False}}, True, False),
        ({"stream_options": {"include_usage": True, "continuous_usage_stats": True}}, True, True),
    ],
)
def test_whether_usage_was_asked_for(fields: dict[str, Any], there: bool, asked: bool) -> None:  # noqa: FBT001
    """Only true asks for it, and whether the field is there decides how it is edited."""
    facts = facts_of(**fields, stream=True)

    assert (facts.stream_options, facts.include_usage) == (there, asked)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}


@pytest.mark.parametrize(
    ("endpoint", "fields", "needs"),
    [
        (CHAT, chat(), Needs.NOTHING),
        (CHAT, chat(tools=[]), Needs.NOTHING),
        (CHAT, chat(tools=[TOOL]), Needs.TOOLS),
        (CHAT, chat(functions=[TOOL["function"]]), Needs.TOOLS),
        (CHAT, chat(response_format={"type": "text"}), Needs.NOTHING),
        (CHAT, chat(response_format={"type": "json_object"}), Needs.JSON_MODE),
        (CHAT, chat([{"type": "text", "text": '"type": "image_url"'}]), Needs.NOTHING),
        (CHAT, chat([{"type": "text", "text": "a"}, IMAGE], tools=[TOOL]), Needs.TOOLS | Needs.VISION),
        (CHAT, chat([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]), Needs.VISION),
        (RESPONSES, {"input": "Hello"}, Needs.NOTHING),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, Needs.VISION),
        (RESPONSES, {"input": "a", "tools": [TOOL]}, Needs.TOOLS),
        (RESPONSES, {"input": "a", "text": {"format": {"type": "json_object"}}}, Needs.JSON_MODE),
        (MESSAGES, chat(tools=[{"name": "f", "input_schema": SCHEMA}]), Needs.TOOLS),
        (MESSAGES, chat([{"type": "image", "source": {"type": "url", "url": "x"}}]), Needs.VISION),
        (COMPLETIONS, {"prompt": "a"}, Needs.NOTHING),
        (COMPLETIONS, {"prompt": "a", "response_format": {"type": "json_object"}}, Needs.JSON_MODE),
    ],
)
def test_what_a_backend_has_to_be_able_to_do(endpoint: Endpoint, fields: dict[str, Any], needs: Needs) -> None:
    """Tools, JSON mode and content other than text, in every dialect's fields."""
    assert facts_of(endpoint, **fields).needs == needs


def test_the_schema_of_the_answer() -> None:
    """Raw, in both places where it may stand; other formats have none."""
    wrapped = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}

    in_chat = facts_of(**chat(response_format=wrapped))
    in_responses = facts_of(RESPONSES, input="a", text={"format": {"type": "json_schema", "schema": SCHEMA}})

    assert in_chat.schema is not None
    assert in_responses.schema is not None
    assert json.loads(in_chat.schema) == json.loads(in_responses.schema) == SCHEMA
    assert facts_of(**chat(response_format={"type": "json_object"})).schema is None


@pytest.mark.parametrize(
    ("prompt", "answers"),
    [("a", 2), (["a", "b", "c"], 6), ([1, 2, 3], 2), ([[1, 2], [3]], 4), ([], 2), (["a"], 2)],
)
def test_a_batch_of_prompts_asks_for_as_many_answers(prompt: Any, answers: int) -> None:
    """Each prompt gets ``n`` answers; a list of token numbers is one prompt."""
    assert facts_of(COMPLETIONS, prompt=prompt, n=2).answers == answers


@given(st.text(), st.text())
def test_a_token_has_at_least_one_byte_of_the_prompt(system: str, user: str) -> None:
    """The measured length is never below the UTF-8 of the text: it bounds what a tokenizer can make of it."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    for escaped in (True, False):
        body = json.dumps({"model": "a", "messages": messages}, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
        try:
            facts = read_body(body)
        except BodyError:
            return  # half a surrogate pair

        assert facts.prompt_bytes >= len((system + user).encode("utf-8", "surrogatepass"))


def test_other_paths_may_name_no_model() -> None:
    """Whatever an engine's own paths take passes: JSON without a model, other text, nothing."""
    other = endpoint_of(b"/detokenize")
    assert other is not None

    for body in (b'{"tokens": [1, 2]}', b"", b"plain text", b"[1]"):
        assert read_body(body, other).model == ""
    facts = read_body(b'{"text": "x", "model": "a"}', other)
    assert (facts.model, facts.model_end - facts.model_start) == ("a", 3)


def test_the_request_of_a_body() -> None:
    """What choosing and admitting need, from the body and the key."""
    grant = Grant("ns/me", frozenset(), frozenset())
    facts = facts_of(**chat("x" * 4000, max_tokens=50, n=2))

    ask = ask_of(facts, CHAT, grant, bytes_per_token=4.0)

    assert 1000 <= ask.prompt_tokens < 1020
    assert (ask.output_tokens, ask.output_tokens_max, ask.answers) == (100, 50, 2)
    assert (ask.prefix, ask.consumer, ask.local_only) == (facts.prefix, "ns/me", False)
    assert ask_of(facts_of(EMBEDDINGS, input="x"), EMBEDDINGS, grant).output_tokens == 0


JUNK = st.binary(max_size=120) | st.text(alphabet='{}[]":,\\ntf01 model', max_size=120).map(str.encode)


@given(JUNK, st.sampled_from([b"application/json", b"multipart/form-data; boundary=x", b""]))
def test_no_bytes_make_it_fail(junk: bytes, content_type: bytes) -> None:
    """Whatever a client sends: facts, or an error that tells it what is wrong."""
    other = endpoint_of(b"/v1/audio/translations")
    assert other is not None
    for endpoint in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES, other):
        for body in (junk, b'{"model":"a","messages":' + junk + b"}", b'{"model":"a","prompt":[' + junk, b"--x" + junk):
            try:
                facts = read_body(body, endpoint, content_type)
            except BodyError as error:
                assert error.error.status == 400  # noqa: PT017 - it may be raised or not
            else:
                assert 0 <= facts.model_start <= facts.model_end <= len(body)
