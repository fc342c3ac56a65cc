"""Why a backend fails, as the operator and the log hear of it: told once, in the provider's words, and taken back."""

from __future__ import annotations

import json
import logging
from functools import partial
from operator import not_

import pytest

from overspill_api.demand import BackendProblem
from overspill_gateway.backends import problems
from overspill_gateway.backends.problems import BackendProblems
from overspill_gateway.clock import Clock
from overspill_gateway.core.backends.outcome import ConnectFault, FailureKind
from overspill_gateway.routes.route import Route
from unit.gateway.backends import Received, Wire, answers, backend, breaks_off_stream, plain_head, streams, then
from unit.gateway.harness import GatewayUnderTest, eventually

SECRET = "sk-openai"


def refuses(status: int, body: bytes) -> object:
    """A script that answers with a status and this body."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(plain_head(status, len(body)))
        await wire.write(body)

    return script


def told(route: Route, name: str = "hosted/openai") -> BackendProblem | None:
    """What the operator would hear of a backend now."""
    return route.demand().backends[name].problem


async def test_refused_credentials_in_the_providers_words(gateway: GatewayUnderTest) -> None:
    """The client gets our own error; the words, read after the request was given up, have no key in them."""
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {SECRET}.", "code": "invalid"}}).encode()
    async with backend(refuses(401, body)) as api:  # type: ignore[arg-type]
        route = gateway.route(local=None, hosted=[api.hosted()])
        assert (await gateway.post()).status == 502
        await eventually(lambda: "Incorrect" in (told(route) or BackendProblem(reason="x")).message)
        problem = told(route)
        assert problem is not None
        assert (problem.reason, problem.message) == (
            "CredentialsRefused", "it answered 401: Incorrect API key provided: [left out].",
        )  # fmt: skip
        assert problem.failures == 1
        await gateway.post()
        await eventually(lambda: (told(route) or problem).failures == 2)
        assert (told(route) or problem).since_unix_seconds == problem.since_unix_seconds
        assert api.connections == 1, "a refusal that was read leaves its connection usable"

        api.script = answers()
        assert (await gateway.post()).status == 200
        assert told(route) is None


async def test_a_new_key_is_used_at_once_and_begins_without_a_record(gateway: GatewayUnderTest) -> None:
    """What was refused before says nothing of it, and what still comes of the old one neither."""

    async def by_key(received: Received, wire: Wire) -> None:
        good = received.headers.get("authorization") == "Bearer sk-new"
        await (answers() if good else answers("no", status=401))(received, wire)

    async with backend(by_key) as api:
        route = gateway.route(local=None, hosted=[api.hosted()])
        await gateway.post()
        old = route.pool.hosted[0]
        assert told(route) is not None
        gateway.route(local=None, hosted=[api.hosted(api_key="sk-new")])
        assert told(route) is None
        old.problems.failed(FailureKind.CREDENTIALS, "it answered 401", status=401)
        assert told(route) is None
        assert (await gateway.post()).status == 200

        gateway.route(local=None, hosted=[api.hosted(api_key="sk-old", limits={"concurrency": 1})])
        await gateway.post()
        gateway.route(local=None, hosted=[api.hosted(api_key="sk-old", limits={"concurrency": 2})])
        assert told(route) is not None, "another limit mends no key"


@pytest.mark.parametrize(
    ("url", "reason", "words"),
    [
        ("http://127.0.0.1:1/v1", "Unreachable", "Connection refused"),
        ("http://no-such-name.invalid/v1", "NameNotResolved", "the name no-such-name.invalid is not resolved"),
    ],
)
async def test_what_is_not_reached(gateway: GatewayUnderTest, url: str, reason: str, words: str) -> None:
    """In the system's words."""
    route = gateway.route(local=None, hosted=[{"name": "openai", "base_url": url, "model": "m"}])
    await gateway.post()
    problem = told(route)
    assert problem is not None
    assert problem.reason == reason
    assert words in problem.message


