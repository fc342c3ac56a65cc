"""No call of a hosted API goes uncounted: whatever can't be counted is charged what was held for it."""

import asyncio
import json
from typing import Any

import pytest

from overspill_gateway.workers.worker_pool import WorkerPool
from unit.gateway.backends import Backend, Script, answers, backend, plain_head
from unit.gateway.harness import GatewayUnderTest, eventually

PRICE = {"input_nano_usd_per_million": 150_000_000, "output_nano_usd_per_million": 600_000_000}
LIMIT = 10**9
MAX_TOKENS = 1000
OUTPUT_HELD = MAX_TOKENS * 600
EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def hosted_route(gateway: GatewayUnderTest, api: Backend) -> None:
    """A route with one hosted API under a budget."""
    hosted = [api.hosted("api", price_version="v1", **PRICE)]
    gateway.route(
        local=None, hosted=hosted, budget={"limit_nano_usd": LIMIT}, retry_attempts=0,
        overflow={"on_cold_start": "Hosted"},
    )  # fmt: skip


def plain(document: dict[str, Any]) -> Script:
    """Answers with this document."""

    async def script(received: object, wire: Any) -> None:  # noqa: ARG001
        body = json.dumps(document).encode()
        await wire.write(plain_head(200, len(body)) + body)

    return script


def streamed(*documents: dict[str, Any], pause: asyncio.Event | None = None, dialect: str = "chat") -> Script:
    """Answers with these events, then waits for the pause's end or goes away."""

    async def script(received: object, wire: Any) -> None:  # noqa: ARG001
        await wire.write(EVENT_STREAM)
        for document in documents:
            name = f"event: {document['type']}\n" if dialect == "responses" else ""
            await wire.chunk(f"{name}data: {json.dumps(document)}\n\n".encode())
        if pause is not None:
            await pause.wait()
        if dialect == "chat":
            await wire.chunk(b"data: [DONE]\n\n")
        await wire.chunk(b"")

    return script


def choice(usage: Any = None, **message: Any) -> dict[str, Any]:
    """A plain chat answer."""
    document: dict[str, Any] = {"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", **message}}]}
    return document | ({"usage": usage} if usage is not None else {})


def piece(text: str = "", usage: Any = None, finish: str | None = None) -> dict[str, Any]:
    """An event of a chat stream."""
    document: dict[str, Any] = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}
    return document | ({"usage": usage} if usage is not None else {})


async def charged(gateway: GatewayUnderTest) -> int:
    """What the route's budget was charged once all is settled."""
    meter = gateway.gateway.catalog.routes["ns/tiny"].meter
    await eventually(lambda: not any(one.holds for one in meter.hosted.values()))
    spending = meter.budget.current()
    assert spending is not None
    return spending.account.charged


@pytest.mark.parametrize("status", ["queued", "in_progress"])
@pytest.mark.parametrize(
    "usage", [None, {"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 1, "output_tokens": 1}]
)
async def test_an_answer_that_is_still_to_come_is_charged_in_full(
    gateway: GatewayUnderTest, status: str, usage: Any
) -> None:
    """``background``: the API goes on when it has answered, and nobody sees how far."""
    document = {"id": "r", "object": "response", "status": status, "output": [], "usage": usage}
    async with backend(plain(document)) as api:
        hosted_route(gateway, api)
        answer = await gateway.post(
            path="/v1/responses", input="write a book", background=True, max_output_tokens=MAX_TOKENS
        )

        assert answer.status == 200
        assert await charged(gateway) >= OUTPUT_HELD


async def test_a_stream_of_an_answer_that_is_still_to_come_is_charged_in_full(gateway: GatewayUnderTest) -> None:
    """Streamed or not: the stream that ends behind ``response.queued`` says nothing of its cost."""
    queued = {"type": "response.queued", "response": {"id": "r", "status": "queued", "usage": None}}
    async with backend(streamed(queued, dialect="responses")) as api:
        hosted_route(gateway, api)
        await gateway.post(path="/v1/responses", input="x", background=True, stream=True, max_output_tokens=MAX_TOKENS)

        assert await charged(gateway) >= OUTPUT_HELD


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "a" * 2000}}]},
        {"content": "", "reasoning_content": "a" * 2000},
        {"content": None, "refusal": "a" * 2000},
        {"content": None, "function_call": {"name": "f", "arguments": "a" * 2000}},
        {"content": "a" * 2000},
    ],
)
async def test_what_was_written_counts_where_nothing_is_reported(
    gateway: GatewayUnderTest, message: dict[str, Any]
) -> None:
    """Tool calls, reasoning, refusals: 2,000 letters are 500 tokens, whatever field they stand in."""
    async with backend(plain(choice(**message))) as api:
        hosted_route(gateway, api)
        await gateway.post(max_tokens=MAX_TOKENS)

        assert await charged(gateway) >= 500 * 600


