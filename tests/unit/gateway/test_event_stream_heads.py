"""The heads of event streams: no proxy on the way may gather their events, whoever made them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from overspill_gateway.core.http.forwarding import to_client
from unit.gateway.backends import Backend, Received, Wire, backend, event, streams
from unit.gateway.harness import GatewayUnderTest


@pytest.fixture
async def provider() -> AsyncIterator[Backend]:
    """Something that streams."""
    async with backend(streams(2)) as made:
        yield made


@pytest.mark.parametrize(
    ("hosted", "path"), [(False, "/v1/chat/completions"), (True, "/v1/chat/completions"), (True, "/v1/messages")]
)
async def test_streams_of_replicas_of_hosted_apis_and_translated_ones(
    gateway: GatewayUnderTest, provider: Backend, *, hosted: bool, path: str
) -> None:
    """nginx gathers events for as long as it has room, unless it is told not to."""
    if hosted:
        gateway.route(local=None, hosted=[provider.hosted()])
    else:
        gateway.route()
        gateway.endpoints(provider.fact())

    answer = await gateway.post(path=path, stream=True, max_tokens=5)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"


async def test_a_stream_that_ends_with_an_error(gateway: GatewayUnderTest, provider: Backend) -> None:
    """The error of one that has begun is to be seen at once as well; what the backend says of buffering is its own."""

    async def breaks(received: Received, wire: Wire) -> None:  # noqa: ARG001
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nX-Accel-Buffering: yes\r\n"
        await wire.write(head + b"transfer-encoding: chunked\r\n\r\n")
        await wire.chunk(event(0))
        wire.reset()

    provider.script = breaks
    gateway.route()
    gateway.endpoints(provider.fact())

    answer = await gateway.post(stream=True)

    assert b'"error"' in answer.body
    assert answer.headers["x-accel-buffering"] == "no"


def test_plain_answers_may_be_gathered() -> None:
    """The field is for streams alone."""
    assert b"x-accel" not in to_client([(b"content-type", b"application/json"), (b"x-accel-buffering", b"no")]).lines
