"""Lets a backend do a fault and says in the matrix' words what the client saw, what was counted, what was charged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from overspill_gateway.backends.backend import Hosted, Replica
from overspill_gateway.routes.route import Route
from unit.gateway import faults
from unit.gateway.backends import Backend, backend
from unit.gateway.fault_scripts import good
from unit.gateway.faults import Fault, Mode, Setting
from unit.gateway.harness import KEY, WAIT_SECONDS, Answer, GatewayUnderTest, eventually, running_gateway, soon

TIMEOUTS = {"connect_seconds": 0.2, "first_token_seconds": 0.25, "idle_seconds": 0.25, "total_seconds": 1.5}
"""Where waiting is the matter."""
PATIENT = {"connect_seconds": 10, "first_token_seconds": 10, "idle_seconds": 10, "total_seconds": 20}
"""Where it is not: a busy machine must not look like a fault."""
PRICE: dict[str, Any] = {
    "input_nano_usd_per_million": 10**9,
    "output_nano_usd_per_million": 2 * 10**9,
    "price_version": "v1",
}
REPORTED_NANO_USD = 17 * 1000 + 8 * 2000
MAX_TOKENS = 50
IN_FULL_NANO_USD = MAX_TOKENS * 2000
"""What the longest answer costs, the prompt left out."""
LONG = "x" * (1 << 20)

SAMPLE = re.compile(r'(?P<name>\w+)(\{(?P<labels>(\w+="[^"\\]*",?)*)\})? (?P<value>\S+)')
LABEL = re.compile(r'(\w+)="([^"]*)"')

Samples = list[tuple[str, dict[str, str], float]]
"""Metrics by name and labels."""


@dataclass(frozen=True)
class Pool:
    """Who can serve."""

    first: str
    """What has the fault: a replica or a hosted API."""
    other: str = ""
    """What could take over."""

    def __str__(self) -> str:
        return f"a {self.first} and a {self.other}" if self.other else f"a {self.first} alone"


def pools(fault: Fault) -> tuple[Pool, ...]:
    """The pools in which a fault is tried."""
    local = (Pool("replica"), Pool("replica", "replica"), Pool("replica", "hosted API")) if fault.local else ()
    return (*local, Pool("hosted API"), Pool("hosted API", "hosted API")) if fault.hosted else local


@dataclass(frozen=True)
class Observation:
    """What was seen."""

    seen: str
    """By the client."""
    counted: str
    """Kinds of failed attempts at the first backend."""
    tokens: str
    """How the tokens of the first backend were counted."""
    charged: str
    """For the first backend, where it is a hosted API."""

    def __str__(self) -> str:
        return f"{self.seen}; counted: {self.counted or 'nothing'}; tokens: {self.tokens}; charged: {self.charged}"


async def observe(fault: Fault, mode: Mode, pool: Pool, *, together: bool = False, **changes: Any) -> Observation:
    """Let the fault happen once, on a route with these changes; ``together``: as if there were many streams."""
    async with (
        running_gateway(body_bytes_max=16 << 20, stream_interval_seconds=0.002) as gateway,
        backend(fault.script) as first,
        backend(good) as second,
        arranged(fault.setting, first),
    ):
        assert gateway.gateway.stream_reads is not None
        gateway.gateway.stream_reads.together = together
        first.write_pause_seconds = 0.005 if together else 0.0
        waits = fault in faults.TIME or fault.setting in {Setting.REFUSED, Setting.UNREACHABLE}
        timers = {"timeouts": TIMEOUTS if fault in faults.TIME else PATIENT}
        route = set_up(gateway, pool, first, second, timers | changes, hold_seconds=0.5 if waits else 10)
        backends: list[Replica | Hosted] = [*route.replicas.values(), *route.pool.hosted]
        for one in backends:  # to a replica by itself no more than 0.5 s
            waited_for = fault.setting is Setting.UNREACHABLE and one.served_by.endswith("/first")
            one.pool.connect_seconds = float((TIMEOUTS if waited_for else PATIENT)["connect_seconds"])
        answer = await ask_until_touched(gateway, route, fault, mode, first)
        seen = in_words(answer, first, pool)
        await eventually(lambda: nothing_left(gateway, route))
        metrics = await balanced_metrics(gateway)
        name = "hosted/first" if pool.first == "hosted API" else "local"
        return Observation(seen, counted(metrics, name), tokens_of(metrics, name), charged(metrics, name))


@contextlib.asynccontextmanager
async def arranged(setting: Setting, first: Backend) -> AsyncIterator[None]:
    """What stands around a fault's script."""
    first.answers_early = setting is Setting.EARLY
    if setting is Setting.REFUSED:
        first.kill()
        yield
    elif setting is Setting.UNREACHABLE:
        first.kill()
        with full_listener(first.port) as waiting:
            del waiting
            yield
    else:
        yield


