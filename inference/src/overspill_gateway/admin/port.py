"""Handler of the admin port: /healthz, /readyz, /metrics, /demand. No key opens it; keep it inside the cluster."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from overspill_gateway.core import errors
from overspill_gateway.core.errors import ApiError
from overspill_gateway.core.head import Head, refused_method

if TYPE_CHECKING:
    from overspill_gateway.admin.demand import DemandHub
    from overspill_gateway.admin.metrics import Metrics
    from overspill_gateway.wire.server import ServerConnection

_PATHS: Final = {b"/healthz", b"/readyz", b"/metrics", b"/demand"}
_SHOWN: Final = ["/healthz", "/readyz", "/metrics", "/demand"]
_TEXT: Final = b"content-type: text/plain; charset=utf-8\r\n"
_METRICS: Final = b"content-type: text/plain; version=1.0.0; charset=utf-8; escaping=underscores\r\n"


class AdminPort:
    """Handler of the admin port."""

    def __init__(self, hub: "DemandHub", metrics: "Metrics", not_ready_because: Callable[[], str | None]) -> None:
        self._hub = hub
        self._metrics = metrics
        self._not_ready_because = not_ready_because

    def admit(self, head: Head) -> ApiError | None:
        """Refuse other paths and methods."""
        if head.path not in _PATHS:
            return errors.unknown_path(head.path.decode("latin-1"), _SHOWN)
        return refused_method(head, "GET, HEAD")

    def serve(self, connection: "ServerConnection", head: Head, body: bytes) -> None:  # noqa: ARG002
        """Answer a request."""
        if head.path == b"/healthz":
            connection.answer(200, _TEXT, b"ok\n")
        elif head.path == b"/readyz":
            reason = self._not_ready_because()
            status, text = (200, "ready\n") if reason is None else (503, f"not ready: {reason}\n")
            connection.answer(status, _TEXT, text.encode())
        elif head.path == b"/metrics":
            connection.answer(200, _METRICS, self._metrics.render())
        elif head.method == b"HEAD":
            connection.answer(200, b"content-type: application/x-ndjson\r\n", b"")
        else:
            self._hub.join(connection)

    def refusal_lines(self, head: Head | None) -> bytes:  # noqa: ARG002
        """Nothing is added."""
        return b""
