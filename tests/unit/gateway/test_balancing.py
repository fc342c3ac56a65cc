"""A whole gateway in front of several replicas: conversations, replicas that fail, gauges, hedges."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from unit.gateway import backends
from unit.gateway.backends import answers, backend, streams
from unit.gateway.harness import Answer, GatewayUnderTest, eventually

HEDGING = {"after_seconds": 0.05, "max_percent": 100}
PRICE: dict[str, Any] = {
    "input_nano_usd_per_million": 150_000_000,
    "output_nano_usd_per_million": 600_000_000,
    "context_tokens": 8192,
}


def conversation(number: int, turns: int = 1) -> list[dict[str, str]]:
    """The messages of a conversation after so many turns."""
    said = [{"role": "user", "content": f"Tell me about the number {number}."}]
    for turn in range(1, turns):
        said += [{"role": "assistant", "content": "hi"}, {"role": "user", "content": f"And {turn} more?"}]
    return said


async def ask(gateway: GatewayUnderTest, number: int, **fields: Any) -> Answer:
    """The first turn of a conversation."""
    return await gateway.post(messages=conversation(number), **fields)


async def test_turns_of_a_conversation_go_to_one_replica(gateway: GatewayUnderTest) -> None:
    """And conversations to all replicas."""
    async with backend(answers()) as one, backend(answers()) as two, backend(answers()) as three:
        gateway.route()
        gateway.endpoints(one.fact("one"), two.fact("two"), three.fact("three"))
        homes: dict[int, set[str]] = {number: set() for number in range(18)}
        for turns in range(1, 4):
            for number, seen in homes.items():
                seen.add((await gateway.post(messages=conversation(number, turns))).served_by)

    assert all(len(seen) == 1 for seen in homes.values())
    assert len({home for seen in homes.values() for home in seen}) == 3


async def test_a_replica_that_answers_500_is_left_out(gateway: GatewayUnderTest) -> None:
    """After five failures; no client sees any of them, and the other replica's conversations stay where they are."""
    async with backend(answers(status=500)) as bad, backend(answers()) as good:
        route = gateway.route()
        gateway.endpoints(bad.fact("bad"), good.fact("good"))
        seen = [await ask(gateway, number) for number in range(40)]

    assert {(answer.status, answer.served_by) for answer in seen} == {(200, "local/good")}
    assert len(bad.requests) == 5
    outliers = {replica.pod: replica.outlier for replica in route.replicas.values()}
    assert (outliers["bad"].ejections_total, outliers["good"].ejections_total) == (1, 0)


async def test_where_all_replicas_fail_all_are_asked(gateway: GatewayUnderTest) -> None:
    """Nobody else is there: each client gets what its replica says, and the first answer that is well."""
    async with backend(answers(status=500)) as one, backend(answers(status=500)) as two:
        route = gateway.route(retry_attempts=0)
        gateway.endpoints(one.fact("one"), two.fact("two"))
        failed = [await ask(gateway, number) for number in range(30)]
        assert all(replica.outlier.ejected(time.monotonic()) for replica in route.replicas.values())
        one.script = two.script = answers()
        healed = [await ask(gateway, number) for number in range(10)]

    assert {answer.status for answer in failed} == {500}
    assert {answer.status for answer in healed} == {200}
    assert min(len(one.requests), len(two.requests)) > 5


async def test_a_hosted_api_stands_in_while_the_only_replica_rests(gateway: GatewayUnderTest) -> None:
    """The first five pay for finding out, the rest go there at once, and say why."""
    async with backend(answers(status=500)) as engine, backend(answers()) as hosted:
        gateway.route(hosted=[hosted.hosted()])
        gateway.endpoints(engine.fact())
        seen = [await ask(gateway, number) for number in range(12)]

    assert {answer.status for answer in seen} == {200}
    assert Counter(answer.reason for answer in seen) == {"ReplicaFailed": 5, "ReplicaEjected": 7}
    assert len(engine.requests) == 5


async def test_a_bad_request_says_nothing_against_a_replica(gateway: GatewayUnderTest) -> None:
    """However many clients send one."""
    async with backend(answers(status=400)) as engine:
        route = gateway.route()
        gateway.endpoints(engine.fact())
        for number in range(12):
            assert (await ask(gateway, number)).status == 400

    (replica,) = route.replicas.values()
    assert replica.outlier.ejections_total == 0
    assert replica.load.in_flight == 0


async def test_gauges_are_read_while_a_request_runs(gateway: GatewayUnderTest) -> None:
    """Of every replica of the route; and the load that a gateway counts itself is there and goes."""
    gate = asyncio.Event()
    async with backend(streams(gate=gate)) as one, backend(streams(gate=gate)) as two:
        route = gateway.route()
        gateway.endpoints(one.fact("one"), two.fact("two"))
        running = asyncio.ensure_future(gateway.post(stream=True))
        await eventually(lambda: all(replica.load.scraped_at > 0 for replica in route.replicas.values()))
        assert sum(replica.load.in_flight for replica in route.replicas.values()) == 1
        assert any(replica.load.expected_work(time.monotonic()) > 0 for replica in route.replicas.values())
        gate.set()
        await running
        await eventually(lambda: not any(replica.load.in_flight for replica in route.replicas.values()))
        assert not any(replica.load.output_tokens_pending for replica in route.replicas.values())


# -- hedges --------------------------------------------------------------------------------------------------------