@pytest.mark.parametrize(
    "document",
    [
        choice(content=None, audio={"data": "AAAA"}),
        choice(content="x" * 300_000),
        choice(content=""),
        {"id": "x", "choices": []},
        {"id": "x"},
        choice(content="hi", usage={"prompt_tokens": 5, "completion_tokens": 2**64 - 1}),
        choice(content="hi", usage={"prompt_tokens": 5, "completion_tokens": 10**30}),
        choice(content="hi", usage={"prompt_tokens": 10**9, "completion_tokens": 1}),
        choice(content="hi", usage={"prompt_tokens": 5, "completion_tokens": 1e300}),
    ],
)
async def test_what_can_t_be_counted_is_charged_what_was_held(
    gateway: GatewayUnderTest, document: dict[str, Any]
) -> None:
    """No text, no report, or a number that no call has: the hold, no less and no more."""
    async with backend(plain(document)) as api:
        hosted_route(gateway, api)
        await gateway.post(max_tokens=MAX_TOKENS)

        assert OUTPUT_HELD <= await charged(gateway) <= OUTPUT_HELD + 2000 * 150


@pytest.mark.parametrize("usage_first", [True, False])
async def test_usage_of_a_long_answer_counts_wherever_it_stands(
    gateway: GatewayUnderTest, *, usage_first: bool
) -> None:
    """Before the choices, or before 100 KB of something else."""
    usage = {"prompt_tokens": 10, "completion_tokens": 100}
    document = choice(content="x" * 300_000)
    document = {"usage": usage, **document} if usage_first else {**document, "usage": usage, "extra": "y" * 100_000}
    async with backend(plain(document)) as api:
        hosted_route(gateway, api)
        await gateway.post(max_tokens=MAX_TOKENS)

        assert await charged(gateway) == 10 * 150 + 100 * 600


async def test_a_missing_counter_is_estimated(gateway: GatewayUnderTest) -> None:
    """What was reported counts, and what was not is no zero."""
    async with backend(plain(choice(content="a" * 2000, usage={"prompt_tokens": 40}))) as api:
        hosted_route(gateway, api)
        await gateway.post(max_tokens=MAX_TOKENS)

        assert await charged(gateway) >= 40 * 150 + 500 * 600


@pytest.mark.parametrize("total", [333, "333", 333.0])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_total_counts_however_it_is_spelled(gateway: GatewayUnderTest, total: object, *, stream: bool) -> None:
    """Reasoning that only the total holds is charged, also where the total is in quotes."""
    usage = {"prompt_tokens": 14, "completion_tokens": 2, "total_tokens": total}
    events = piece("hi"), piece("", finish="stop"), {"choices": [], "usage": usage}
    async with backend(streamed(*events) if stream else plain(choice(content="hi", usage=usage))) as api:
        hosted_route(gateway, api)
        await gateway.post(max_tokens=MAX_TOKENS, stream=stream)

        assert await charged(gateway) == 14 * 150 + 319 * 600


@pytest.mark.parametrize("unread", [None, "many", -100, "-100", 0.5, [], {}])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_counter_that_can_t_be_read_is_estimated(
    gateway: GatewayUnderTest, unread: object, *, stream: bool
) -> None:
    """It is as if it had not been given, and no zero; nor is what an earlier event reported all of it."""
    first, usage = {"prompt_tokens": 40, "completion_tokens": 1}, {"prompt_tokens": 40, "completion_tokens": unread}
    events = piece("a", first), piece("a" * 2000, usage), piece("", usage, "stop")
    async with backend(streamed(*events) if stream else plain(choice(content="a" * 2000, usage=usage))) as api:
        hosted_route(gateway, api)
        await gateway.post(max_tokens=MAX_TOKENS, stream=stream)

        assert await charged(gateway) >= 40 * 150 + 500 * 600


