"""Faults of backends, one by one: what the client sees, who is asked next, what is counted."""

import asyncio
import json
from time import monotonic
from typing import Any

import pytest

from unit.gateway import backends
from unit.gateway.backends import Script, answers, backend, event, then
from unit.gateway.harness import GatewayUnderTest, eventually, running_gateway

BEFORE_FIRST_BYTE: dict[str, tuple[Script, str]] = {
    "reset before the head": (backends.resets_before_head, "reset"),
    "closed before the head": (backends.closes_before_head, "reset"),
    "reset after the head": (backends.resets_after_head, "reset"),
    "half a plain answer": (backends.breaks_off_plain, "reset"),
    "not HTTP": (backends.speaks_no_http, "protocol"),
    "429": (answers(status=429), "status"),
    "408": (answers(status=408), "status"),
    "500": (answers(status=500), "status"),
    "502": (answers(status=502), "status"),
    "503": (answers(status=503), "status"),
    "504": (answers(status=504), "status"),
    "529": (answers(status=529), "status"),
}


@pytest.mark.parametrize("fault", BEFORE_FIRST_BYTE)
async def test_a_replica_that_fails_before_its_first_byte_is_replaced(gateway: GatewayUnderTest, fault: str) -> None:
    """The other replica answers, the client sees no failure, and the failed attempt is counted by its kind."""
    script, kind = BEFORE_FIRST_BYTE[fault]
    async with backend(script) as bad, backend(answers("good")) as good:
        route = gateway.route()
        gateway.endpoints(bad.fact("bad"), good.fact("good"))

        conversations = [[{"role": "user", "content": f"Hello {number}"}] for number in range(12)]
        seen = [await gateway.post(messages=messages) for messages in conversations]

    assert {answer.status for answer in seen} == {200}
    assert {answer.served_by for answer in seen} == {"local/good"}
    assert "ReplicaFailed" in {answer.reason for answer in seen}
    assert route.counters("local").failures[kind] >= 1


async def test_engines_of_one_name_are_two(gateway: GatewayUnderTest) -> None:
    """Outside a cluster engines are known by their address: one on another port of it answers all the same."""
    async with backend(answers(status=503)) as bad, backend(answers("good")) as good:
        gateway.route()
        gateway.endpoints(*(one.fact("127.0.0.1", uid="") for one in (bad, good)))

        seen = [await gateway.post() for _ in range(4)]

    assert {answer.status for answer in seen} == {200}
    assert bad.requests


@pytest.mark.parametrize("fault", BEFORE_FIRST_BYTE)
async def test_the_hosted_api_stands_in_for_the_last_replica(gateway: GatewayUnderTest, fault: str) -> None:
    """With one replica and a hosted API no request fails, whatever the replica does before its first byte."""
    async with backend(BEFORE_FIRST_BYTE[fault][0]) as engine, backend(answers()) as hosted:
        gateway.route(hosted=[hosted.hosted()])
        gateway.endpoints(engine.fact())

        answer = await gateway.post()

    assert (answer.status, answer.served_by, answer.reason) == (200, "hosted/openai", "ReplicaFailed")


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 501])
async def test_a_bad_request_passes_through_untouched(gateway: GatewayUnderTest, status: int) -> None:
    """Another backend would refuse it as well: nobody else is asked, and the engine's words reach the client."""
    async with backend(answers("no", status=status)) as engine, backend(answers()) as hosted:
        gateway.route(hosted=[hosted.hosted()])
        gateway.endpoints(engine.fact())

        answer = await gateway.post()

    assert (answer.status, answer.served_by) == (status, "local/tiny-0")
    assert answer.json["choices"][0]["message"]["content"] == "no"
    assert not hosted.requests


async def test_the_last_backends_failing_status_reaches_the_client(gateway: GatewayUnderTest) -> None:
    """With nobody else to ask, a 503 of the engine is passed on, its Retry-After included."""
    async with backend(answers("busy", status=503, retry_after="7")) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        answer = await gateway.post()

    assert (answer.status, answer.headers["retry-after"]) == (503, "7")
    assert answer.json["choices"][0]["message"]["content"] == "busy"


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_credential_goes_to_the_next_hosted_api(gateway: GatewayUnderTest, status: int) -> None:
    """Our credential is at fault, not the request: the next API is asked at once."""
    async with backend(answers(status=status)) as first, backend(answers()) as second:
        hosted = [first.hosted("first"), second.hosted("second")]
        gateway.route(local=None, hosted=hosted, overflow={"on_cold_start": "Hosted"})

        answer = await gateway.post()

    assert (answer.status, answer.served_by, answer.reason) == (200, "hosted/second", "HostedFailed")