async def test_who_is_slow_to_begin_gets_a_rival(gateway: GatewayUnderTest) -> None:
    """The first to begin is passed on, the other is told to stop and is no failure."""
    async with backend(backends.says_nothing) as slow, backend(answers("quick")) as quick:
        route = gateway.route(hedging=HEDGING)
        gateway.endpoints(slow.fact("slow"), quick.fact("quick"))
        seen = [await ask(gateway, number) for number in range(8)]
        await eventually(lambda: not any(replica.load.in_flight for replica in route.replicas.values()))

    assert {(answer.status, answer.served_by) for answer in seen} == {(200, "local/quick")}
    hedged = [answer for answer in seen if answer.reason == "Hedged"]
    assert 0 < len(hedged) == len(slow.requests) == route.tally.hedges
    assert all(replica.outlier.ejections_total == 0 for replica in route.replicas.values())
    assert gateway.gateway.shared.retries.active == 0


async def test_hedges_are_a_percentage_of_requests(gateway: GatewayUnderTest) -> None:
    """None before there were enough: the request waits for the backend that it has."""
    async with backend(streams()) as slow, backend(answers()) as quick:
        gateway.route(hedging={"after_seconds": 0.02, "max_percent": 20}, timeouts={"first_token_seconds": 0.1})
        slow.script = backends.says_nothing
        gateway.endpoints(slow.fact("slow"))
        route = gateway.gateway.catalog.routes["ns/tiny"]
        gateway.endpoints(slow.fact("slow"), quick.fact("quick"))
        for number in range(20):
            await ask(gateway, number, stream=True)

    assert route.tally.hedges <= 20 * 20 // 100
    assert route.tally.hedges + route.pool.hedges.denied_total > 0


async def test_a_hosted_hedge_needs_money(gateway: GatewayUnderTest) -> None:
    """Without hostedNanoUsdPerHour hedges go to replicas only; with it, to hosted APIs for as long as it lasts."""
    async with backend(backends.says_nothing) as slow, backend(answers("hosted")) as hosted:
        route = gateway.route(hedging=HEDGING, hosted=[hosted.hosted(**PRICE)], timeouts={"total_seconds": 0.3})
        gateway.endpoints(slow.fact())
        assert (await ask(gateway, 1)).status == 504
        assert hosted.requests == []

        route = gateway.route(
            hedging=HEDGING | {"hosted_nano_usd_per_hour": 10**9},
            hosted=[hosted.hosted(**PRICE)],
            timeouts={"total_seconds": 3},
        )
        answer = await ask(gateway, 2)

    assert (answer.status, answer.served_by, answer.reason) == (200, "hosted/openai", "Hedged")
    spent = route.counters("hosted/openai").cost_nano_usd
    assert route.pool.hedges.spent_nano_usd(time.monotonic()) == spent > 0, "what was held beyond that is free again"


@pytest.mark.parametrize("retries", [1, 2])
async def test_a_replica_that_dies_moves_all_its_requests(gateway: GatewayUnderTest, retries: int) -> None:
    """Half of forty, at once: more than the retry budget, and yet nobody loses an answer."""
    gate = asyncio.Event()

    async def waits(received: backends.Received, wire: backends.Wire) -> None:
        await gate.wait()
        await answers()(received, wire)

    async with backend(waits) as dies, backend(waits) as lives:
        gateway.route(retry_attempts=retries)
        gateway.endpoints(dies.fact("dies"), lives.fact("lives"))
        running = [asyncio.ensure_future(ask(gateway, number)) for number in range(40)]
        await eventually(lambda: len(dies.requests) + len(lives.requests) == 40)
        assert len(dies.requests) > 8
        dies.kill()
        gate.set()
        seen = await asyncio.gather(*running)

    assert {(answer.status, answer.served_by) for answer in seen} == {(200, "local/lives")}


async def test_all_that_a_failing_replica_had_spill(gateway: GatewayUnderTest) -> None:
    """Forty requests that it refuses at once: the hosted API gets all of them, beside the retry budget."""
    gate = asyncio.Event()

    async def fails(received: backends.Received, wire: backends.Wire) -> None:
        await gate.wait()
        await answers(status=500)(received, wire)

    async with backend(fails) as engine, backend(answers()) as hosted:
        gateway.route(hosted=[hosted.hosted()])
        gateway.endpoints(engine.fact())
        running = [asyncio.ensure_future(ask(gateway, number)) for number in range(40)]
        await eventually(lambda: len(engine.requests) == 40)
        gate.set()
        seen = await asyncio.gather(*running)

    assert Counter((answer.status, answer.reason) for answer in seen) == {(200, "ReplicaFailed"): 40}


async def test_what_replicas_do_again_has_a_budget(gateway: GatewayUnderTest) -> None:
    """Forty requests that one replica refuses at once: a fifth of them are tried at the other, the rest told."""
    gate, again = asyncio.Event(), asyncio.Event()

    async def fails(received: backends.Received, wire: backends.Wire) -> None:
        await gate.wait()
        await answers(status=500)(received, wire)

    async def serves(received: backends.Received, wire: backends.Wire) -> None:
        await again.wait()
        await answers()(received, wire)

    async with backend(fails) as bad, backend(serves) as good:
        gateway.route()
        gateway.endpoints(bad.fact("bad"))
        running = [asyncio.ensure_future(ask(gateway, number)) for number in range(40)]
        await eventually(lambda: len(bad.requests) == 40)
        gateway.endpoints(bad.fact("bad"), good.fact("good"))
        gate.set()
        await eventually(lambda: sum(one.done() for one in running) + len(good.requests) == 40)
        again.set()
        seen = Counter([answer.status for answer in await asyncio.gather(*running)])

    assert 3 <= seen[200] <= 8
    assert gateway.gateway.shared.retries.denied_total == 40 - seen[200]
    assert gateway.gateway.shared.retries.active == 0
