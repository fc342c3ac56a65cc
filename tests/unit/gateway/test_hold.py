"""Cold starts: who waits, who spills, when they are released, and what the operator learns of it."""

import asyncio

import pytest

from overspill_gateway.proxy.exchange import Exchange
from overspill_gateway.routes.route import Route
from unit.gateway.backends import answers, backend, resets_before_head, then
from unit.gateway.harness import GatewayUnderTest, eventually, soon


def holds(route: Route, count: int) -> bool:
    """Whether so many requests wait."""
    return len(route.pool.queue) == count


async def test_a_request_waits_for_a_replica_and_gets_it(gateway: GatewayUnderTest) -> None:
    """Hold: the request wakes the pool, waits, and is served as soon as a ready endpoint is listed."""
    async with backend(answers()) as engine:
        route = gateway.route()
        waiting = asyncio.ensure_future(gateway.post())
        await eventually(lambda: holds(route, 1))
        assert route.pool.wants_replica
        assert route.demand().held == 1

        gateway.endpoints(engine.fact())
        answer = await soon(waiting)

    assert (answer.status, answer.served_by, answer.reason) == (200, "local/tiny-0", "Held")
    assert not route.pool.wants_replica


async def test_the_gateway_finds_out_by_itself_that_an_engine_answers(gateway: GatewayUnderTest) -> None:
    """An endpoint that is not ready is asked for /health every few milliseconds while a request waits."""
    async with backend(answers()) as engine:
        engine.health = 503
        route = gateway.route()
        gateway.endpoints(engine.fact(ready=False))
        waiting = asyncio.ensure_future(gateway.post())
        await eventually(lambda: engine.health_checks > 3)
        assert holds(route, 1)

        loop = asyncio.get_running_loop()
        engine.health = 200
        able = loop.time()
        answer = await soon(waiting)
        took = loop.time() - able

    assert (answer.status, answer.reason) == (200, "Held")
    assert took < 0.25, "the pace of probes is about 10 ms; the bound here allows for a busy machine"


async def test_an_engine_that_does_not_listen_yet_is_asked_again(gateway: GatewayUnderTest) -> None:
    """Refused connections are cheap: the endpoint is used as soon as something listens there."""
    async with backend(answers()) as engine:
        fact = engine.fact(ready=False)
        engine.kill()
        route = gateway.route()
        gateway.endpoints(fact)
        waiting = asyncio.ensure_future(gateway.post())
        await eventually(lambda: next(iter(route.replicas.values())).probe_failures > 3)

        await engine.listen()

        assert (await soon(waiting)).served_by == "local/tiny-0"


async def test_held_requests_are_released_together_and_spread(gateway: GatewayUnderTest) -> None:
    """When two replicas come at once, those who wait are shared out among them."""
    async with backend(answers()) as first, backend(answers()) as second:
        route = gateway.route()
        waiting = [asyncio.ensure_future(gateway.post()) for _ in range(8)]
        await eventually(lambda: holds(route, 8))

        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))
        seen = await soon(asyncio.gather(*waiting))

    assert {answer.status for answer in seen} == {200}
    assert len(first.requests) == len(second.requests) == 4


async def test_a_full_queue_is_429_with_retry_after(gateway: GatewayUnderTest) -> None:
    """Without a hosted API the request beyond hold.maxRequests is told to come again."""
    route = gateway.route(overflow={"on_cold_start": "Hold", "hold_requests_max": 1})
    waiting = asyncio.ensure_future(gateway.post())
    await eventually(lambda: holds(route, 1))

    answer = await gateway.post()

    assert (answer.status, answer.error["code"], answer.reason) == (429, "hold_queue_full", "QueueFull")
    assert int(answer.headers["retry-after"]) > 0
    waiting.cancel()


async def test_a_full_queue_spills_where_it_may(gateway: GatewayUnderTest) -> None:
    """With a hosted API the request beyond hold.maxRequests goes there, and says why."""
    async with backend(answers()) as hosted:
        overflow = {"on_cold_start": "Hold", "hold_requests_max": 0}
        route = gateway.route(hosted=[hosted.hosted()], overflow=overflow)

        answer = await gateway.post()

    assert (answer.served_by, answer.reason) == ("hosted/openai", "QueueFull")
    assert route.pool.spilled == 1
    assert route.pool.wants_replica


async def test_a_hold_that_takes_too_long_spills(gateway: GatewayUnderTest) -> None:
    """After hold.timeout the request goes to the hosted API."""
    async with backend(answers()) as hosted:
        overflow = {"on_cold_start": "Hold", "hold_timeout_seconds": 0.1}
        gateway.route(hosted=[hosted.hosted()], overflow=overflow)

        answer = await gateway.post()

    assert (answer.served_by, answer.reason) == ("hosted/openai", "HoldTimeout")