async def test_when_all_credentials_are_refused_the_error_says_whose_fault_it_is(gateway: GatewayUnderTest) -> None:
    """A 502 that names our credentials; the provider's 401 would make the client doubt its own key."""
    async with backend(answers(status=401)) as first, backend(answers(status=403)) as second:
        hosted = [first.hosted("first"), second.hosted("second")]
        gateway.route(local=None, hosted=hosted, overflow={"on_cold_start": "Hosted"})

        answer = await gateway.post()

    assert (answer.status, answer.served_by) == (502, "none")
    assert answer.error["code"] == "upstream_credentials_refused"
    assert "hosted/first, hosted/second" in answer.error["message"]
    assert "Your key is fine" in answer.error["message"]


async def test_redirects_are_neither_followed_nor_passed_on(gateway: GatewayUnderTest) -> None:
    """A client that followed one would take its prompt and key to a place that no route names."""
    async with backend(answers(status=307, location="http://evil/v1")) as hosted, backend(answers()) as second:
        both = [hosted.hosted("first"), second.hosted("second")]
        gateway.route(local=None, hosted=both, overflow={"on_cold_start": "Hosted"})
        elsewhere = await gateway.post()
        gateway.route(local=None, hosted=both[:1], overflow={"on_cold_start": "Hosted"})
        nowhere = await gateway.post()

    assert elsewhere.served_by == "hosted/second"
    assert (nowhere.status, nowhere.error["code"]) == (502, "backend_failed")
    assert "it answered 307" in nowhere.error["message"]
    assert "location" not in nowhere.headers


async def test_attempts_are_bounded(gateway: GatewayUnderTest) -> None:
    """retries.attempts 1 means two tries over all backends, however many there are."""
    async with backend(backends.resets_before_head) as bad, backend(answers()) as good:
        hosted = [bad.hosted("a"), bad.hosted("b"), good.hosted("c")]
        gateway.route(local=None, hosted=hosted, retry_attempts=1, overflow={"on_cold_start": "Hosted"})

        answer = await gateway.post()

    assert (answer.status, answer.error["code"]) == (502, "backend_failed")
    assert "hosted/a" in answer.error["message"]
    assert "hosted/b" in answer.error["message"]
    assert not good.requests


async def test_nobody_listens(gateway: GatewayUnderTest) -> None:
    """A refused connection is a failure like others; with nobody else it is a 502 that says so."""
    async with backend(answers()) as gone:
        hosted = [gone.hosted()]
    gateway.route(local=None, hosted=hosted, overflow={"on_cold_start": "Hosted"})

    answer = await gateway.post()

    assert answer.status == 502
    assert "Connection refused" in answer.error["message"]


async def test_a_stream_without_a_first_token_goes_elsewhere(gateway: GatewayUnderTest) -> None:
    """timeouts.firstToken ends the wait for a stream; another backend answers, the silent one is told to stop."""
    async with backend(backends.says_nothing) as silent, backend(backends.streams(1)) as hosted:
        gateway.route(hosted=[hosted.hosted()], timeouts={"first_token_seconds": 0.1})
        gateway.endpoints(silent.fact())

        answer = await gateway.post(stream=True)

        assert (answer.status, answer.served_by) == (200, "hosted/openai")
        await eventually(lambda: not silent.wires)


async def test_a_replica_that_hangs_leaves_rotation(gateway: GatewayUnderTest) -> None:
    """After a timeout its health check decides: a hung one gets no further request, a slow one the very next."""
    async with backend(backends.says_nothing) as engine, backend(answers()) as hosted:
        engine.health = 503
        overflow = {"on_cold_start": "Hosted"}
        route = gateway.route(hosted=[hosted.hosted()], overflow=overflow, timeouts={"first_token_seconds": 0.1})
        gateway.endpoints(engine.fact())

        first, second = await gateway.post(stream=True), await gateway.post()
        assert (first.reason, second.reason) == ("ReplicaFailed", "ColdStart")

        engine.health, engine.script = 200, answers()
        await eventually(lambda: len(route.pool.replicas) == 1)
        assert (await gateway.post()).served_by == "local/tiny-0"


async def test_a_plain_answer_may_take_longer_than_the_first_token(gateway: GatewayUnderTest) -> None:
    """A plain answer's first byte comes when all of it is made: only the total holds for it."""
    stream_was_given_up = asyncio.Event()

    async def slow(received: backends.Received, wire: backends.Wire) -> None:
        engine.script = backends.says_nothing
        await stream_was_given_up.wait()
        await answers()(received, wire)

    async with backend(slow) as engine:
        gateway.route(timeouts={"first_token_seconds": 0.1})
        gateway.endpoints(engine.fact())

        plain = asyncio.ensure_future(gateway.post())
        await eventually(lambda: len(engine.requests) == 1)
        assert (await gateway.post(stream=True)).status == 504
        stream_was_given_up.set()

        assert (await plain).status == 200