@pytest.mark.parametrize("later", [{"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, {}])
async def test_zeros_behind_a_good_report_erase_nothing(gateway: GatewayUnderTest, later: dict[str, int]) -> None:
    """A stream's last usage may be a default."""
    good = {"prompt_tokens": 10, "completion_tokens": 100}
    events = piece("hi"), piece("", good, "stop"), {"choices": [], "usage": later}
    async with backend(streamed(*events)) as api:
        hosted_route(gateway, api)
        await gateway.post(max_tokens=MAX_TOKENS, stream=True)

        assert await charged(gateway) == 10 * 150 + 100 * 600


async def test_a_report_that_came_before_the_text_is_not_the_end(gateway: GatewayUnderTest) -> None:
    """A running total of the first event says nothing of what came behind it."""
    events = piece("", {"prompt_tokens": 10, "completion_tokens": 1}), piece("a" * 2000), piece("", finish="stop")
    async with backend(streamed(*events)) as api:
        hosted_route(gateway, api)
        await gateway.post(max_tokens=MAX_TOKENS, stream=True)

        assert await charged(gateway) >= 500 * 600


async def test_one_bad_number_stops_no_other_budget(gateway: GatewayUnderTest) -> None:
    """The next calls, of this route and of others, are counted as ever."""
    bad = choice(content="hi", usage={"prompt_tokens": 5, "completion_tokens": 2**64 - 1})
    async with backend(plain(bad)) as api:
        hosted_route(gateway, api)
        await gateway.post(max_tokens=MAX_TOKENS)
        before = await charged(gateway)
        api.script = answers()
        assert (await gateway.post(max_tokens=MAX_TOKENS)).status == 200

        assert await charged(gateway) == before + 17 * 150 + 8 * 600
        assert gateway.gateway.shared.metering.ledger.error is None
        text = (await gateway.admin("/metrics")).body.decode()
        assert 'overspill_reports_doubted_total{backend="hosted/api",route="ns/tiny"} 1.0' in text
        assert f'price_version="v1",route="ns/tiny"}} {float(before + 17 * 150 + 8 * 600)}' in text


# -- clients that leave --------------------------------------------------------------------------------------------


async def left_in_the_middle(gateway: GatewayUnderTest, **fields: Any) -> int:
    """What a stream costs whose client goes away after the first pieces."""
    before = await charged(gateway)
    client = await gateway.client()
    gateway.send(client, stream=True, max_tokens=100_000, **fields)
    await client.head()
    await client.chunk()
    client.reset()
    return await charged(gateway) - before


WHOLE = piece("some words of text"), piece("", finish="stop"), {"choices": [], "usage": {"prompt_tokens": 10,
         "completion_tokens": 5}}  # fmt: skip


async def test_who_leaves_an_api_that_counts_along_pays_what_it_counted_and_a_margin(gateway: GatewayUnderTest) -> None:
    """Each piece says how much was written: that, and 512 tokens for what is written until the API notices."""
    pause = asyncio.Event()
    async with backend(streamed(piece("a", {"prompt_tokens": 10, "completion_tokens": 7}), pause=pause)) as api:
        hosted_route(gateway, api)
        cost = await left_in_the_middle(gateway)
        pause.set()

    assert cost == 10 * 150 + (7 + 512) * 600


async def test_who_leaves_an_api_that_shows_all_pays_for_what_came_and_a_margin(gateway: GatewayUnderTest) -> None:
    """It has reported no more tokens than bytes of text so far: a token is at least a byte."""
    pause = asyncio.Event()
    async with backend(streamed(*WHOLE)) as api:
        hosted_route(gateway, api)
        await gateway.post(stream=True, max_tokens=100)
        api.script = streamed(piece("twelve bytes"), pause=pause)
        cost = await left_in_the_middle(gateway)
        pause.set()

    assert 512 * 600 < cost <= 1000 * 150 + (512 + 300) * 600


@pytest.mark.parametrize(
    ("first", "fields"),
    [
        (None, {}),
        ((*WHOLE[:2], {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 900}}), {}),
        ((*WHOLE[:2], {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5,
                                                "completion_tokens_details": {"reasoning_tokens": 2}}}), {}),
        (WHOLE, {"reasoning_effort": "high"}),
    ],
)  # fmt: skip
async def test_who_leaves_any_other_api_pays_the_hold(
    gateway: GatewayUnderTest, first: Any, fields: dict[str, Any]
) -> None:
    """Nothing is known of it, or it writes what it does not show: the cap must not leak."""
    pause = asyncio.Event()
    async with backend(answers()) as api:
        hosted_route(gateway, api)
        if first is not None:
            api.script = streamed(*first)
            await gateway.post(stream=True, max_tokens=100)
        api.script = streamed(piece("twelve bytes"), pause=pause)
        cost = await left_in_the_middle(gateway, **fields)
        pause.set()

    assert cost >= 100_000 * 600


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("reads", [True, False])
async def test_a_long_answer_without_usage_is_counted_where_it_was_read(
    gateway: GatewayUnderTest, *, streams: bool, reads: bool
) -> None:
    """By its text, an answer or one event; what nobody had time to read is charged in full."""
    text = "word " * 10_000
    script = streamed(piece(text), piece(finish="stop")) if streams else plain(choice(content=text))
    if not reads:
        gateway.gateway.shared.answers = WorkerPool(
            "overspill_gateway.workers.answer_worker", seconds_max=10.0, wait_seconds_max=-1.0
        )
    async with backend(script) as api:
        hosted_route(gateway, api)
        gateway.gateway.catalog.routes["ns/tiny"].pool.hosted[0].reports_usage = False
        client = await gateway.client()
        gateway.send(client, stream=streams, max_tokens=100 * MAX_TOKENS)
        answer = await asyncio.wait_for(client.answer(), 20)
        cost = await charged(gateway)

    assert text.encode() in answer.body
    estimated = len(text) // 8 * 600
    assert estimated < cost < 4 * estimated if reads else cost >= 100 * OUTPUT_HELD
