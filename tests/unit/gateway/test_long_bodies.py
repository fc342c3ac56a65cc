"""Long bodies are read in another process: by the same functions as short ones, in turn, and within a bound on time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest

from overspill_gateway.core.dialects.endpoints import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    Endpoint,
    endpoint_of,
)
from overspill_gateway.core.dialects.request_form import RequestForm
from overspill_gateway.core.http import errors
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.http.pieces import LONG_BYTES
from overspill_gateway.core.requests.ask import Needs
from overspill_gateway.core.requests.body import BodyError, BodyFacts, read_body
from overspill_gateway.core.requests.bounds import bounds_of
from overspill_gateway.core.requests.long_body import facts_told, question, read_long
from overspill_gateway.core.text.rope import divided
from overspill_gateway.core.text.splice import fields_of
from overspill_gateway.proxy.long_requests import body_readers
from overspill_gateway.proxy.outgoing import outgoing, outgoing_long
from overspill_gateway.workers.worker_pool import (
    OWNERS_WAITING_MAX,
    WAITING_MAX,
    Unanswered,
    WorkAnswer,
    WorkerPool,
    WorkItem,
)
from unit.gateway.backends import answers, backend, breaks_off_stream, streams
from unit.gateway.harness import KEY, GatewayUnderTest, eventually, pid_of, running_gateway, soon
from unit.gateway.test_outgoing import ROUTE, head_of, hosted, replica

LONG = "x" * (LONG_BYTES + 1)
TURNS = [{"role": "user", "content": LONG}]
BLOCKS = [{"role": "user", "content": [{"type": "text", "text": "hi \u00e9"}, {"type": "text", "text": "there"}]}]
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5000}}
BODIES: list[tuple[Endpoint, dict[str, Any]]] = [
    (CHAT, {"messages": TURNS}),
    (CHAT, {"messages": BLOCKS, "stream": True, "max_tokens": 700, "n": 2, "tools": [FUNCTION]}),
    (CHAT, {"stream": True, "stream_options": {"include_usage": False}, "messages": BLOCKS, "response_format": SCHEMA}),
    (CHAT, {"stream": True, "stream_options": None, "max_completion_tokens": 9, "max_tokens": 8, "messages": TURNS}),
    (CHAT, {"messages": [{"role": "user", "content": [IMAGE]}], "audio": {"voice": "x"}}),
    (COMPLETIONS, {"prompt": ["a", "b"], "best_of": 3, "stream": True}),
    (EMBEDDINGS, {"input": ["a", "b"]}),
    (RESPONSES, {"input": "hi", "instructions": "be", "max_output_tokens": 5, "stream": True}),
    (MESSAGES, {"messages": BLOCKS, "max_tokens": 100, "stream": True, "system": "be"}),
]


def told(endpoint: Endpoint, body: bytes, *, deployment: str = "") -> tuple[BodyFacts, list[bytes]]:
    """What the other process says of a body, and the body as it is from then on."""
    asked = question(endpoint.path, b"application/json", deployment, translate=True)
    first, more = read_long(asked, body)
    facts, length = facts_told(first)
    assert isinstance(facts, BodyFacts)
    assert facts.long is not None
    anew, facts.long.chat = divided([more] if more else [], length)
    return facts, anew or [body]


def refusal(endpoint: Endpoint, body: bytes) -> ApiError:
    """What the other process says is wrong with a body."""
    facts, _ = facts_told(read_long(question(endpoint.path, b"", "", translate=False), body)[0])
    assert isinstance(facts, ApiError)
    return facts


@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("number", range(len(BODIES)))
def test_long_and_short_bodies_are_read_alike(number: int, *, spaced: bool) -> None:
    """Every fact, and what the body can cost."""
    endpoint, fields = BODIES[number]
    body = json.dumps({"model": "alias"} | fields, separators=None if spaced else (",", ":")).encode()
    short, (facts, _) = read_body(body, endpoint), told(endpoint, body)

    assert facts.long is not None
    assert facts.prefix == short.prefix
    assert facts.long.bounds == bounds_of(fields_of(body), len(body), endpoint.dialect)
    short.conversation = facts.conversation
    short.long, short.fields = facts.long, None
    assert facts == short
    assert isinstance(facts.needs, Needs)


@pytest.mark.interpreted
@pytest.mark.parametrize("number", range(len(BODIES)))
async def test_long_and_short_bodies_go_out_alike(number: int, gateway: GatewayUnderTest) -> None:
    """To replicas and to hosted APIs, with and without a lower limit, in every form: byte for byte."""
    endpoint, fields = BODIES[number]
    body = json.dumps(fields | {"model": "alias"}).encode()
    facts, parts = told(endpoint, body)
    parts = [parts[0][:50], parts[0][50:60], parts[0][60:]]
    forms = [RequestForm(), RequestForm("max_completion_tokens", stream_options=False)]

    for to in (replica(), hosted(gateway)):
        for limit in (None, 3, 10**6):
            for form in forms:
                head, out = outgoing(
                    to, ROUTE, head_of(endpoint), body, read_body(body, endpoint), b"r", endpoint=endpoint,
                    max_tokens=limit, form=form,
                )  # fmt: skip
                long_head, long_parts = outgoing_long(
                    to, ROUTE, head_of(endpoint), parts, facts, b"r", endpoint=endpoint, max_tokens=limit, form=form
                )
                assert (long_head, b"".join(long_parts)) == (head, out)


def test_what_is_wrong_with_a_body_is_told_in_the_same_words() -> None:
    """Broken JSON, two models, a wrong type: the same error as for a short one."""
    bodies = [b"{", b"[]", b'{"model":"a","model":"b"}', b'{"model":7}', b'{"model":"a","n":0}', b'{"messages":[]}']
    for body in bodies:
        with pytest.raises(BodyError) as raised:
            read_body(body, CHAT)
        assert refusal(CHAT, body) == raised.value.error


def test_a_deployments_body_names_its_model() -> None:
    """Azure's clients name it in the path: the body comes back with it, and with the places as they are then."""
    facts, parts = told(CHAT, b'{"messages":[],"max_tokens":5}', deployment="gpt")
    body = b"".join(parts)

    assert json.loads(body) == {"model": "gpt", "messages": [], "max_tokens": 5}
    assert body[facts.model_start : facts.model_end] == b'"gpt"'
    assert facts.long is not None
    assert body[slice(*facts.long.spans["max_tokens"])] == b"5"


