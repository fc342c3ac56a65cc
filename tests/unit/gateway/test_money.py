"""Limits and money of a whole gateway: what clients are told, what reaches hosted APIs, what is charged."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from overspill_api.compiled import CompiledConsumer
from overspill_api.keys import key_hash
from overspill_gateway.core.flow import request_flow
from overspill_gateway.money.sqlite_ledger import SqliteLedger
from unit.gateway.backends import Backend, answers, backend, plain_head, resets_before_head, says_nothing, streams
from unit.gateway.harness import KEY, PEPPER, GatewayUnderTest, eventually, running_gateway

PRICE: dict[str, Any] = {"input_nano_usd_per_million": 150_000_000, "output_nano_usd_per_million": 600_000_000}
REPORTED = 17 * 150 + 8 * 600
"""What ``backends.USAGE`` costs: no price of cached tokens is known."""
ANSWER = 100 * 600
"""100 tokens of output."""
PROMPT_MAX = 200_000
"""More than the longest prompt of these tests can cost."""
PLENTY = 10**9


def hosted_only(gateway: GatewayUnderTest, api: Backend, limit: int | None = PLENTY, **changes: Any) -> None:
    """A route with one hosted API and no engine of its own, under a budget."""
    budget = None if limit is None else {"limit_nano_usd": limit}
    apis = [api.hosted("api", **PRICE)]
    given: dict[str, Any] = {"local": None, "hosted": apis, "budget": budget, "retry_attempts": 0}
    gateway.route(**{**given, "overflow": {"on_cold_start": "Hosted"}, **changes})


def allow(gateway: GatewayUnderTest, **limits: int) -> None:
    """Limit the only consumer."""
    keys = [{"id": KEY.split("-")[1], "hash": key_hash(PEPPER, KEY)}]
    document = {"namespace": "ns", "name": "me", "uid": "u", "generation": 1, "keys": keys, "routes": ["ns/*"]}
    gateway.gateway.catalog.set_consumer(CompiledConsumer.model_validate({**document, "limits": limits}))


async def metrics(gateway: GatewayUnderTest) -> Callable[..., float]:
    """A function that sums the samples of a metric that have these labels."""
    text = (await gateway.admin("/metrics")).body.decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]

    def value(name: str, **labels: str) -> float:
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())

    return value


async def test_a_limited_consumer_is_told_when_to_come_again(gateway: GatewayUnderTest) -> None:
    """429 in OpenAI's shape with Retry-After in seconds; nobody is asked."""
    allow(gateway, requests_per_minute=1)
    async with backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        first = await gateway.post()
        second = await gateway.post()

        assert (first.status, second.status) == (200, 429)
        assert second.error["code"] == "rate_limit_exceeded"
        assert second.error["type"] == "rate_limit_error"
        assert 55 <= int(second.headers["retry-after"]) <= 60
        assert len(engine.requests) == 1
        assert (await metrics(gateway))("overspill_consumer_limited_requests_total", consumer="ns/me") == 1


@pytest.mark.parametrize("asked", [4000, None])
@pytest.mark.parametrize("where", ["consumer", "route", "hosted"])
async def test_a_burst_stays_near_the_limit_of_tokens_a_minute(
    gateway: GatewayUnderTest, where: str, asked: int | None
) -> None:
    """200 requests at once that each take 4,000 tokens of 10,000 a minute: the overshoot is the one that is stated."""
    usage = {"prompt_tokens": 10, "completion_tokens": 3990, "total_tokens": 4000}
    limits = {"tokens_per_minute": 10_000}

    async def long(received: object, wire: Any) -> None:  # noqa: ARG001
        await asyncio.sleep(0.05)
        body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage}).encode()
        await wire.write(plain_head(200, len(body)) + body)

    async with backend(long) as api:
        gateway.route(
            local=None, hosted=[api.hosted("api", **(limits if where == "hosted" else {}))], retry_attempts=0,
            per_consumer=limits if where == "route" else {}, overflow={"on_cold_start": "Hosted"},
        )  # fmt: skip
        allow(gateway, **(limits if where == "consumer" else {}))
        fields: dict[str, Any] = {} if asked is None else {"max_tokens": asked}
        seen = await asyncio.gather(*(gateway.post(**fields) for _ in range(200)))

    served = sum(answer.status == 200 for answer in seen)
    assert {answer.status for answer in seen} == {200, 429}
    assert 1 <= served <= (2 if asked else 8)


