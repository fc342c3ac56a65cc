"""A client that waits: what it hears meanwhile. Not here: until when it waits (``core.flow.request_flow``)."""

import math
from typing import TYPE_CHECKING, Final

from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.proxy.early_stream import EarlyStream

if TYPE_CHECKING:
    from overspill_gateway.proxy.request_context import RequestContext
    from overspill_gateway.wire.server import ServerConnection

HEARTBEAT_SECONDS: Final = 15.0
"""Between two comments to a client that waits for a stream, as the standard of server-sent events advises. Proxies cut
silent connections after 30 s and more, and until the first comment a refusal still has its own status."""


class Wait:
    """How a client that waits is kept from giving up."""

    __slots__ = ("heartbeat_at", "opening")

    def __init__(self, call: "RequestContext", now: float) -> None:
        self.opening: EarlyStream | None = None
        """Of a stream that has had to wait: where heartbeats go."""
        self.heartbeat_at = math.inf
        if call.facts.stream:
            self.opening = EarlyStream(call.client, call.endpoint.dialect, call.request_id)
            self.heartbeat_at = now + HEARTBEAT_SECONDS

    def heartbeat(self, now: float, *, waits: bool) -> None:
        """Say something to a client that waits for a stream; from then on even an error comes inside the stream."""
        self.heartbeat_at = now + HEARTBEAT_SECONDS
        opening = self.opening
        if opening is not None and (opening.begun or waits):
            opening.heartbeat()


def tell_refusal(client: "ServerConnection", wait: Wait | None, error: ApiError, lines: bytes) -> None:
    """Refuse a request of which nothing was answered, inside the stream where heartbeats have begun it."""
    if wait is not None and wait.opening is not None:
        wait.opening.refuse(error, lines)
    else:
        client.refuse(error, lines)
