"""A whole gateway whose routes say onStreamFailure: Continue: what the other backend is asked, and what clients see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from overspill_gateway.core.requests.estimate import BYTES_PER_TOKEN
from unit.gateway.backends import Backend, Received, Script, Wire, answers, backend, says_nothing, stream_head, then
from unit.gateway.generated import DONE, ROLE, data_event, said, text_chunk, usage_chunk, usage_of
from unit.gateway.harness import Answer, GatewayUnderTest, eventually

OTHER = {"id": "other", "object": "chat.completion.chunk", "created": 7, "model": "other"}
GOES_ON = {"on_stream_failure": "Continue"}


def writes(*events: bytes, breaks: bool = False) -> Script:
    """A stream of these events; one that breaks is reset behind them."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(stream_head())
        for event in events:
            await wire.chunk(event)
        if breaks:
            wire.reset()
        else:
            await wire.write(b"0\r\n\r\n")

    return script


def other(text: str, finish: str | None = None) -> bytes:
    """A chunk of another backend."""
    return data_event(OTHER | {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


REST = (other(" blue"), other(".", "stop"), data_event(OTHER | {"choices": [], "usage": usage_of(20, 2)}), DONE)


def documents(answer: Answer) -> list[Any]:
    """The events of a stream, decoded; None: [DONE]."""
    data = [event.removeprefix("data: ") for event in answer.body.decode().split("\n\n") if event.startswith("data: ")]
    return [None if text == "[DONE]" else json.loads(text) for text in data]


def text_of(answer: Answer) -> str:
    """The text as a client assembles it."""
    choices = [choice for document in documents(answer) if document for choice in document.get("choices", ())]
    return "".join(choice.get("delta", {}).get("content") or choice.get("text") or "" for choice in choices)


@pytest.mark.parametrize("asked_usage", [False, True])
async def test_an_answer_goes_on_at_another_replica(gateway: GatewayUnderTest, asked_usage: bool) -> None:  # noqa: FBT001
    """It gets the partial text as its own; the client sees one stream, with token counts if it asked for them."""
    fields: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked_usage else {}
    script = then(writes(ROLE, said("The sky"), said(" is"), breaks=True), writes(*REST))
    async with backend(script) as first, backend(script) as second:
        gateway.route(**GOES_ON)
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))

        answer = await gateway.post(stream=True, max_tokens=10, **fields)

    asked = next(one for one in (*first.requests, *second.requests) if "continue_final_message" in one.json)
    assert asked.json["messages"][-1] == {"role": "assistant", "content": "The sky is"}
    assert asked.json["max_tokens"] == 7, "three tokens in two events: the other replica's tokenizer has counted them"
    assert (answer.status, answer.whole, text_of(answer)) == (200, True, "The sky is blue.")
    seen = documents(answer)
    assert seen[-1] is None
    assert {document["id"] for document in seen[:-1]} == {"chatcmpl-1"}
    final = seen[-2]
    assert final["overspill"]["continued"][0]["after_tokens"] == 3
    assert final.get("usage") == (usage_of(17, 5) if asked_usage else None)


async def test_its_prompt_is_no_measure_of_others(gateway: GatewayUnderTest) -> None:
    """The prompt of whoever goes on holds an answer's beginning: nothing is learned of how long texts are in tokens."""
    usage = data_event(OTHER | {"choices": [], "usage": usage_of(4000, 2)})
    script = then(writes(ROLE, said("The sky is"), breaks=True), writes(other(" blue.", "stop"), usage, DONE))
    async with backend(script) as first, backend(script) as second:
        route = gateway.route(**GOES_ON)
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))

        answer = await gateway.post(stream=True, messages=[{"role": "user", "content": "Why? " * 200}])

    assert text_of(answer) == "The sky is blue."
    assert route.counters("local").served == 2
    assert route.meter.ratio.bytes_per_token == BYTES_PER_TOKEN