async def test_a_request_larger_than_its_limit_is_a_mistake_and_not_too_early(gateway: GatewayUnderTest) -> None:
    """400 that names both numbers: no waiting would help."""
    allow(gateway, tokens_per_minute=1000)
    async with backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        refused = await gateway.post(max_tokens=5000)
        allow(gateway)
        gateway.route("far", local=None, hosted=[engine.hosted("api", tokens_per_minute=100)],
                      overflow={"on_cold_start": "Hosted"})  # fmt: skip
        hosted = await gateway.post("far", messages=[{"role": "user", "content": "x" * 4000}])

    assert (refused.status, refused.error["code"]) == (400, "request_exceeds_rate_limit")
    assert "1000" in refused.error["message"]
    assert "retry-after" not in refused.headers
    assert (hosted.status, hosted.error["code"]) == (400, "request_exceeds_rate_limit")


async def test_real_usage_corrects_a_consumer_s_tokens(gateway: GatewayUnderTest) -> None:
    """256 tokens of output are expected and 8 come: more requests fit than the estimates alone would let in."""
    allow(gateway, tokens_per_minute=400)
    async with backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        seen = [(await gateway.post()).status for _ in range(5)]

    assert seen == [200] * 5


async def test_an_answer_of_a_hosted_api_is_charged_as_reported(gateway: GatewayUnderTest) -> None:
    """Plain and streamed alike, to the nano-dollar, in the budget, the metrics and demand."""
    async with backend(answers()) as api:
        hosted_only(gateway, api)
        assert (await gateway.post(max_tokens=100)).status == 200
        api.script = streams(3, usage=True)
        assert (await gateway.post(max_tokens=100, stream=True)).status == 200

        value = await metrics(gateway)
        assert value("overspill_budget_charged_nano_usd", route="ns/tiny") == 2 * REPORTED
        assert value("overspill_budget_held_nano_usd", route="ns/tiny") == 0
        assert value("overspill_cost_nano_usd_total", backend="hosted/api") == 2 * REPORTED
        assert value("overspill_consumer_cost_nano_usd_total", consumer="ns/me") == 2 * REPORTED
        assert value("overspill_holds_outstanding") == 0
        demand = gateway.gateway.catalog.routes["ns/tiny"].demand().backends["hosted/api"]
        assert demand.cost_nano_usd_total == 2 * REPORTED
        assert value("overspill_tokens_total", backend="hosted/api", token_type="output") == 16


async def test_under_a_budget_a_request_without_a_limit_gets_one(gateway: GatewayUnderTest) -> None:
    """What can't end can't be held: max_tokens is written into the hosted API's request, and only there."""
    async with backend(answers()) as api:
        hosted_only(gateway, api)
        await gateway.post()
        await gateway.post(max_tokens=100)
        hosted_only(gateway, api, None)
        await gateway.post()

        limits = [
            received.json.get("max_tokens", received.json.get("max_completion_tokens")) for received in api.requests
        ]
        assert limits == [16_384, 100, None]


