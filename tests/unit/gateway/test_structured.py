"""Plain answers against the JSON schema of their request: what is a fault, and that checking is safe."""

from __future__ import annotations

import json
from typing import Any

import pytest

from overspill_gateway.core.answers.structured import StructuredCheck

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def check_of(schema: Any) -> StructuredCheck:
    """A schema that can be checked against."""
    check = StructuredCheck.of(json.dumps(schema).encode())
    assert isinstance(check, StructuredCheck), check
    return check


def chat(*texts: str | None, reason: str = "stop", **message: Any) -> bytes:
    """A chat completion with these choices."""
    choices = [
        {"index": number, "message": {"role": "assistant", "content": text} | message, "finish_reason": reason}
        for number, text in enumerate(texts)
    ]
    return json.dumps({"choices": choices}).encode()


def responses(*parts: dict[str, Any], **fields: Any) -> bytes:
    """An answer of /v1/responses."""
    reasoning = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}
    message = {"type": "message", "content": list(parts)}
    return json.dumps({"object": "response", "output": [reasoning, message]} | fields).encode()


GOOD = '{"name": "Ada", "age": 36, "tags": ["a"]}'


@pytest.mark.parametrize(
    "body",
    [
        chat(GOOD),
        chat(f"\n {GOOD} \n"),
        chat(GOOD, GOOD),
        responses({"type": "output_text", "text": GOOD}),
        responses({"type": "output_text", "text": GOOD[:9]}, {"type": "output_text", "text": GOOD[9:]}),
    ],
)
def test_an_answer_that_keeps_to_the_schema_holds(body: bytes) -> None:
    """In each dialect that takes a schema; each choice on its own."""
    assert check_of(PERSON).check(body) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"name": "Ada"}', 'at $: "age" is a required property'),
        ('{"name": "Ada", "age": "36"}', 'at $.age: the value is not of type "integer"'),
        ('{"name": "Ada", "age": 3, "tags": ["a", "secret"]}', 'at $.tags[1]: the value is not one of "a" or "b"'),
        ("{}{}", "it is not JSON (JSON is malformed: trailing characters (byte 3))"),
        (f"```json\n{GOOD}\n```", "it is not JSON (JSON is malformed: invalid character (byte 0))"),
        ("", "it is not JSON (Input data was truncated)"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_an_answer_that_does_not_is_told_where(text: str, why: str) -> None:
    """By its path, without a word of what the answer holds: the message goes into logs."""
    assert check_of(PERSON).check(chat(text)) == why


def test_one_bad_choice_of_several_is_a_fault() -> None:
    """And it is said which."""
    assert check_of(PERSON).check(chat(GOOD, "[]")) == 'choice 1: at $: the value is not of type "object"'


@pytest.mark.parametrize(
    "body",
    [
        chat(None, refusal="I can't help with that."),
        chat(None, reason="tool_calls", tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]),
        chat('{"name": "Ad', reason="length"),
        chat("", reason="content_filter"),
        responses({"type": "refusal", "refusal": "no"}),
        responses({"type": "output_text", "text": '{"na'}, incomplete_details={"reason": "max_output_tokens"}),
        json.dumps({"output": [{"type": "function_call", "name": "f", "arguments": "{}"}]}).encode(),
    ],
)
def test_an_answer_that_could_not_keep_to_it_passes(body: bytes) -> None:
    """Refusals, tool calls, and what the request's own limit cut: trying again would change nothing."""
    assert check_of(PERSON).check(body) is None


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"{}", b'{"choices": []}', b'{"choices": null}'])
def test_something_that_is_no_answer_is_a_fault(body: bytes) -> None:
    """It holds nothing that a client could use."""
    assert check_of(PERSON).check(body) == "the answer holds no choices"


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (b"{", "the schema is not JSON"),
        (b'{"type": "bogus"}', "the schema is not valid"),
        (b"3", "the schema is not valid"),
        (b'{"$schema": "http://127.0.0.1:9/other"}', "the schema is not valid"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "the schema is not JSON"),
        (b'{"not":' * 500 + b"{}" + b"}" * 500, "the schema is not valid"),
    ],
)
def test_a_schema_that_can_not_be_checked_against_says_why(schema: bytes, why: str) -> None:
    """The request goes on unchecked; that it does is counted."""
    refusal = StructuredCheck.of(schema)

    assert isinstance(refusal, str)
    assert refusal.startswith(why)


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/x.json", "file:///etc/passwd"])
def test_a_schema_refers_to_nothing_outside_itself(reference: str) -> None:
    """It comes from a stranger: nothing is fetched, and no file is read."""
    refusal = StructuredCheck.of(json.dumps({"properties": {"a": {"$ref": reference}}}).encode())

    assert isinstance(refusal, str)
    assert "root" not in refusal
    assert "disabled" in refusal


def test_references_inside_the_schema_are_followed() -> None:
    """As the models of pydantic and zod write them, recursion included."""
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}}}
    check = check_of({"$defs": {"N": node}, "$ref": "#/$defs/N"})

    assert check.check(chat('{"next": {"next": null}}')) is None
    assert check.check(chat('{"next": {"next": 3}}')) == "it does not match the schema"


def nested(depth: int) -> str:
    """An object in an object in an object."""
    return '{"c":' * depth + "1" + "}" * depth


def test_no_schema_makes_checking_exponential() -> None:
    """Each level doubles the ways to fail: told apart naively, 200 levels outlive the sun."""
    ways = [{"properties": {"c": {"$ref": "#/$defs/N"}}, "required": [name]} for name in ("x", "y")]
    check = check_of({"$defs": {"N": {"type": "object", "anyOf": ways}}, "$ref": "#/$defs/N"})

    assert check.check(chat(nested(200))) == "it does not match the schema"


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(?=a)(a|a)*c$"])
def test_no_pattern_makes_checking_exponential(pattern: str) -> None:
    """Linear time, or a bounded number of steps where the pattern looks around."""
    check = check_of({"type": "string", "pattern": pattern})

    assert check.check(chat(json.dumps("a" * 5000 + "b"))) is not None


def test_a_schema_is_compiled_once() -> None:
    """The same bytes give the same check."""
    assert check_of(PERSON) is check_of(PERSON)
