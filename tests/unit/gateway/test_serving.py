"""What a client gets from a route whose backends are well: bytes, headers, counts."""

import asyncio
import json
from typing import Any

from unit.gateway.backends import answers, backend, event, streams
from unit.gateway.harness import KEY, GatewayUnderTest, eventually


async def test_a_plain_answer_passes_through_and_says_who_served_it(gateway: GatewayUnderTest) -> None:
    """The body is the engine's byte for byte; x-overspill-served-by names the pod."""
    async with backend(answers("hello")) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        answer = await gateway.post()

    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "hello"
    assert (answer.served_by, answer.reason) == ("local/tiny-0", "Preferred")
    assert answer.headers["x-request-id"].startswith("req-")
    assert "server" not in answer.headers


async def test_an_alias_reaches_the_engine_under_the_name_it_knows(gateway: GatewayUnderTest) -> None:
    """Only the model's name in the body changes; unknown fields arrive as they were sent."""
    async with backend(answers()) as engine:
        gateway.route(aliases=["gpt-4o-mini"])
        gateway.endpoints(engine.fact())

        answer = await gateway.post("gpt-4o-mini", guided_choice=["a", "b"])

    assert answer.status == 200
    received = engine.requests[0]
    assert received.json["model"] == "tiny"
    assert received.json["guided_choice"] == ["a", "b"]
    assert int(received.headers["content-length"]) == len(received.body)


async def test_a_stream_arrives_event_by_event(gateway: GatewayUnderTest) -> None:
    """Each event is passed on when it comes, not when the stream ends."""
    gate = asyncio.Event()
    async with backend(streams(3, gate=gate)) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        gateway.send(client, stream=True)

        status, headers = await client.head()
        first = await client.chunk()
        gate.set()
        rest = b""
        while piece := await client.chunk():
            rest += piece

    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    assert first == event(0)
    assert rest == event(1) + event(2) + b"data: [DONE]\n\n"


async def test_a_hosted_api_gets_its_own_model_and_credential(gateway: GatewayUnderTest) -> None:
    """The hosted model's name stands in the body, its key in Authorization, its prefix before the path."""
    async with backend(answers()) as hosted:
        gateway.route(local=None, hosted=[hosted.hosted()], overflow={"on_cold_start": "Hosted"})

        answer = await gateway.post()

    received = hosted.requests[0]
    assert (answer.served_by, answer.reason) == ("hosted/openai", "Preferred")
    assert received.line == "POST /prefix/v1/chat/completions HTTP/1.1"
    assert received.json["model"] == "openai-model"
    assert received.headers["authorization"] == "Bearer sk-openai"
    assert received.headers["host"] == f"127.0.0.1:{hosted.port}"


async def test_a_hosted_api_learns_nothing_else_of_the_client(gateway: GatewayUnderTest) -> None:
    """The client's key, cookies, hop-by-hop fields, own and unknown fields stay here."""
    async with backend(answers()) as hosted:
        gateway.route(local=None, hosted=[hosted.hosted(api_key=None)], overflow={"on_cold_start": "Hosted"})
        client = await gateway.client()
        body = json.dumps({"model": "tiny", "messages": []}).encode()
        client.send(
            "POST", "/v1/chat/completions?api_key=x", body, authorization=f"Bearer {KEY}",
            content_type="application/json",
            cookie="session=1", x_overspill_debug="1", connection="keep-alive, x-secret", x_secret="1", x_internal="1",
            openai_organization="org-1", accept_encoding="gzip",
        )  # fmt: skip

        assert (await client.answer()).status == 200

    received = hosted.requests[0]
    assert received.line == "POST /prefix/v1/chat/completions HTTP/1.1"
    assert set(received.headers) == {"host", "content-type", "content-length", "x-request-id", "accept-encoding"}
    assert received.headers["accept-encoding"] == "identity"
    assert KEY.encode() not in received.body


async def test_a_replica_gets_the_clients_fields_but_not_its_key(gateway: GatewayUnderTest) -> None:
    """Tracing fields and the query go to our own engines; keys, cookies and hop-by-hop fields do not."""
    async with backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        body = json.dumps({"model": "tiny", "messages": []}).encode()
        client.send(
            "POST", "/v1/completions?trace=1", body, authorization=f"Bearer {KEY}", traceparent="00-1-2-01",
            x_overspill_debug="1", cookie="a=b", te="trailers", connection="te, x-hop", x_hop="1",
            x_request_id="abc-1",
        )  # fmt: skip

        answer = await client.answer()

    received = engine.requests[0]
    assert received.line == "POST /v1/completions?trace=1 HTTP/1.1"
    assert received.headers["traceparent"] == "00-1-2-01"
    assert received.headers["x-request-id"] == answer.headers["x-request-id"] == "abc-1"
    assert not {"authorization", "cookie", "te", "connection", "x-hop", "x-overspill-debug"} & set(received.headers)