async def test_a_client_is_told_the_time_that_its_request_had(gateway: GatewayUnderTest) -> None:
    """A request keeps the rules that it began with, also in what is said of them."""
    async with backend(backends.says_nothing) as engine:
        gateway.route(timeouts={"total_seconds": 0.3})
        gateway.endpoints(engine.fact())
        asked = asyncio.ensure_future(gateway.post())
        await eventually(lambda: len(engine.requests) == 1)
        gateway.route(timeouts={"total_seconds": 60})

        answer = await asked

    assert answer.status == 504
    assert "(0.3 s)" in answer.error["message"]


async def test_the_total_time_is_bounded(gateway: GatewayUnderTest) -> None:
    """timeouts.total ends a request with 504, and the engine is told to stop."""
    async with backend(backends.says_nothing) as engine:
        gateway.route(timeouts={"total_seconds": 0.15})
        gateway.endpoints(engine.fact())

        answer = await gateway.post()

        assert (answer.status, answer.error["code"]) == (504, "total_timeout")
        await eventually(lambda: not engine.wires)


def events_of(body: bytes) -> list[Any]:
    """The decoded events of a stream."""
    return [json.loads(one.removeprefix(b"data: ")) for one in body.split(b"\n\n") if one]


async def test_a_cut_stream_ends_with_an_error_event(gateway: GatewayUnderTest) -> None:
    """After the first token: whole events, then one error event in OpenAI's shape, and no [DONE]."""
    async with backend(backends.breaks_off_stream) as engine, backend(answers()) as hosted:
        gateway.route(hosted=[hosted.hosted()])
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        gateway.send(client, stream=True)
        answer = await client.answer()

        assert answer.status == 200
        assert answer.whole
        assert answer.body.startswith(event(0) + event(1) + b'data: {"error"')
        error = events_of(answer.body)[-1]["error"]
        assert (error["type"], error["code"]) == ("server_error", "stream_interrupted")
        assert b"[DONE]" not in answer.body
        assert not hosted.requests

        engine.script = answers("next")
        gateway.send(client)
        assert (await client.answer()).status == 200, "the connection stays usable"


async def test_a_stalled_stream_ends_with_an_error_event(gateway: GatewayUnderTest) -> None:
    """timeouts.idle between two pieces ends a stream honestly."""
    async with backend(backends.stalls_stream) as engine:
        gateway.route(timeouts={"idle_seconds": 0.1})
        gateway.endpoints(engine.fact())

        answer = await gateway.post(stream=True)

        assert events_of(answer.body)[-1]["error"]["code"] == "stream_interrupted"
        await eventually(lambda: not engine.wires)


async def test_an_answer_that_stalls_before_it_was_passed_on_goes_elsewhere(gateway: GatewayUnderTest) -> None:
    """Half a short answer: timeouts.idle, half a first event: timeouts.firstToken; nothing has reached the client."""

    async def stalls(received: backends.Received, wire: backends.Wire) -> None:
        if received.json.get("stream"):
            await wire.write(backends.stream_head())
            await wire.chunk(event(0)[:10])
        else:
            await wire.write(backends.plain_head(200, 100) + b"{")
        await wire.gone.wait()

    async with backend(stalls) as engine, backend(answers()) as hosted:
        gateway.route(hosted=[hosted.hosted()], timeouts={"idle_seconds": 0.1, "first_token_seconds": 0.2})
        gateway.endpoints(engine.fact())

        seen = [await gateway.post(), await gateway.post(stream=True)]

    assert [(answer.status, answer.served_by) for answer in seen] == [(200, "hosted/openai")] * 2


async def test_a_stream_cut_after_its_done_event_is_whole(gateway: GatewayUnderTest) -> None:
    """An engine that dies behind [DONE] has said everything: no error event follows it."""

    async def script(received: backends.Received, wire: backends.Wire) -> None:  # noqa: ARG001
        await wire.write(backends.stream_head())
        await wire.chunk(event(0) + b"data: [DONE]\n\n")
        await asyncio.sleep(0.02)
        wire.reset()

    async with backend(script) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        answer = await gateway.post(stream=True)

    assert answer.body == event(0) + b"data: [DONE]\n\n"


