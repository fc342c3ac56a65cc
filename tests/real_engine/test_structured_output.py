"""Structured output that vLLM's guided decoding writes, and what the gateway's check makes of it."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from real_engine.processes import Engine
from real_engine.world import World

pytestmark = pytest.mark.timeout(180)
SCHEMA = {
    "type": "object",
    "properties": {
        "color": {"enum": ["red", "green", "blue"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["color", "count"],
    "additionalProperties": False,
}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA, "strict": True}}
INVALID = "overspill_structured_outputs_invalid_total"
MESSAGES: Any = [{"role": "user", "content": "A thing"}]


@pytest.fixture(scope="module")
def checked(world: World, engine: Engine) -> str:
    """A route that checks structured output."""
    return world.route("checked", [engine], validate_structured_output=True)


def test_an_answer_that_holds_to_its_schema_passes(client: openai.OpenAI, checked: str) -> None:
    """vLLM writes by the schema, the check agrees, the client gets vLLM's own words."""
    answer = client.chat.completions.create(model=checked, messages=MESSAGES, max_tokens=60, response_format=FORMAT)

    document = json.loads(answer.choices[0].message.content or "")
    assert document["color"] in SCHEMA["properties"]["color"]["enum"]  # type: ignore[index]
    assert 1 <= document["count"] <= 9


def test_an_answer_that_breaks_its_schema_is_a_typed_error(world: World, client: openai.OpenAI, checked: str) -> None:
    """A stop sequence ends vLLM's document after its first field: after another try the client is told."""
    before = world.gateway.metric(INVALID, route=f"ns/{checked}")
    with pytest.raises(openai.APIStatusError) as told:
        client.chat.completions.create(
            model=checked, messages=MESSAGES, max_tokens=60, response_format=FORMAT, stop=[","]
        )

    assert told.value.status_code == 502
    assert told.value.code == "invalid_structured_output"
    assert world.gateway.metric(INVALID, route=f"ns/{checked}") == before + 2


def test_an_answer_that_its_own_limit_cuts_passes(client: openai.OpenAI, checked: str) -> None:
    """Three tokens are no document, and the client has asked for no more: the SDK tells it so."""
    answer = client.chat.completions.create(model=checked, messages=MESSAGES, max_tokens=3, response_format=FORMAT)

    assert answer.choices[0].finish_reason == "length"
