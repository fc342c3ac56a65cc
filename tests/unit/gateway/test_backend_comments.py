"""Comments of a backend before its first token: signs that it works, but no token, for whoever waits for one."""

from __future__ import annotations

import asyncio

import pytest

from overspill_gateway.routes.route import Route
from unit.gateway.backends import Backend, Received, Script, Wire, backend, event, stream_head, streams
from unit.gateway.harness import GatewayUnderTest

COMMENTS = {
    "a comment": b": keep-alive\n\n",
    "words of a provider": b": OPENROUTER PROCESSING\n\n",
    "a comment without a space": b":\n\n",
    "line ends of another system": b": ping\r\n\r\n",
    "a comment that no empty line ends": b": still working\n",
    "an event without data": b"event: ping\n\n",
}
PAUSE_SECONDS = 0.02
"""Between two comments: a fifth of the first token's time, so that each would put it off if it counted."""
TIMEOUTS = {"first_token_seconds": 0.1, "idle_seconds": 0.1}
PLACES = ("a replica", "a hosted API")


def comments_for_ever(comment: bytes, count: list[int]) -> Script:
    """Begin a stream and say nothing in it but comments, until the gateway gives up; ``count`` notes how many."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(stream_head())
        while not wire.gone.is_set():
            await wire.chunk(comment)
            count[0] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    return script


def comments_then_tokens(comment: bytes, comments: int) -> Script:
    """Some comments in time, then a whole stream; comments stand between its tokens as well."""

    async def script(received: Received, wire: Wire) -> None:  # noqa: ARG001
        await wire.write(stream_head())
        for _ in range(comments):
            await wire.chunk(comment)
        for data in (event(0), comment, event(1), b"data: [DONE]\n\n"):
            await wire.chunk(data)
        await wire.write(b"0\r\n\r\n")

    return script


def first_asked(
    gateway: GatewayUnderTest, place: str, first: Backend, second: Backend, **timeouts: float
) -> tuple[Route, str, str]:
    """A route that asks ``first`` first, what that is called there, and why the second would answer."""
    if place == "a replica":
        route = gateway.route(hosted=[second.hosted("second")], timeouts=timeouts)
        gateway.endpoints(first.fact())
        return route, "local", "ReplicaFailed"
    hosted = [first.hosted("first"), second.hosted("second")]
    route = gateway.route(local=None, hosted=hosted, overflow={"on_cold_start": "Hosted"}, timeouts=timeouts)
    return route, "hosted/first", "HostedFailed"


@pytest.mark.parametrize("comment", COMMENTS)
@pytest.mark.parametrize("place", PLACES)
async def test_comments_do_not_put_off_the_first_tokens_time(
    gateway: GatewayUnderTest, place: str, comment: str
) -> None:
    """However often it says that it works: without a token it is too late, and the next backend answers."""
    said = [0]
    async with backend(comments_for_ever(COMMENTS[comment], said)) as busy, backend(streams(2)) as good:
        route, name, reason = first_asked(gateway, place, busy, good, **TIMEOUTS)

        answer = await gateway.post(stream=True)

    assert said[0] > 1  # given: it did say so, more than once
    assert (answer.status, answer.served_by, answer.reason) == (200, "hosted/second", reason)
    assert answer.body == event(0) + event(1) + b"data: [DONE]\n\n"  # nothing of the first one's
    assert route.counters(name).failures == {"timeout": 1}


@pytest.mark.parametrize("place", PLACES)
async def test_comments_with_nobody_else_to_ask_end_in_an_error(gateway: GatewayUnderTest, place: str) -> None:
    """The client hears how long was waited, with a status of its own: nothing of an answer had begun."""
    said = [0]
    async with backend(comments_for_ever(b": keep-alive\n\n", said)) as busy:
        if place == "a replica":
            gateway.route(timeouts=TIMEOUTS)
            gateway.endpoints(busy.fact())
        else:
            hosted = [busy.hosted("first")]
            gateway.route(local=None, hosted=hosted, overflow={"on_cold_start": "Hosted"}, timeouts=TIMEOUTS)

        answer = await gateway.post(stream=True)

    assert said[0] > 1
    assert answer.status == 504
    assert "no first token within 0.1 s" in answer.error["message"]


@pytest.mark.parametrize("place", PLACES)
async def test_comments_before_the_first_token_are_dropped_and_pass_after_it(
    gateway: GatewayUnderTest, place: str
) -> None:
    """More of them than events are held back begin no answer; from the first token on they are the client's."""
    comment = b": keep-alive\n\n"
    async with backend(comments_then_tokens(comment, 100)) as first, backend(streams(1)) as second:
        route, name, _ = first_asked(gateway, place, first, second)

        answer = await gateway.post(stream=True)

    assert answer.body == event(0) + comment + event(1) + b"data: [DONE]\n\n"
    assert not second.requests
    assert sum(route.counters(name).first_byte.counts) == 1
    assert not route.counters(name).failures