async def test_a_long_body_reaches_a_replica_and_a_hosted_api() -> None:
    """Whole, with the backend's name for the model; a budget knows what it can cost; Anthropic's is translated."""
    budget = {"limit_nano_usd": 10**12}
    prices: dict[str, Any] = {"input_nano_usd_per_million": 1000, "output_nano_usd_per_million": 1000}
    async with backend(answers()) as engine, running_gateway(body_bytes_max=8 << 20) as running:
        running.route("mine")
        running.endpoints(engine.fact(), route="mine")
        running.route("theirs", local=None, hosted=[engine.hosted(**prices)], budget=budget)
        turns = [{"role": "user", "content": "y" * (3 << 20)}]
        mine = await running.post("mine", messages=turns, stream=False)
        theirs = await running.post("theirs", messages=turns, max_tokens=5)
        translated = await running.post("theirs", path="/v1/messages", messages=turns, max_tokens=5)
        unknown = await running.post("nobodys", messages=turns)

    assert (mine.status, theirs.status, translated.status, unknown.status) == (200, 200, 200, 404)
    assert [one.json["model"] for one in engine.requests] == ["mine", "openai-model", "openai-model"]
    assert all(one.json["messages"] == turns for one in engine.requests)
    assert translated.json["type"] == "message"


async def test_a_long_form_and_a_long_azure_request_go_through() -> None:
    """Sound as a form, and a deployment's chat."""
    async with backend(answers()) as engine, running_gateway() as running:
        running.route()
        running.endpoints(engine.fact())
        client = await running.client()
        keys = {"authorization": f"Bearer {KEY}"}
        form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\ntiny\r\n--b\r\n'
        form += b'content-disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--b--\r\n' % LONG.encode()
        client.send("POST", "/v1/audio/transcriptions", form, content_type="multipart/form-data; boundary=b", **keys)
        sound = await soon(client.answer())
        body = json.dumps({"messages": TURNS}).encode()
        path = "/openai/deployments/tiny/chat/completions?api-version=1"
        client.send("POST", path, body, content_type="application/json", **keys)
        azure = await soon(client.answer())

    assert (sound.status, azure.status) == (200, 200)
    assert engine.requests[0].body == form
    assert engine.requests[1].json == {"model": "tiny", "messages": TURNS}


