"""What an API server answers, as its client reads it: what is no answer is a failure of that call, and of nothing else.

Sockets, TLS and credentials are aiohttp's and the ``kubernetes`` package's.
"""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kubernetes.aio import client

from overspill_operator.adapters.api_server import ApiServer
from overspill_operator.ports import ClusterError, WatchEvent
from unit.operator_.virtual_clock import VirtualClock

PATH = "/api/v1/namespaces/chat/services"


class Answering:
    """Of the package's client what is used of it: it answers every call with the same bytes."""

    def __init__(self, content: bytes) -> None:
        self.configuration = SimpleNamespace(host="http://api")
        self.rest_client = self
        self._content = content

    async def update_params_for_auth(self, *_arguments: Any) -> None:
        """No credentials."""

    async def request(self, *_arguments: Any, **_options: Any) -> SimpleNamespace:
        """What was given."""
        lines = self._content.splitlines(keepends=True)

        async def content() -> AsyncIterator[bytes]:
            for line in lines:
                yield line

        async def read() -> bytes:
            return self._content

        return SimpleNamespace(
            response=SimpleNamespace(status=200, content=content(), read=read, close=lambda: None),
        )


def answering(content: bytes, clock: VirtualClock) -> ApiServer:
    """A client of an API server that answers so."""
    return ApiServer(cast(client.ApiClient, Answering(content)), clock, lambda: 1.0)


@pytest.mark.parametrize(
    "content",
    [
        b"<html>502</html>",
        b"[]",
        b"{}",
        b'{"metadata":null}',
        b'{"metadata":{"resourceVersion":""},"items":[]}',
        b'{"metadata":{"resourceVersion":"5"},"items":[{}]}',
        b'{"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"resourceVersion":"4"}}]}',
        b'{"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"name":"a"}}]}',
        b'{"metadata":{"resourceVersion":"5"},"items":["a"]}',
    ],
)
async def test_a_list_that_is_none_is_a_failed_call(content: bytes, clock: VirtualClock) -> None:
    """One without a version among them: it would be listed again at once, for ever."""
    with pytest.raises(ClusterError):
        await answering(content, clock).list(PATH)


@pytest.mark.parametrize(
    "line",
    [
        b"<html>",
        b"3",
        b"{}",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":null}',
        b'{"type":"ADDED","object":{"kind":"Service"}}',
        b'{"type":"MODIFIED","object":{"metadata":{"resourceVersion":"6"}}}',
        b'{"type":"DELETED","object":{"metadata":{"name":"a"}}}',
        b'{"type":"BOOKMARK","object":{"metadata":{}}}',
        b'{"type":"ERROR","object":{"code":"gone"}}',
        b'{"type":"ERROR","object":{"code":410}}',
    ],
)
async def test_what_is_no_event_ends_the_watch_as_a_failed_call(line: bytes, clock: VirtualClock) -> None:
    """What was told before counts."""
    good = b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"6","managedFields":[]}}}\n'
    watch = answering(good + line + b"\n", clock).watch(PATH, resource_version="5")
    told = [await anext(watch)]
    with pytest.raises(ClusterError):
        await anext(watch)
    assert told == [WatchEvent("ADDED", {"metadata": {"name": "a", "resourceVersion": "6"}})]