@pytest.mark.parametrize("names", [("tiny-0", "tiny-1"), ("tiny-1", "tiny-0")])
async def test_the_replica_that_failed_is_not_asked_to_count(gateway: GatewayUnderTest, names: tuple[str, str]) -> None:
    """One that is going away ends its streams with an error and still listens: it may count no more."""
    error = data_event({"error": {"message": "the engine is going away", "code": 500}})
    script = then(writes(ROLE, said("The sky"), said(" is"), error, DONE), writes(*REST))
    async with backend(script) as first, backend(script) as second:
        gateway.route(**GOES_ON)
        gateway.endpoints(first.fact(names[0]), second.fact(names[1]))

        answer = await gateway.post(stream=True, max_tokens=10)

    failed, other_one = (first, second) if answer.served_by == f"local/{names[0]}" else (second, first)
    assert text_of(answer) == "The sky is blue."
    assert (failed.counts_asked, other_one.counts_asked) == (0, 1)


async def test_an_answer_goes_on_at_a_hosted_api(gateway: GatewayUnderTest) -> None:
    """Which may repeat the text first: the client sees it once; both have their part counted."""
    told = "The sky is blue because"
    engine_script = writes(ROLE, said(told), breaks=True)
    hosted_script = writes(other(told), other(" of it.", "stop"), DONE)
    async with backend(engine_script) as engine, backend(hosted_script) as hosted:
        gateway.route(hosted=[hosted.hosted()], **GOES_ON)
        gateway.endpoints(engine.fact())

        answer = await gateway.post(stream=True)

    assert text_of(answer) == told + " of it."
    assert answer.served_by == "local/tiny-0"
    assert documents(answer)[-2]["overspill"]["continued"] == [{"served_by": "hosted/openai", "after_tokens": 1}]
    assert hosted.requests[0].json["messages"][-1] == {"role": "assistant", "content": told}
    assert "continue_final_message" not in hosted.requests[0].json


async def test_an_error_inside_the_stream_is_gone_on_from_as_well(gateway: GatewayUnderTest) -> None:
    """An engine that says error and [DONE] has broken off like one that is gone."""
    error = data_event({"error": {"message": "EngineCore died", "code": 500}})
    script = then(writes(said("The sky is"), error, DONE), writes(*REST))
    async with backend(script) as first, backend(script) as second:
        gateway.route(**GOES_ON)
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))

        answer = await gateway.post(stream=True)

    assert text_of(answer) == "The sky is blue."
    assert documents(answer).count(None) == 1


async def test_nobody_to_go_on_is_an_error(gateway: GatewayUnderTest) -> None:
    """What came, an error event, and no [DONE]: as on a route that does not go on."""
    async with backend(writes(said("The sky"), breaks=True)) as engine:
        gateway.route(retry_attempts=0, **GOES_ON)
        gateway.endpoints(engine.fact())

        answer = await gateway.post(stream=True)

    seen = documents(answer)
    assert text_of(answer) == "The sky"
    assert seen[-1]["error"]["code"] == "stream_interrupted"
    assert None not in seen


@pytest.mark.parametrize("changes", [{}, {"on_stream_failure": "Error"}])
async def test_by_default_no_answer_is_put_together(gateway: GatewayUnderTest, changes: dict[str, Any]) -> None:
    """Nobody gets words of two backends without having asked for it."""
    async with backend(writes(said("The sky"), breaks=True)) as engine, backend(writes(*REST)) as hosted:
        gateway.route(hosted=[hosted.hosted()], **changes)
        gateway.endpoints(engine.fact())

        answer = await gateway.post(stream=True)

        assert hosted.requests == []
    assert documents(answer)[-1]["error"]["code"] == "stream_interrupted"


async def test_what_can_not_go_on_truly_does_not(gateway: GatewayUnderTest) -> None:
    """Several answers at once can't be put together."""
    async with backend(writes(said("The sky"), breaks=True)) as engine, backend(writes(*REST)) as hosted:
        gateway.route(hosted=[hosted.hosted()], **GOES_ON)
        gateway.endpoints(engine.fact())

        answer = await gateway.post(stream=True, n=2)

        assert hosted.requests == []
    assert documents(answer)[-1]["error"]["code"] == "stream_interrupted"


