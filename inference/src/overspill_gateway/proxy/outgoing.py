"""The request as a backend gets it: head built anew, the body with the backend's name for the model."""

from typing import TYPE_CHECKING

from overspill_gateway.core.body import BodyFacts, with_model
from overspill_gateway.core.forwarding import to_hosted, to_replica
from overspill_gateway.core.head import Head
from overspill_gateway.proxy.backend import Hosted, Replica

if TYPE_CHECKING:
    from overspill_gateway.proxy.route import Route


def outgoing(
    backend: Replica | Hosted, route: "Route", head: Head, body: bytes, facts: BodyFacts, request_id: bytes
) -> tuple[bytes, bytes]:
    """Head and body for a backend. A hosted API gets its credential and as little else as it needs."""
    if isinstance(backend, Hosted):
        name = backend.model
        target = backend.path_prefix + head.path.removeprefix(b"/v1")
        lines = backend.head_lines + to_hosted(head.headers)
    else:
        name = route.model_json
        target = head.path + head.query
        lines = backend.host_line + to_replica(head.headers)
    if body[facts.model_start : facts.model_end] != name:
        body = with_model(body, facts, name)
    start = b"%b %b HTTP/1.1\r\n%bx-request-id: %b\r\n" % (head.method, target, lines, request_id)
    return b"%bcontent-length: %d\r\n\r\n" % (start, len(body)), body