async def test_a_request_asks_for_no_more_than_the_hosted_model_writes(gateway: GatewayUnderTest) -> None:
    """Which would be refused: its limit is lowered, with a budget or without, with a price or without."""
    async with backend(answers()) as api:
        budget: dict[str, Any] = {"budget": {"limit_nano_usd": PLENTY}}
        kinds: list[tuple[dict[str, Any], dict[str, Any]]] = [(budget, PRICE), ({}, PRICE), ({}, {})]
        for changes, price in kinds:
            gateway.route(local=None, hosted=[api.hosted("api", output_tokens_max=4096, **price)], **changes)
            for limit in (None, 5000, 100):
                fields: dict[str, Any] = {} if limit is None else {"max_tokens": limit}
                await gateway.post(**fields)

        limits = [received.json.get("max_tokens") for received in api.requests]
        assert limits == [4096, 4096, 100, None, 4096, 100, None, 4096, 100]


async def test_near_the_cap_answers_get_shorter_and_then_the_budget_is_spent(gateway: GatewayUnderTest) -> None:
    """The last money buys a shorter answer; then 429 names the budget, with the seconds to the next period."""
    async with backend(resets_before_head) as api:
        hosted_only(gateway, api, PROMPT_MAX + 2 * ANSWER)
        seen = [await gateway.post(max_tokens=100) for _ in range(8)]
        value = await metrics(gateway)

    refused = seen[-1]
    assert (refused.status, refused.error["code"], refused.error["type"]) == (
        429,
        "budget_exhausted",
        "insufficient_quota",
    )
    assert int(refused.headers["retry-after"]) <= 31 * 86_400
    asked = [received.json["max_tokens"] for received in api.requests]
    assert asked[0] == 100
    assert all(64 <= limit <= 100 for limit in asked)
    assert len(asked) < len(seen)
    assert value("overspill_budget_charged_nano_usd") <= PROMPT_MAX + 2 * ANSWER
    assert value("overspill_charged_in_full_total") == len(asked)
    budget = gateway.gateway.catalog.routes["ns/tiny"].demand().budget
    assert budget is not None
    assert budget.exhausted
    assert budget.charged_nano_usd == value("overspill_budget_charged_nano_usd")


async def test_a_budget_that_is_spent_leaves_requests_to_replicas(gateway: GatewayUnderTest) -> None:
    """SelfHostedOnly: a request waits for a replica rather than spending; Reject: it is refused at once."""
    async with backend(answers()) as api, backend(answers("ours")) as engine:
        local = {"service": "tiny-engine", "port": 8000, "served_model": "tiny"}
        hosted_only(gateway, api, 1, local=local)
        client = await gateway.client()
        gateway.send(client)
        await eventually(lambda: len(gateway.gateway.catalog.routes["ns/tiny"].pool.queue) == 1)

        hosted_only(gateway, api, 1, local=local, budget={"limit_nano_usd": 1, "on_exhausted": "Reject"})
        refused = await gateway.post()
        gateway.endpoints(engine.fact())
        served = await asyncio.wait_for(client.answer(), 5)

        assert (refused.status, refused.error["code"]) == (429, "budget_exhausted")
        assert (served.status, served.served_by) == (200, "local/tiny-0")
        assert (await gateway.post()).served_by == "local/tiny-0"
        assert api.requests == []


async def test_who_goes_away_pays_in_full(gateway: GatewayUnderTest) -> None:
    """The hosted API may have written all of the answer: charged its worst case, never refunded."""
    async with backend(says_nothing) as api:
        hosted_only(gateway, api)
        client = await gateway.client()
        gateway.send(client, max_tokens=100)
        await eventually(lambda: len(api.requests) == 1)
        client.reset()
        meter = gateway.gateway.catalog.routes["ns/tiny"].meter
        await eventually(lambda: not meter.hosted["api"].holds)

        value = await metrics(gateway)
        assert value("overspill_budget_charged_nano_usd") > ANSWER
        assert value("overspill_charged_in_full_total", backend="hosted/api") == 1
        assert value("overspill_attempts_total", backend="hosted/api", outcome="abandoned") == 1


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
async def test_a_refusal_of_a_hosted_api_costs_nothing(gateway: GatewayUnderTest, status: int) -> None:
    """What was held is free again."""
    async with backend(answers(status=status)) as api:
        hosted_only(gateway, api)
        await gateway.post(max_tokens=100)

        value = await metrics(gateway)
        assert value("overspill_budget_charged_nano_usd") == 0
        assert value("overspill_budget_held_nano_usd") == 0
        assert len(api.requests) == 1