@contextlib.contextmanager
def full_listener(port: int) -> Any:
    """A port whose queue of connections is full: nobody refuses, nobody answers."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", port), backlog=0))
        waiting = []
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(listener.getsockname())
            waiting.append(one)
        yield waiting


def set_up(
    gateway: GatewayUnderTest,
    pool: Pool,
    first: Backend,
    second: Backend,
    others: dict[str, Any],
    *,
    hold_seconds: float,
) -> Route:
    """A route with these backends and a budget."""
    hosted = [
        one.hosted(name, **PRICE)
        for one, name, kind in ((first, "first", pool.first), (second, "second", pool.other))
        if kind == "hosted API"
    ]
    changes: dict[str, Any] = {
        "hosted": hosted,
        "retry_attempts": 1,
        "overflow": {"on_cold_start": "Hosted" if hosted else "Hold", "hold_timeout_seconds": hold_seconds},
        "budget": {"limit_nano_usd": 10**12},
    }
    if pool.first == "hosted API":
        changes["local"] = None
    route = gateway.route(**(changes | others))
    facts = [first.fact("first")] if pool.first == "replica" else []
    if pool.other == "replica":
        facts.append(second.fact("second"))
    if facts:
        gateway.endpoints(*facts)
    return route


async def ask_until_touched(
    gateway: GatewayUnderTest, route: Route, fault: Fault, mode: Mode, first: Backend
) -> Answer:
    """Ask until the faulty backend was chosen; the choice between equal replicas is the gateway's."""
    turns_left = 2 if fault.setting is Setting.USED else 1
    for number in range(40):
        answer = await ask(gateway, fault, mode, number)
        failed = any(counters.failures for counters in route.backends.values())
        if failed or len(first.requests) >= turns_left:
            return answer
    raise AssertionError("the faulty backend was never asked")


async def ask(gateway: GatewayUnderTest, fault: Fault, mode: Mode, number: int) -> Answer:
    """One request."""
    text = f"{number} Hello" + (LONG if fault.setting is Setting.EARLY else "")
    prompt: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "max_tokens": MAX_TOKENS}
    if fault.path == "/v1/responses":
        prompt = {"input": text, "max_output_tokens": MAX_TOKENS}
    body = json.dumps({"model": "tiny", "stream": mode is Mode.STREAM} | prompt).encode()
    client = await gateway.client()
    client.send("POST", fault.path, body, authorization=f"Bearer {KEY}", content_type="application/json")
    answer = await asyncio.wait_for(client.answer(), PATIENT["total_seconds"])  # a long body is read by a new process
    client.send("GET", "/v1/models", authorization=f"Bearer {KEY}")
    assert (await soon(client.answer())).status == 200, "the client's connection stays usable"
    return answer


def in_words(answer: Answer, first: Backend, pool: Pool) -> str:
    """What the client saw; fails where the ending is not an honest one."""
    by_first = answer.served_by in {"local/first", "hosted/first"}
    words = ending_in_words(answer)
    if words == faults.ANSWER and not by_first:
        assert pool.other, "there is nobody else"
        assert answer.reason in {"ReplicaFailed", "HostedFailed"}, "the answer says that somebody failed before"
        words = faults.OTHER
    assert not (first.script is good and by_first), "a backend that is not there can't answer"
    return words


def ending_in_words(answer: Answer) -> str:
    """How an answer ended, whoever gave it."""
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        assert answer.whole, "a stream ends with its last chunk, whatever happened"
        return stream_in_words(answer)
    if not answer.whole:
        return faults.CUT
    if answer.status == 200:
        assert answer.json.keys() & {"choices", "output", "content"}, "a 200 is an answer"
        return faults.ANSWER
    if answer.served_by != "none":
        assert b"the backend's own words" in answer.body
        return faults.own(answer.status)
    return f"{answer.status} `{code_of(answer)}`"


def stream_in_words(answer: Answer) -> str:
    """What a stream said; an error and a proper end exclude each other."""
    names = [line for line in answer.body.decode().split("\n\n") if line and not line.startswith(":")]
    datas = [data for block in names for data in block.split("\n") if data.startswith("data: ")]
    assert len(datas) == len(names), "each event is whole"
    done = errors = tokens = marks = 0
    for data in datas:
        assert not errors, "nothing follows an error"
        assert not done, "nothing follows the end"
        if data == "data: [DONE]":
            done += 1
            continue
        document = json.loads(data.removeprefix("data: "))
        marks += "overspill" in document
        kind, is_token = kind_and_token(document)
        tokens += is_token
        errors += kind == "error"
        done += kind == "end"
    if errors:
        return faults.tokens_then_error(tokens)
    assert done, "a stream without a proper end is not passed on as if it were whole"
    assert tokens >= 4, "an answer has all its tokens"
    assert marks <= 1, "only the last chunk is marked"
    return faults.CONTINUED if marks else faults.ANSWER