async def test_a_plain_completion_goes_on(gateway: GatewayUnderTest) -> None:
    """Its prompt is extended by the text, to the letter."""
    script = then(writes(text_chunk("one "), breaks=True), writes(text_chunk("two", "stop"), usage_chunk(), DONE))
    async with backend(script) as first, backend(script) as second:
        gateway.route(**GOES_ON)
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))

        answer = await gateway.post(path="/v1/completions", prompt="count: ", stream=True)

    prompts = [one.json["prompt"] for one in (*first.requests, *second.requests)]
    assert sorted(prompts) == ["count: ", "count: one "]
    assert text_of(answer) == "one two"


async def test_an_answer_may_break_off_twice(gateway: GatewayUnderTest) -> None:
    """Whoever goes on gets all that came so far, and the client still sees one stream."""
    last = writes(other(" is blue.", "stop"), DONE)
    script = then(writes(ROLE, said("The"), breaks=True), writes(other(" sky"), breaks=True), last)
    async with backend(script) as first, backend(script) as second, backend(script) as third:
        gateway.route(retry_attempts=2, **GOES_ON)
        gateway.endpoints(*(one.fact(f"tiny-{number}") for number, one in enumerate((first, second, third))))

        answer = await gateway.post(stream=True)

    parts = [one.json["messages"][-1]["content"] for one in (*first.requests, *second.requests, *third.requests)]
    assert sorted(parts) == ["Hello", "The", "The sky"]
    assert text_of(answer) == "The sky is blue."
    assert len(documents(answer)[-2]["overspill"]["continued"]) == 2


async def test_one_that_will_not_go_on_is_passed_over(gateway: GatewayUnderTest) -> None:
    """Its status is nothing that a client in the middle of an answer could be told."""
    script = then(writes(ROLE, said("The sky is"), breaks=True), answers(status=503), writes(*REST))
    async with backend(script) as first, backend(script) as second, backend(script) as third:
        gateway.route(retry_attempts=2, **GOES_ON)
        gateway.endpoints(*(one.fact(f"tiny-{number}") for number, one in enumerate((first, second, third))))

        answer = await gateway.post(stream=True)

    assert text_of(answer) == "The sky is blue."
    assert documents(answer).count(None) == 1


@pytest.mark.parametrize("counts", [True, False])
async def test_the_total_time_ends_what_nobody_goes_on_with(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch, *, counts: bool
) -> None:
    """While what came is counted, or before the other backend's first token: an error in the stream, no [DONE]."""
    script = then(writes(ROLE, said("The sky"), breaks=True), says_nothing)
    async with backend(script) as first, backend(script) as second:
        if not counts:
            for one in (first, second):
                monkeypatch.setattr(one, "answer", counts_nothing(one))
        route = gateway.route(timeouts={"total_seconds": 0.4}, **GOES_ON)
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))

        answer = await gateway.post(stream=True)

        assert len(first.requests) + len(second.requests) == 1 + counts
        await eventually(lambda: not len(gateway.gateway.exchanges) and not route.in_flight_local)
    assert documents(answer)[-1]["error"]["code"] == "total_timeout"
    assert text_of(answer) == "The sky"


async def test_a_client_may_leave_while_what_came_is_counted(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked to go on for it."""
    script = then(writes(ROLE, said("The sky"), breaks=True), says_nothing)
    counted = asyncio.Event()
    async with backend(script) as first, backend(script) as second:
        for one in (first, second):
            monkeypatch.setattr(one, "answer", counts_nothing(one, counted))
        route = gateway.route(**GOES_ON)
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))
        client = await gateway.client()
        gateway.send(client, stream=True)
        await eventually(lambda: first.counts_asked + second.counts_asked == 1)

        client.reset()
        await eventually(lambda: not len(gateway.gateway.exchanges))
        counted.set()
        await eventually(lambda: not first.wires and not second.wires)

        assert len(first.requests) + len(second.requests) == 1
        assert not route.in_flight_local


def counts_nothing(counting: Backend, until: asyncio.Event | None = None) -> Callable[..., Awaitable[None]]:
    """A backend that takes its time for counting tokens: for ever, or until then."""
    answer = counting.answer

    async def answered(received: Received, wire: Wire) -> None:
        if received.line.startswith("POST /tokenize "):
            counting.counts_asked += 1
            if until is None:
                await wire.gone.wait()
            else:
                await until.wait()
                wire.close()
        else:
            await answer(received, wire)

    return answered