@pytest.mark.interpreted  # a method is replaced
async def test_a_request_that_waits_is_left_alone(gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has waited long enough nothing is due: a hedge that its lost attempt might have had is not, either."""
    looks = []
    expire = Exchange.expire

    def expire_and_note(self: Exchange, now: float) -> None:
        looks.append(now)
        expire(self, now)

    monkeypatch.setattr(Exchange, "expire", expire_and_note)
    async with backend(answers()) as engine:

        async def dies(*_: object) -> None:
            engine.kill()

        engine.script = dies
        hedging = {"after_seconds": 0.01, "max_percent": 100, "hosted_nano_usd_per_hour": 0}
        gateway.route(hedging=hedging, overflow={"on_cold_start": "Hold", "hold_timeout_seconds": 0.4})
        gateway.endpoints(engine.fact())

        answer = await gateway.post()

    assert answer.status == 503
    assert len(looks) < 4, "not once for each time that deadlines are looked through"


async def test_a_hold_that_takes_too_long_says_what_is_going_on(gateway: GatewayUnderTest) -> None:
    """Without a hosted API it is a 503 that says how far the pool is."""
    async with backend(answers()) as engine:
        engine.health = 503
        gateway.route(overflow={"on_cold_start": "Hold", "hold_timeout_seconds": 0.1})
        gateway.endpoints(engine.fact(ready=False))

        answer = await gateway.post()

    assert (answer.status, answer.error["code"], answer.reason) == (503, "no_replica", "HoldTimeout")
    assert "1 replica(s) do not answer yet" in answer.error["message"]


async def test_cold_start_hosted_does_not_wait(gateway: GatewayUnderTest) -> None:
    """Cold start Hosted: the hosted API answers at once and the pool is woken all the same."""
    async with backend(answers()) as hosted:
        route = gateway.route(hosted=[hosted.hosted()], overflow={"on_cold_start": "Hosted"})

        answer = await gateway.post()

    assert (answer.served_by, answer.reason) == ("hosted/openai", "ColdStart")
    assert route.pool.wants_replica
    assert route.pool.spilled == 1


async def test_a_wake_outlives_the_client_that_caused_it(gateway: GatewayUnderTest) -> None:
    """A client that goes away leaves the queue; the pool is still wanted."""
    route = gateway.route()
    client = await gateway.client()
    gateway.send(client)
    await eventually(lambda: holds(route, 1))

    client.reset()

    await eventually(lambda: holds(route, 0))
    assert route.pool.wants_replica


async def test_a_spilling_route_comes_back_to_its_replica(gateway: GatewayUnderTest) -> None:
    """A replica that answers is used although Kubernetes does not call it ready yet, also under steady requests."""
    async with backend(answers()) as engine, backend(answers()) as hosted:
        gateway.route(hosted=[hosted.hosted()], overflow={"on_cold_start": "Hosted"})
        gateway.endpoints(engine.fact(ready=False))
        loop = asyncio.get_running_loop()
        until = loop.time() + 3
        served = ""
        while served != "local/tiny-0" and loop.time() < until:
            served = (await gateway.post()).served_by

    assert served == "local/tiny-0"


async def test_a_window_at_zero_neither_waits_nor_wakes(gateway: GatewayUnderTest) -> None:
    """With mayWake false: the hosted API serves for that reason; without one it is a 503 at once."""
    local = {"service": "tiny-engine", "port": 8000, "served_model": "tiny", "may_wake": False}
    async with backend(answers()) as hosted:
        route = gateway.route(local=local, hosted=[hosted.hosted()], overflow={"on_cold_start": "Hosted"})
        spilled = await gateway.post()
        route = gateway.route(local=local)
        refused = await gateway.post()

    assert (spilled.served_by, spilled.reason) == ("hosted/openai", "ScaledOff")
    assert (refused.status, refused.error["code"]) == (503, "not_available")
    assert "a window" in refused.error["message"]
    assert not route.pool.wants_replica


async def test_an_engine_that_cannot_be_made_is_not_taken_for_one_in_a_window(gateway: GatewayUnderTest) -> None:
    """What is told to whoever asks is what its owner can mend."""
    local = {"service": "tiny-engine", "port": 8000, "served_model": "tiny", "may_wake": False, "refused": True}
    gateway.route(local=local)
    answer = await gateway.post()
    assert answer.status == 503
    assert "its engine can't be made; the route's status says why" in answer.error["message"]


async def test_a_request_whose_last_replica_died_waits_for_the_next(gateway: GatewayUnderTest) -> None:
    """Hold without a hosted API: the request goes back to the queue, the pool is wanted again, and it is served."""
    async with backend(resets_before_head) as dying, backend(answers()) as new:
        route = gateway.route()
        gateway.endpoints(dying.fact("old"))
        dying.health = 503
        waiting = asyncio.ensure_future(gateway.post())
        await eventually(lambda: holds(route, 1))
        assert route.pool.wants_replica

        gateway.endpoints(new.fact("new"))

        assert (await soon(waiting)).served_by == "local/new"


async def test_a_replica_that_only_hiccuped_is_used_again(gateway: GatewayUnderTest) -> None:
    """A reset takes a replica out; its health check brings it back within milliseconds, for the request that waits."""
    async with backend(then(resets_before_head, answers())) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        answer = await gateway.post()

    assert (answer.status, answer.served_by) == (200, "local/tiny-0")
    assert engine.health_checks >= 1


async def test_a_deleted_route_lets_nobody_wait(gateway: GatewayUnderTest) -> None:
    """Those who wait when their route goes are told at once."""
    route = gateway.route()
    waiting = asyncio.ensure_future(gateway.post())
    await eventually(lambda: holds(route, 1))

    gateway.gateway.catalog.remove_route("ns/tiny")

    assert (await soon(waiting)).status == 503


async def test_endpoints_may_come_before_their_route(gateway: GatewayUnderTest) -> None:
    """The order in which Secrets and EndpointSlices are seen does not matter."""
    async with backend(answers()) as engine:
        gateway.endpoints(engine.fact())
        gateway.route()

        assert (await gateway.post()).served_by == "local/tiny-0"