async def test_the_backends_own_request_id_and_cookies_do_not_pose_as_ours(gateway: GatewayUnderTest) -> None:
    """The backend's x-request-id comes under another name; Set-Cookie and forged x-overspill-* do not come at all."""
    script = answers("x", x_request_id="req_openai", set_cookie="a=b", x_overspill_served_by="evil", retry_after="3")
    async with backend(script) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())

        answer = await gateway.post()

    assert answer.headers["x-overspill-backend-request-id"] == "req_openai"
    assert answer.served_by == "local/tiny-0"
    assert answer.headers["retry-after"] == "3"
    assert "set-cookie" not in answer.headers


async def test_connections_are_kept_on_both_sides(gateway: GatewayUnderTest) -> None:
    """Requests one after the other on one connection use one connection to the engine."""
    async with backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        for _ in range(5):
            gateway.send(client)
            assert (await client.answer()).status == 200

        assert len(engine.requests) == 5
        assert engine.connections == 1


async def test_pipelined_requests_are_answered_in_their_order(gateway: GatewayUnderTest) -> None:
    """Requests sent without waiting are answered one by one, in the order in which they came."""
    async with backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/metrics"):
            gateway.send(client, path=path)

        paths = [(await client.answer()).json["path"].split(" ")[1] for _ in range(3)]
        last = await client.answer()

    assert paths == ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
    assert last.status == 404


async def test_reported_usage_is_counted_and_priced(gateway: GatewayUnderTest) -> None:
    """Tokens of plain answers and of streams are counted; cost is rounded up to whole nano-dollars."""
    prices: dict[str, Any] = {
        "input_nano_usd_per_million": 150_000_001,
        "cached_input_nano_usd_per_million": 75_000_000,
        "output_nano_usd_per_million": 600_000_000,
    }
    async with backend(answers()) as hosted:
        route = gateway.route(local=None, hosted=[hosted.hosted(**prices)], overflow={"on_cold_start": "Hosted"})
        await gateway.post()
        counted = route.counters("hosted/openai")
        # 13 fresh, 4 cached, 8 output: (13 * 150000001 + 4 * 75000000 + 8 * 600000000) / 10**6 = 7050.000013
        assert (counted.prompt_tokens, counted.output_tokens) == (17, 8)
        assert counted.cost_nano_usd == route.demand().backends["hosted/openai"].cost_nano_usd_total == 7051

        hosted.script = streams(usage=True)
        await gateway.post(stream=True)
        counted = route.counters("hosted/openai")
        assert (counted.prompt_tokens, counted.output_tokens) == (34, 16)
        assert counted.served == 2


async def test_requests_spread_over_replicas(gateway: GatewayUnderTest) -> None:
    """The least busy replica is used; requests of no conversation take turns while nothing is in flight."""
    async with backend(answers()) as first, backend(answers()) as second:
        gateway.route()
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))
        for _ in range(10):
            await gateway.post(path="/v1/embeddings", input="Hello")

        assert len(first.requests) == len(second.requests) == 5


async def test_a_conversation_stays_at_its_replica(gateway: GatewayUnderTest) -> None:
    """Its prefix is in that one's cache; other conversations go to others."""
    async with backend(answers()) as first, backend(answers()) as second:
        gateway.route()
        gateway.endpoints(first.fact("tiny-0"), second.fact("tiny-1"))
        served: dict[int, set[str]] = {}
        for _ in range(3):
            for number in range(16):
                messages = [{"role": "user", "content": f"Conversation {number}"}]
                answer = await gateway.post(messages=messages)
                served.setdefault(number, set()).add(answer.served_by)

    assert all(len(replicas) == 1 for replicas in served.values())
    assert {"local/tiny-0"} in served.values()
    assert {"local/tiny-1"} in served.values()


async def test_a_client_that_goes_away_stops_the_engine(gateway: GatewayUnderTest) -> None:
    """When nobody wants the answer, the connection to the engine is ended at once."""
    async with backend(streams(3, gate=asyncio.Event())) as engine:
        route = gateway.route()
        gateway.endpoints(engine.fact())
        client = await gateway.client()
        gateway.send(client, stream=True)
        await client.head()
        assert route.in_flight_local == 1

        client.reset()

        await eventually(lambda: route.in_flight_local == 0)
        await eventually(lambda: not engine.wires)


async def test_models_lists_what_the_key_may_call(gateway: GatewayUnderTest) -> None:
    """GET /v1/models lists names and aliases of allowed routes only; one of them can be asked for."""
    gateway.route("a", aliases=["x/y"])
    gateway.route("b")
    gateway.allow("ns/a")
    client = await gateway.client()
    for path in ("/v1/models", "/v1/models/x/y", "/v1/models/x%2Fy", "/v1/models/b"):
        client.send("GET", path, authorization=f"Bearer {KEY}")

    listed = await client.answer()
    one = await client.answer()
    encoded = await client.answer()
    forbidden = await client.answer()

    assert [model["id"] for model in listed.json["data"]] == ["a", "x/y"]
    assert one.json["id"] == encoded.json["id"] == "x/y"
    assert one.json["object"] == "model"
    assert (forbidden.status, forbidden.error["code"]) == (404, "model_not_found")