async def test_a_client_that_goes_while_its_body_is_read_leaves_nothing() -> None:
    """No exchange begins, no room stays taken."""
    async with backend(answers()) as engine, running_gateway() as running:
        running.route()
        running.endpoints(engine.fact())
        client = await running.client()
        running.send(client, messages=[{"role": "user", "content": LONG * 8}])
        readers = running.gateway.shared.readers
        await eventually(lambda: any(worker.current for worker in readers.workers), 10)
        client.reset()
        await eventually(lambda: not running.gateway.connections)
        await eventually(lambda: not any(worker.current for worker in readers.workers), 20)
        assert running.api_port.room.taken_bytes == 0
        assert (await running.post(messages=TURNS)).status == 200

    assert len(engine.requests) == 1


async def test_a_reading_process_that_dies_costs_its_request_a_clear_error() -> None:
    """The next request finds another process."""
    async with backend(answers()) as engine, running_gateway(body_bytes_max=40 << 20) as running:
        running.route()
        running.endpoints(engine.fact())
        assert (await running.post(messages=TURNS)).status == 200
        readers = running.gateway.shared.readers
        client = await running.client()
        running.send(client, messages=[{"role": "user", "content": LONG * 200}])
        await eventually(lambda: any(worker.current for worker in readers.workers), 10)
        [worker] = [worker for worker in readers.workers if worker.current]
        os.kill(pid_of(worker), signal.SIGKILL)
        refused = await soon(client.answer())
        after = await running.post(messages=TURNS)

    assert refused.status == 413
    assert refused.error["code"] == "body_too_dear"
    assert after.status == 200


async def test_a_key_that_is_withdrawn_while_a_body_is_read_opens_nothing() -> None:
    """As for one that is withdrawn while a body comes."""
    async with backend(answers()) as engine, running_gateway() as running:
        running.route()
        running.endpoints(engine.fact())
        client = await running.client()
        running.send(client, messages=TURNS)
        readers = running.gateway.shared.readers
        await eventually(lambda: any(worker.current for worker in readers.workers), 10)
        running.gateway.catalog.remove_consumer("ns/me")
        refused = await soon(client.answer())

    assert refused.status == 401
    assert not engine.requests


async def test_a_gateway_that_ends_tells_those_whose_bodies_wait() -> None:
    """Nobody is left without an answer."""
    async with running_gateway() as running:
        running.route()
        client = await running.client()
        running.send(client, messages=TURNS)
        readers = running.gateway.shared.readers
        await eventually(lambda: any(worker.current for worker in readers.workers), 10)
        await running.gateway.stop()
        refused = await soon(client.answer())

    assert refused.error["code"] == errors.SHUTTING_DOWN.code


async def test_senders_take_turns() -> None:
    """One that has sent many bodies delays its own: another's is the next but those that are being read."""
    pool = body_readers()
    order: list[str] = []
    asked = question(CHAT.path, b"", "", translate=False)
    body = json.dumps({"model": "m", "messages": TURNS}).encode()

    def ask(owner: str) -> None:
        pool.ask(owner, asked, [body], lambda _: order.append(owner))

    try:
        for _ in range(20):
            ask("many")
        ask("one")
        await eventually(lambda: len(order) == 21, 30)
    finally:
        await pool.close()

    assert order.index("one") <= 4


async def test_what_takes_too_long_or_waits_too_long_is_told() -> None:
    """A process is killed over the first; the second was never given to one."""
    slow = WorkerPool("overspill_gateway.workers.body_worker", seconds_max=0.0)
    crowded = WorkerPool("overspill_gateway.workers.body_worker", seconds_max=10.0, wait_seconds_max=-1.0)
    told: list[Unanswered | None] = []

    def answered(answer: WorkAnswer) -> None:
        told.append(answer.unanswered)

    try:
        slow.ask(
            "a",
            question(CHAT.path, b"", "", translate=False),
            [b'{"model":"m","x":"%b"}' % (LONG * 99).encode()],
            answered,
        )
        await eventually(lambda: len(told) == 1, 20)
        crowded.ask("a", b"{}", [b"{}"], answered)
        await eventually(lambda: len(told) == 2)
    finally:
        await slow.close()
        await crowded.close()

    assert told == [Unanswered.TOO_LONG, Unanswered.CROWDED]


