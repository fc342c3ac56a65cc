"""The admin port: health, readiness, metrics, and the stream of demand that wakes pools."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from overspill_api.demand import DEMAND_VERSION, REFUSAL_REASONS, GatewayDemand
from overspill_api.demand_metrics import Gathered
from overspill_gateway.admin import demand as demand_module
from overspill_gateway.core.admission.plan import Refusal
from unit.demand_version_1 import OldLine
from unit.gateway.backends import USAGE, answers, backend, resets_before_head, streams
from unit.gateway.harness import Client, GatewayUnderTest, eventually, soon

HISTOGRAMS = ("first_token", "first_token_since_sent", "inter_token")


class Reader:
    """Reads the stream of demand as the operator does."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def line(self) -> GatewayDemand:
        """The next line."""
        return GatewayDemand.model_validate_json(await soon(self.client.chunk()))


@pytest.fixture
async def reader(gateway: GatewayUnderTest) -> AsyncIterator[Reader]:
    """A reader that has not read its first line yet."""
    client = await Client.connect(gateway.gateway.admin_port)
    client.send("GET", "/demand")
    assert (await client.head())[0] == 200
    yield Reader(client)
    client.close()


async def test_the_first_line_holds_every_route(gateway: GatewayUnderTest, reader: Reader) -> None:
    """A reader begins with the whole picture."""
    assert (await reader.line()).routes == ()
    gateway.route("a")
    gateway.route("b")
    client = await Client.connect(gateway.gateway.admin_port)
    client.send("GET", "/demand")
    await client.head()

    first = await Reader(client).line()
    client.close()

    assert [route.route for route in first.routes] == ["ns/a", "ns/b"]
    assert first.gateway.startswith("gateway-0/")
    assert first.sends_engine_keys  # so that engines may ask for their keys


async def test_a_first_request_at_zero_is_told_at_once(gateway: GatewayUnderTest, reader: Reader) -> None:
    """The line that wakes the pool does not wait for the coalescing second."""
    gateway.route()
    await reader.line()
    loop = asyncio.get_running_loop()
    client = await gateway.client()
    began = loop.time()
    gateway.send(client)
    line = await reader.line()
    took = loop.time() - began

    assert [(one.route, one.wants_replica, one.held) for one in line.routes] == [("ns/tiny", True, 1)]
    assert took < 0.5, "coalescing takes a second"


async def test_a_replica_that_dies_is_wanted_again_at_once(gateway: GatewayUnderTest, reader: Reader) -> None:
    """When the last replica vanishes under a request, the operator hears of it with that request."""
    async with backend(resets_before_head) as engine, backend(answers()) as hosted:
        engine.health = 503
        gateway.route(hosted=[hosted.hosted()])
        gateway.endpoints(engine.fact())
        await gateway.post()

        wanted = False
        while not wanted:
            wanted = any(route.wants_replica for route in (await reader.line()).routes)