async def test_an_answer_without_usage_is_charged_by_estimate(gateway: GatewayUnderTest) -> None:
    """Whole but silent on usage: its text is counted, marked as estimated, and never charged above what was held."""

    async def without_usage(received: object, wire: Any) -> None:  # noqa: ARG001
        body = b'{"choices": [{"message": {"content": "one two three four five"}}]}'
        await wire.write(plain_head(200, len(body)) + body)

    async with backend(without_usage) as api:
        hosted_only(gateway, api)
        assert (await gateway.post(max_tokens=100)).status == 200
        meter = gateway.gateway.catalog.routes["ns/tiny"].meter
        await eventually(lambda: not meter.hosted["api"].holds)

        value = await metrics(gateway)
        assert value("overspill_tokens_total", backend="hosted/api", usage_source="estimated", token_type="output") > 0
        assert value("overspill_tokens_total", backend="hosted/api", usage_source="reported") == 0
        assert 0 < value("overspill_budget_charged_nano_usd") < ANSWER
        assert value("overspill_charged_in_full_total") == 0


async def test_a_hosted_api_s_limits_send_requests_to_the_next(gateway: GatewayUnderTest) -> None:
    """One place at the first: the second request goes to the second API while the first is still answered."""
    gate = asyncio.Event()
    async with backend(streams(2, gate=gate)) as first, backend(answers()) as second:
        gateway.route(
            local=None,
            overflow={"on_cold_start": "Hosted"},
            hosted=[first.hosted("a", concurrency=1), second.hosted("b", requests_per_minute=1)],
        )
        client = await gateway.client()
        gateway.send(client, stream=True)
        await client.head()
        other = await gateway.post()
        limited = await gateway.post()
        gate.set()

        assert other.served_by == "hosted/b"
        assert (limited.status, limited.error["code"]) == (429, "hosted_limits")
        assert 1 <= int(limited.headers["retry-after"]) <= 60


async def test_a_hosted_api_s_minute_is_what_a_refused_client_waits_for(gateway: GatewayUnderTest) -> None:
    """Retry-After is when the first of them may be asked again."""
    async with backend(answers()) as api:
        hosted_only(gateway, api, hosted=[api.hosted("api", requests_per_minute=1, **PRICE)])
        await gateway.post()
        limited = await gateway.post()

        assert (limited.status, limited.error["code"]) == (429, "hosted_limits")
        assert 55 <= int(limited.headers["retry-after"]) <= 60


async def test_the_cap_holds_under_many_requests_at_once(gateway: GatewayUnderTest) -> None:
    """All at the same time, all charged in full: what the API was sent is worth no more than the limit."""
    limit = 20 * (PROMPT_MAX + ANSWER)
    async with backend(resets_before_head) as api:
        hosted_only(gateway, api, limit)
        seen = await asyncio.gather(*(gateway.post(max_tokens=100) for _ in range(200)))

        value = await metrics(gateway)
        assert 0 < value("overspill_budget_charged_nano_usd") <= limit
        assert value("overspill_budget_held_nano_usd") == 0
        assert len(api.requests) * ANSWER <= limit
        assert {answer.status for answer in seen} == {429, 502}