async def test_what_nobody_wants_any_more_leaves_the_line_and_memory() -> None:
    """Whoever asks and goes, again and again, holds nothing: neither a place in the line nor what he sent."""
    pool = body_readers()
    told: list[Unanswered | None] = []

    def ask(owner: str) -> WorkItem:
        return pool.ask(owner, b"{}", [b"x" * 9], lambda answer: told.append(answer.unanswered))

    try:
        dropped = [ask(f"gone-{number % 4}") for number in range(WAITING_MAX + 2)]  # two are with a process
        for question in dropped:
            question.drop()
            question.drop()
        waiting = [ask(f"owner-{number % 4}") for number in range(WAITING_MAX)]
        await asyncio.sleep(0)

        assert not any(question.second for question in dropped)
        assert all(question.second for question in waiting)
        assert told == []
    finally:
        await pool.close()


async def test_one_owner_leaves_room_in_the_line() -> None:
    """Who asks more than half of the line takes is told so, while others are still let in."""
    pool = body_readers()
    told: list[str] = []

    def ask(owner: str) -> None:
        pool.ask(owner, b"{}", [b"x"], lambda _: told.append(owner))

    try:
        for _ in range(OWNERS_WAITING_MAX + 2):  # two are with a process
            ask("many")
        await asyncio.sleep(0)
        assert told == []
        ask("many")
        ask("one")
        await asyncio.sleep(0)
        assert told == ["many"]
    finally:
        await pool.close()


async def test_what_waits_takes_bounded_memory() -> None:
    """All that waits together, and of one owner half of that; what leaves the line makes room."""
    pool = WorkerPool("overspill_gateway.workers.answer_worker", seconds_max=10.0, waiting_bytes_max=100)
    told: list[str] = []

    def ask(owner: str, length: int) -> None:
        pool.ask(owner, b"{}", [b"x" * length], lambda _: told.append(f"{owner} {length}"))

    try:
        for owner, length in (("first", 90), ("second", 90)):  # with a process at once, neither waits
            ask(owner, length)
        for owner, length in (("many", 20), ("many", 30), ("many", 1), ("few", 50), ("one", 1)):
            ask(owner, length)
        await asyncio.sleep(0)
        assert told == ["many 1", "one 1"]
    finally:
        await pool.close()


async def test_what_leaves_the_line_makes_room_for_other_bytes() -> None:
    """Whether nobody wants it any more, or a process has taken it."""
    pool = WorkerPool("overspill_gateway.workers.answer_worker", seconds_max=10.0, waiting_bytes_max=100)
    told: list[WorkAnswer] = []
    try:
        taken = [pool.ask("taken", b"{}", [b"x" * 50], told.append) for _ in range(2)]
        dropped = pool.ask("gone", b"{}", [b"x" * 100], told.append)
        dropped.drop()
        waiting = pool.ask("other", b"{}", [b"x" * 100], told.append)
        await asyncio.sleep(0)
        assert told == []
        assert all(question.second for question in (*taken, waiting))
    finally:
        await pool.close()


@pytest.mark.parametrize("hosted_goes_on", [True, False])
async def test_an_answer_to_a_long_request_goes_on_elsewhere(*, hosted_goes_on: bool) -> None:
    """The request that goes on is made in another process, too: with the partial answer behind the conversation."""
    async with backend(breaks_off_stream) as dying, backend(streams()) as other, running_gateway() as running:
        hosted = [other.hosted()] if hosted_goes_on else []
        running.route(on_stream_failure="Continue", hosted=hosted)
        running.endpoints(dying.fact("a"), *(() if hosted_goes_on else (other.fact("b"),)))
        other.script = streams()
        answers = []
        for _ in range(4):  # whoever is asked first
            client = await running.client()
            running.send(client, messages=TURNS, stream=True)
            answers.append(await asyncio.wait_for(client.answer(), 10))

    assert all(answer.body.endswith(b"data: [DONE]\n\n") for answer in answers)
    went_on = [one.json for one in other.requests if one.json["messages"][-1]["role"] == "assistant"]
    assert went_on
    assert went_on[0]["messages"] == [*TURNS, {"role": "assistant", "content": "w0w1"}]
    assert went_on[0].get("continue_final_message", False) is not hosted_goes_on


def test_forms_are_known_by_their_type() -> None:
    """A multipart form is told with the place of its model."""
    transcriptions = endpoint_of(b"/v1/audio/transcriptions")
    assert transcriptions is not None
    form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\ntiny\r\n--b--\r\n'
    asked = question(transcriptions.path, b"multipart/form-data; boundary=b", "", translate=False)
    facts, _ = facts_told(read_long(asked, form)[0])

    assert isinstance(facts, BodyFacts)
    assert (facts.form, form[facts.model_start : facts.model_end]) == (True, b"tiny")
