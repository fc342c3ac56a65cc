"""The beginning of a streamed answer that no backend has given yet: heartbeats while the request waits.

Proxies cut connections on which nothing moves for a minute. So a client that reads events gets the head of its
answer early, and comments from then on, which every client of server-sent events skips. The price: the status is
200 whatever comes; what goes wrong afterwards is told inside the stream. Not here: when a heartbeat is due.
"""

from typing import TYPE_CHECKING, Final

from overspill_gateway.core.dialects.endpoints import Dialect
from overspill_gateway.core.dialects.error_events import stream_error
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.http.forwarding import UNBUFFERED_LINE

if TYPE_CHECKING:
    from overspill_gateway.wire.server import ServerConnection

KEEP_ALIVE: Final = b": keep-alive\n\n"
_STREAM_LINES: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n" + UNBUFFERED_LINE
)


class EarlyStream:
    """What one streamed answer begins with; one for each request that asks for a stream."""

    __slots__ = ("_client", "_dialect", "_request_id", "begun")

    def __init__(self, client: "ServerConnection", dialect: Dialect, request_id: bytes) -> None:
        self.begun = False
        """Whether the head of a stream has gone to the client: from then on errors are events."""
        self._client = client
        self._dialect = dialect
        self._request_id = request_id

    def heartbeat(self) -> None:
        """Let the client, and every proxy on the way, see that the request is alive."""
        client = self._client
        if not self.begun:
            self.begun = True
            client.send_head(200, b"%bx-request-id: %b\r\n" % (_STREAM_LINES, self._request_id), None)
        client.send(KEEP_ALIVE)
        client.flush()

    def tell(self, lines: bytes) -> None:
        """Header lines that came too late for the head, as comments."""
        comments = b"".join([b": %b\n" % line for line in lines.split(b"\r\n") if line and not _is_request_id(line)])
        self._client.send(comments + b"\n")

    def refuse(self, error: ApiError, lines: bytes) -> None:
        """End the request with an error: as an answer of its own, or inside the stream that has begun."""
        client = self._client
        if not self.begun:
            client.refuse(error, lines)
            return
        self.tell(lines)
        client.send(stream_error(error, self._dialect, request_id=self._request_id.decode("latin-1")))
        client.end()


def _is_request_id(line: bytes) -> bool:
    return line.startswith(b"x-request-id:")