async def test_a_model_that_is_not_there(gateway: GatewayUnderTest) -> None:
    """Whether or not its refusal goes to the client."""
    body = b'{"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}'
    async with backend(refuses(404, body)) as api:  # type: ignore[arg-type]
        route = gateway.route(local=None, hosted=[api.hosted()])
        await gateway.post()
        await eventually(lambda: told(route) is not None)
        await eventually(lambda: (told(route) or BackendProblem(reason="x")).reason == "ModelNotFound")


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_client_never_sees_the_key_that_was_sent(gateway: GatewayUnderTest, status: int, path: str) -> None:
    """Debugging proxies echo what they get, in bodies, in header fields and in errors inside a 200."""

    async def echoes(received: Received, wire: Wire) -> None:
        sent = received.headers["authorization"]
        body = json.dumps({"error": {"message": f"You sent {sent}", "type": "t"}}).encode()
        answered = 200 if streaming else status
        await wire.write(plain_head(answered, len(body), x_echo=sent, x_other="stays") + body)

    async with backend(echoes) as api:
        gateway.route(local=None, hosted=[api.hosted()], retry_attempts=0)
        for streaming in (False, True):
            answer = await gateway.post(path=path, max_tokens=5, stream=streaming)
            assert answer.status >= 400
            assert SECRET.encode() not in answer.body
            assert "You sent" in answer.body.decode()
            assert not [value for value in answer.headers.values() if SECRET in value]
            assert streaming or answer.headers["x-other"] == "stays"


async def test_a_bad_request_is_nobodys_problem(gateway: GatewayUnderTest) -> None:
    """It neither makes one nor takes one back."""
    async with backend(answers("no", status=400)) as api:
        route = gateway.route(local=None, hosted=[api.hosted()])
        assert (await gateway.post()).status == 400
        assert told(route) is None
        api.script = answers("no", status=503)
        await gateway.post()
        api.script = answers("no", status=400)
        await gateway.post()
        assert (told(route) or BackendProblem(reason="none")).reason == "Failing"


async def test_replicas_have_one_together(gateway: GatewayUnderTest) -> None:
    """A replica that breaks off is told for the engine, and taken back by the next answer of any."""
    async with backend(then(breaks_off_stream, streams(2))) as engine:
        route = gateway.route()
        gateway.endpoints(engine.fact())
        await gateway.post(stream=True)
        assert (told(route, "local") or BackendProblem(reason="none")).reason == "Failing"
        await gateway.post(stream=True)
        assert told(route, "local") is None


@pytest.mark.interpreted  # it changes a constant
async def test_a_refusal_without_end_is_not_waited_for(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that is long nor one that stops: its connection is closed, what came is told."""
    monkeypatch.setattr("overspill_gateway.backends.last_words.READ_SECONDS", 0.05)

    async def slow(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(plain_head(401, 1000) + b'{"error": "too many"')
        await wire.gone.wait()

    async def endless(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(plain_head(401, 10_000_000) + b"x" * 300_000)
        await wire.gone.wait()

    for script in (slow, endless):
        async with backend(script) as api:
            route = gateway.route(local=None, hosted=[api.hosted()], retry_attempts=0)
            await gateway.post()
            await eventually(partial(not_, api.wires))
            assert (told(route) or BackendProblem(reason="none")).reason == "CredentialsRefused"


class Log:
    """A backend's record and what the log says of it."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 1000.0
        self.caplog = caplog
        self.record = BackendProblems("ns/r", "hosted/a", (SECRET,), lambda: None, Clock(lambda: self.now))

    def lines(self) -> list[tuple[str, int]]:
        """Messages with the failures that they count."""
        return [(line.message, line.__dict__["failures"]) for line in self.caplog.records]

    def fails(self, times: int = 1) -> None:
        """An unavailable service."""
        for _ in range(times):
            self.record.failed(FailureKind.STATUS, "it answered 503", status=503)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    """At INFO."""
    caplog.set_level(logging.INFO)
    return Log(caplog)


@pytest.mark.interpreted
def test_the_log_tells_it_once_each_with_counts(log: Log) -> None:
    """Not for each request, and not for one failure that passes."""
    log.fails(2)
    log.record.answered()
    assert log.lines() == []
    log.fails(500)
    log.record.answered()
    log.record.answered()
    assert log.lines() == [("a backend fails", 3), ("a backend answers again", 500)]


@pytest.mark.interpreted
def test_a_backend_that_flutters_is_told_once_a_minute(log: Log) -> None:
    """However often it comes and goes; what was left out is counted."""
    for _ in range(20):
        log.fails(5)
        log.record.answered()
    assert len(log.lines()) == 2
    log.now += problems.LOG_SECONDS
    log.fails(5)
    assert len(log.lines()) == 3
    assert log.caplog.records[-1].__dict__["failures_total"] == 103


@pytest.mark.interpreted
def test_what_does_not_pass_by_itself_is_told_at_once(log: Log) -> None:
    """A name, a certificate, a key, a model."""
    log.record.failed(FailureKind.CONNECT, f"no such name {SECRET}", fault=ConnectFault.NAME)
    assert log.lines() == [("a backend fails", 1)]
    assert SECRET not in log.caplog.records[0].__dict__["said"]