async def test_changes_are_coalesced_and_quiet_streams_beat(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many requests make one line; a quiet stream says so."""
    monkeypatch.setattr(demand_module, "COALESCE_SECONDS", 0.2)
    monkeypatch.setattr(demand_module, "HEARTBEAT_SECONDS", 0.5)
    async with backend(answers()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        client = await Client.connect(gateway.gateway.admin_port)
        client.send("GET", "/demand")
        await client.head()
        reader = Reader(client)
        await reader.line()
        for _ in range(5):
            await gateway.post()

        lines = [await reader.line() for _ in range(2)]
        client.close()

    assert len(lines[0].routes) == 1
    assert lines[0].routes[0].backends["local"].served_total == 5
    assert lines[1].routes == ()


async def test_a_reader_that_leaves_costs_nothing(gateway: GatewayUnderTest, reader: Reader) -> None:
    """When the last reader has gone, nothing is gathered and no timer runs."""
    gateway.route()
    assert gateway.gateway.hub.readers == 1
    reader.client.close()
    await eventually(lambda: gateway.gateway.hub.readers == 0)

    gateway.route("b")

    assert not gateway.gateway.hub.is_gathering


async def test_a_slow_reader_misses_nothing(gateway: GatewayUnderTest, reader: Reader) -> None:
    """A reader that takes nothing for a while keeps its stream; what has changed meanwhile comes when it reads."""
    gateway.route("a")
    gateway.route("b")
    await reader.line()
    stream = next(iter(gateway.gateway.hub.streams))

    stream.client_slow()
    gateway.send(await gateway.client(), "b")
    await eventually(lambda: "ns/b" in (stream.behind or {}))
    stream.client_ready()
    line = await reader.line()

    assert "ns/b" in [route.route for route in line.routes]
    assert stream.behind is None


async def test_many_routes_fit_the_first_line(gateway: GatewayUnderTest) -> None:
    """A first line far longer than a buffer arrives whole."""
    for number in range(2000):
        gateway.route(f"route-{number}")
    client = await Client.connect(gateway.gateway.admin_port)
    client.send("GET", "/demand")
    await client.head()

    line = await Reader(client).line()
    client.close()

    assert len(line.routes) == 2000


async def test_ready_once_everything_was_read(gateway: GatewayUnderTest) -> None:
    """/readyz says what is missing; /healthz is fine all the while."""
    gateway.source.absent = "secrets have not been listed"
    assert (await gateway.admin("/healthz")).status == 200
    before = await gateway.admin("/readyz")
    gateway.source.absent = None
    after = await gateway.admin("/readyz")

    assert (before.status, before.body) == (503, b"not ready: secrets have not been listed\n")
    assert after.status == 200


async def test_metrics_count_what_happened(gateway: GatewayUnderTest) -> None:
    """Requests by route, backend and status class, failures by kind, tokens, latency buckets that add up."""
    async with backend(answers()) as engine, backend(answers(status=429)) as busy:
        gateway.route(hosted=[busy.hosted("busy")], retry_attempts=1)
        gateway.endpoints(engine.fact())
        await gateway.post()
        engine.script = resets_before_head
        await gateway.post()

    text = (await gateway.admin("/metrics")).body.decode()

    def value(line: str) -> float:
        return next(float(one.rpartition(" ")[2]) for one in text.splitlines() if one.startswith(line + " "))

    assert value('overspill_requests_total{backend="local",route="ns/tiny",status_class="2xx"}') == 1
    assert value('overspill_requests_total{backend="hosted/busy",route="ns/tiny",status_class="4xx"}') == 1
    assert value('overspill_attempt_failures_total{backend="local",kind="reset",route="ns/tiny"}') == 1
    assert (
        value('overspill_tokens_total{backend="local",route="ns/tiny",token_type="output",usage_source="reported"}')
        == 8
    )
    assert value('overspill_time_to_first_byte_seconds_bucket{backend="local",le="+Inf",route="ns/tiny"}') == 1
    assert value('overspill_spilled_requests_total{route="ns/tiny"}') == 1


async def test_predictions_are_compared_with_what_came(gateway: GatewayUnderTest) -> None:
    """Each first token that was predicted is counted by what came over what was predicted; the first one never is."""
    async with backend(streams()) as engine:
        gateway.route()
        gateway.endpoints(engine.fact())
        for _ in range(3):
            await gateway.post(stream=True)

    text = (await gateway.admin("/metrics")).body.decode()
    ratio = [line for line in text.splitlines() if line.startswith("overspill_first_token_ratio_")]
    buckets = [float(line.rpartition(" ")[2]) for line in ratio if "_bucket" in line]

    assert 'overspill_first_token_ratio_count{route="ns/tiny"} 2.0' in ratio
    assert buckets == sorted(buckets)
    assert buckets[-1] == 2.0
    assert any('le="0.67"' in line for line in ratio)
    assert 'overspill_endpoints_slow{route="ns/tiny"} 0.0' in text


async def test_the_admin_port_serves_nothing_else(gateway: GatewayUnderTest) -> None:
    """No route of the API is reachable here, and no admin path on the API's port."""
    assert (await gateway.admin("/v1/models")).status == 404
    client = await gateway.client()
    client.send("GET", "/metrics")
    assert (await client.answer()).status == 404


async def test_a_route_that_is_made_again_brings_nothing_of_the_former(gateway: GatewayUnderTest) -> None:
    """Another object under the same name: neither its wish nor its counters are the old one's, and the line says so."""
    former = gateway.route(uid="first")
    former.arrived()
    former.pool.lacks_replica(0.0)
    assert (former.demand().uid, former.demand().wants_replica) == ("first", True)
    gateway.route(uid="second")

    client = await Client.connect(gateway.gateway.admin_port)
    client.send("GET", "/demand")
    await client.head()
    (route,) = (await Reader(client).line()).routes
    client.close()

    assert (route.uid, route.wants_replica, route.backends) == ("second", False, {})
    assert route.last_arrival_unix_seconds is None


async def test_a_line_says_how_long_things_took_by_kind_of_backend(gateway: GatewayUnderTest) -> None:
    """Streams at a replica, and one that a hosted API did in its place, with tokens; refusals by reason."""
    async with backend(streams(usage=True)) as engine, backend(streams(usage=True)) as api:
        price: dict[str, Any] = {"input_nano_usd_per_million": 10**9, "output_nano_usd_per_million": 2 * 10**9}
        gateway.route(hosted=[api.hosted(**price)], overflow={"on_cold_start": "Hosted"})
        await gateway.post(stream=True)
        gateway.endpoints(engine.fact())
        for _ in range(2):
            await gateway.post(stream=True)
        await gateway.post()
    gateway.route("off", local=None, hosted=[])
    await gateway.post("off")

    content = await first_line(gateway)
    line = json.loads(content)

    assert line["version"] == 2
    assert line["uptime_seconds"] > 0
    busy, off = line["routes"]
    assert (busy["arrivals_total"], off["arrivals_total"]) == (4, 1)
    assert off["refused_total"] == {"NotAvailable": 1}
    local, hosted = busy["work"]["local"], busy["work"]["hosted"]
    assert (local["answers_total"], hosted["answers_total"]) == (3, 1)
    counted = [sum(work[name]["counts"].values()) for work in (local, hosted) for name in HISTOGRAMS]
    assert counted == [2, 2, 2, 1, 1, 1], "a plain answer has no first token that is seen"
    tokens = USAGE["prompt_tokens"], USAGE["completion_tokens"]
    assert (hosted["prompt_tokens_total"], hosted["output_tokens_total"]) == tokens
    spilled = busy["spilled"]
    assert (spilled["requests_total"], spilled["prompt_tokens_total"], spilled["output_tokens_total"]) == (1, *tokens)
    assert spilled["cost_nano_usd_total"] == busy["backends"]["hosted/openai"]["cost_nano_usd_total"] > 0
    assert spilled["request_seconds_total"] == hosted["request_seconds_total"] > 0
    before = OldLine.model_validate_json(content).routes[0]
    assert {name: one.served_total for name, one in before.backends.items()} == {"hosted/openai": 1, "local": 3}
    assert before.last_arrival_unix_seconds is not None, "an operator of before knows what it knew"


async def test_the_reasons_of_refusals_are_those_of_the_contract() -> None:
    """A reason that it does not know would be none to the operator."""
    assert {why.value for why in Refusal} | {"OutputUnchecked", "ShuttingDown"} == set(REFUSAL_REASONS)


async def test_a_line_has_the_gauges_of_engines(gateway: GatewayUnderTest) -> None:
    """With their age, as long as they say something; and how often an engine was asked in vain."""
    async with backend(answers()) as engine, backend(answers()) as silent, backend(answers()) as new:
        route = gateway.route()
        gateway.endpoints(engine.fact("a"), silent.fact("b"), new.fact("c"))
        read, missed, _ = route.replicas.values()
        now = asyncio.get_running_loop().time()
        read.load.scraped(now - 2.0, 5, 3, 0.25)
        missed.load.scraped(now - 3600.0, 1, 1, 0.1)
        missed.load.missed = 4

        first, second = json.loads(await first_line(gateway))["routes"][0]["engines"]

    age = first.pop("age_seconds")
    assert 2.0 <= age < 10.0
    assert first == {"served_by": "local/a", "running": 5, "waiting": 3, "kv_cache_usage": 0.25}
    assert second == {"served_by": "local/b", "missed": 4}


async def first_line(gateway: GatewayUnderTest) -> bytes:
    """What a new reader is told first."""
    client = await Client.connect(gateway.gateway.admin_port)
    client.send("GET", "/demand")
    await client.head()
    line: bytes = await soon(client.chunk())
    client.close()
    return line


async def test_demand_is_shown_as_metrics(gateway: GatewayUnderTest) -> None:
    """Every line of the page is one that Prometheus reads, and together they are what the stream says."""
    async with backend(streams(usage=True)) as engine:
        gateway.route(uid="u1")
        gateway.endpoints(engine.fact())
        await gateway.post(stream=True)

    answer = await gateway.admin("/metrics/demand")
    told = Gathered()
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            told.take(sample.name, sample.labels, sample.value)
    line = GatewayDemand.model_validate(told.line())

    (route,) = line.routes
    assert (line.gateway, line.version) == (gateway.gateway.hub.gateway, DEMAND_VERSION)
    assert route.model_copy(update={"engines": ()}) == (
        gateway.gateway.catalog.routes["ns/tiny"].demand().model_copy(update={"engines": (), "backends": {}})
    )