def kind_and_token(document: dict[str, Any]) -> tuple[str, bool]:
    """Whether an event is an error, an end or neither, and whether it carries a token."""
    kind = document.get("type", "")
    if kind in {"error", "response.failed"} or "error" in document:
        return "error", False
    if kind in {"response.completed", "message_stop"}:
        return "end", False
    choices = document.get("choices") or [{}]
    return "", bool(kind.endswith("delta") and document.get("delta")) or bool(
        choices[0].get("delta", {}).get("content")
    )


def code_of(answer: Answer) -> str:
    """The code of a refusal of ours; Anthropic's shape has only a type."""
    document = answer.json
    assert "error" in document
    if document.get("type") == "error":
        return str(document["error"]["type"])
    return str(answer.error["code"])


def nothing_left(gateway: GatewayUnderTest, route: Route) -> bool:
    """No request, connection or waiting place is left behind."""
    return not len(gateway.gateway.exchanges) and not route.pool.queue and not route.in_flight_local


async def samples(gateway: GatewayUnderTest) -> Samples:
    """What /metrics says."""
    lines = (await gateway.admin("/metrics")).body.decode().splitlines()
    return [sample(line) for line in lines if not line.startswith("#")]


def sample(line: str) -> tuple[str, dict[str, str], float]:
    """One line of /metrics. prometheus_client's parser takes as long as all else that a fault's observation does."""
    match = SAMPLE.fullmatch(line)
    assert match is not None, line
    return match["name"], dict(LABEL.findall(match["labels"] or "")), float(match["value"])


async def balanced_metrics(gateway: GatewayUnderTest) -> Samples:
    """What /metrics says once all is settled: tokens that nobody reported are counted beside the path of requests."""
    loop = asyncio.get_running_loop()
    until = loop.time() + WAIT_SECONDS
    while wrong := books_that_do_not_balance(metrics := await samples(gateway)):
        assert loop.time() < until, wrong
        await asyncio.sleep(0.01)
    return metrics


def books_that_do_not_balance(metrics: Samples) -> list[str]:
    """What must hold when nothing is under way: no money is held, and everybody's books say the same."""

    def total(name: str) -> float:
        return sum(value for metric, _, value in metrics if metric == name)

    cost = total("overspill_cost_nano_usd_total")
    wanted = {
        "overspill_budget_held_nano_usd": 0.0,
        "overspill_holds_outstanding": 0.0,
        "overspill_retries_running": 0.0,
        "overspill_budget_overshoot_nano_usd_total": 0.0,
        "overspill_budget_charged_nano_usd": cost,
        "overspill_consumer_cost_nano_usd_total": cost,
    }
    names = {metric for metric, _, _ in metrics}
    missing = [f"{name} is not there" for name in wanted if name not in names and wanted[name]]
    return missing + [
        f"{name} is {total(name):.0f}, not {value:.0f}" for name, value in wanted.items() if total(name) != value
    ]


def counted(metrics: Samples, name: str) -> str:
    """Kinds of failed attempts at a backend."""
    found = {
        labels["kind"]
        for metric, labels, value in metrics
        if metric == "overspill_attempt_failures_total" and labels["backend"] == name and value
    }
    return ", ".join(sorted(found))


def tokens_of(metrics: Samples, name: str) -> str:
    """Who counted the tokens of a backend."""
    found = {
        labels["usage_source"]
        for metric, labels, value in metrics
        if metric == "overspill_tokens_total" and labels["backend"] == name and value
    }
    return ", ".join(sorted(found))


def charged(metrics: Samples, name: str) -> str:
    """What a hosted API's calls were charged."""
    cost = sum(
        value
        for metric, labels, value in metrics
        if metric == "overspill_cost_nano_usd_total" and labels["backend"] == name
    )
    if not cost:
        return faults.NOTHING
    if cost in {REPORTED_NANO_USD, 2 * REPORTED_NANO_USD}:
        return faults.REPORTED
    return faults.IN_FULL if cost >= IN_FULL_NANO_USD else faults.ESTIMATED


async def observe_all(fault: Fault, mode: Mode, **changes: Any) -> dict[Pool, Observation]:
    """The fault in all pools, side by side."""
    tried = pools(fault)
    seen = await asyncio.gather(*(observe(fault, mode, pool, **changes) for pool in tried))
    return dict(zip(tried, seen, strict=True))