async def test_a_long_plain_answer_that_breaks_off_is_seen_to_be_broken(gateway: GatewayUnderTest) -> None:
    """An answer too long to be held back can't be mended; it ends short of its length, never cleanly."""

    async def script(received: backends.Received, wire: backends.Wire) -> None:  # noqa: ARG001
        await wire.write(backends.plain_head(200, 600_000) + b"x" * 500_000)
        await asyncio.sleep(0.02)
        wire.reset()

    async with backend(script) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        answer = await gateway.post()

    assert answer.status == 200
    assert not answer.whole


async def test_a_connection_closed_while_idle_costs_nothing(gateway: GatewayUnderTest) -> None:
    """An idle connection that the engine closes just as it is used: one fresh connection, no failure, no spill."""
    script = then(answers(), backends.closes_before_head, answers("again"))
    async with backend(script) as engine, backend(answers()) as hosted:
        route = gateway.route(hosted=[hosted.hosted()])
        gateway.endpoints(engine.fact())
        await gateway.post()

        answer = await gateway.post()

    assert (answer.status, answer.served_by, answer.reason) == (200, "local/tiny-0", "Preferred")
    assert engine.connections == 2
    assert route.counters("local").errors == 0


async def test_a_killed_replica_fails_no_plain_request() -> None:
    """Two replicas under eight connections, one killed: every request is answered, none waits a second more."""
    async with running_gateway() as gateway, backend(answers("a")) as first, backend(answers("b")) as second:
        gateway.route()
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))
        loop = asyncio.get_running_loop()
        statuses: list[int] = []
        slowest = 0.0

        async def load() -> None:
            nonlocal slowest
            client = await gateway.client()
            for _ in range(40):
                began = loop.time()
                gateway.send(client)
                statuses.append((await client.answer()).status)
                slowest = max(slowest, loop.time() - began)

        loads = [asyncio.ensure_future(load()) for _ in range(8)]
        await eventually(lambda: len(statuses) > 80)
        first.kill()
        await asyncio.gather(*loads)

    assert statuses == [200] * 320
    assert slowest < 1.0


async def test_requests_on_a_vanished_replica_are_rescued(gateway: GatewayUnderTest) -> None:
    """A replica that is listed no more and can't be reached gives its requests back, without a word from it."""
    async with backend(backends.says_nothing) as frozen, backend(answers()) as other:
        route = gateway.route()
        gateway.endpoints(frozen.fact("frozen"))
        client = await gateway.client()
        gateway.send(client)
        await eventually(lambda: route.in_flight_local == 1)
        frozen.stop_listening()  # open connections stay: only new ones are refused

        gateway.endpoints(other.fact("other"))
        answer = await client.answer()

        assert (answer.status, answer.served_by, answer.reason) == (200, "local/other", "ReplicaFailed")


async def test_a_replica_that_is_going_away_finishes_what_it_has_begun(gateway: GatewayUnderTest) -> None:
    """Terminating and then unlisted, but still reachable: its stream goes on to its end; new requests go elsewhere."""
    gate = asyncio.Event()
    async with backend(backends.streams(2, gate=gate)) as old, backend(answers()) as new:
        gateway.route()
        gateway.endpoints(old.fact("old"))
        client = await gateway.client()
        gateway.send(client, stream=True)
        await client.head()

        gateway.endpoints(old.fact("old", terminating=True, ready=False), new.fact("new"))
        assert (await gateway.post()).served_by == "local/new"
        gateway.endpoints(new.fact("new"))
        await eventually(lambda: old.health_checks > 0)
        gate.set()
        body = b""
        while piece := await client.chunk():
            body += piece

    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_limit_inside_a_200_counts_as_one(gateway: GatewayUnderTest, *, stream: bool) -> None:
    """Whether in a stream or in a plain answer: the backend rests for as long as its head says, and is not ejected."""
    error = b'{"error":{"message":"slow down","code":429}}'

    async def script(received: backends.Received, wire: backends.Wire) -> None:  # noqa: ARG001
        if stream:
            head = backends.stream_head().replace(b"server: uvicorn", b"retry-after: 7")
            await wire.write(head)
            await wire.chunk(b"data: " + error + b"\n\n")
            await wire.write(b"0\r\n\r\n")
        else:
            await wire.write(backends.plain_head(200, len(error), retry_after="7") + error)

    async with backend(script) as first, backend(backends.streams()) as second:
        hosted = [first.hosted("first"), second.hosted("second")]
        route = gateway.route(
            local=None, hosted=hosted if stream else hosted[:1], retry_attempts=0 if not stream else 1
        )

        answer = await gateway.post(stream=stream)

        outlier = route.pool.hosted[0].outlier
        assert 6 < outlier.returns_at - monotonic() <= 7
        assert outlier.ejections_total == 0
    if stream:
        assert answer.served_by == "hosted/second"
    else:
        assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (429, "backend_limited", "7")