async def test_a_restarted_gateway_has_spent_what_it_had(tmp_path: Path) -> None:
    """With --ledger the cap is one of the period, not of the process."""
    ledger = tmp_path / "ledger.db"
    async with backend(answers()) as api:
        async with running_gateway(ledger=ledger) as first:
            hosted_only(first, api, PROMPT_MAX)
            await eventually(lambda: _leased(first) > 0)
            assert (await first.post(max_tokens=100)).status == 200
        async with running_gateway(ledger=ledger) as second:
            hosted_only(second, api, PROMPT_MAX)
            await eventually(lambda: _leased(second) > 0)
            value = await metrics(second)

    assert value("overspill_budget_charged_nano_usd") == REPORTED
    assert value("overspill_ledger_durable") == 1


async def test_a_broken_ledger_stops_spills_and_nothing_else(tmp_path: Path) -> None:
    """Local serving goes on, and the error says what is wrong with what."""
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(b"scrambled" * 1000)
    local = {"service": "tiny-engine", "port": 8000, "served_model": "tiny"}
    async with backend(answers()) as api, backend(answers()) as engine, running_gateway(ledger=ledger) as gateway:
        hosted_only(gateway, api, local=None, name="tiny")
        await eventually(lambda: gateway.gateway.shared.metering.ledger.error is not None)
        refused = await gateway.post()
        hosted_only(gateway, api, local=local)
        gateway.endpoints(engine.fact())
        served = await gateway.post()
        value = await metrics(gateway)

    assert refused.status == 503
    assert "budget" in refused.error["message"]
    assert served.served_by == "local/tiny-0"
    assert api.requests == []
    assert (value("overspill_ledger_up"), value("overspill_budget_up")) == (0, 0)


@pytest.mark.interpreted
async def test_requests_wait_for_a_slow_ledger_and_the_loop_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are sent when it has answered; meanwhile everything else goes on, on replicas and without budget."""
    gate = Event()
    write = SqliteLedger.write

    def slow(self: SqliteLedger, batch: list[Any], *, always: bool = False) -> None:
        gate.wait(20.0)
        write(self, batch, always=always)

    monkeypatch.setattr(SqliteLedger, "write", slow)
    async with backend(answers()) as api, running_gateway(ledger=tmp_path / "ledger.db") as gateway:
        hosted_only(gateway, api)
        waiting = [asyncio.ensure_future(gateway.post(max_tokens=100)) for _ in range(20)]
        await eventually(lambda: len(gateway.gateway.exchanges) == 20)
        started = asyncio.get_running_loop().time()
        gateway.route("free", local=None, hosted=[api.hosted("api", **PRICE)], overflow={"on_cold_start": "Hosted"})
        free = await gateway.post("free")
        took = asyncio.get_running_loop().time() - started
        assert not any(task.done() for task in waiting)
        gate.set()
        seen = [(await task).status for task in waiting]

    assert free.status == 200
    assert took < 0.5
    assert seen == [200] * 20


@pytest.mark.interpreted
async def test_a_ledger_that_never_answers_is_waited_for_as_long_as_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the request is refused, those behind it at once; a client that leaves meanwhile leaves nothing behind."""
    gate = Event()
    monkeypatch.setattr(request_flow, "MONEY_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(SqliteLedger, "write", lambda *_, **__: gate.wait(20.0))
    async with backend(answers()) as api, running_gateway(ledger=tmp_path / "ledger.db") as gateway:
        hosted_only(gateway, api)
        gone = await gateway.client()
        gateway.send(gone)
        await eventually(lambda: len(gateway.gateway.exchanges) == 1)
        gone.reset()
        await eventually(lambda: not gateway.gateway.exchanges)
        first = await gateway.post()
        second = await gateway.post()
        spending = gateway.gateway.catalog.routes["ns/tiny"].meter.budget.at_hand
        gate.set()

    assert (first.status, second.status) == (503, 503)
    assert "budget" in first.error["message"]
    assert spending is not None
    assert not spending.waiting
    assert api.requests == []


def _leased(gateway: GatewayUnderTest) -> int:
    spending = gateway.gateway.catalog.routes["ns/tiny"].meter.budget.current()
    if spending is None:
        return 0
    return spending.account.leased
