"""Handler of the admin port: health, metrics, demand (``_PATHS``). It asks for no key; keep it inside the cluster."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from overspill_gateway.core.http import errors
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.http.head import Head, refused_method

if TYPE_CHECKING:
    from overspill_gateway.admin.demand import DemandHub
    from overspill_gateway.admin.demand_metrics import DemandMetrics
    from overspill_gateway.admin.metrics import Metrics
    from overspill_gateway.wire.server import ServerConnection

logger = logging.getLogger(__name__)

Page = Callable[[], tuple[bytes, bytes]]
"""Content type and text of a page, as it is now."""
_PATHS: Final = {b"/healthz", b"/readyz", b"/metrics", b"/metrics/demand", b"/demand"}
_SHOWN: Final = ["/healthz", "/readyz", "/metrics", "/metrics/demand", "/demand"]
_TEXT: Final = b"content-type: text/plain; charset=utf-8\r\n"
_METRICS: Final = b"content-type: text/plain; version=1.0.0; charset=utf-8; escaping=underscores\r\n"


class _Scrape:
    """One request of /metrics, which is answered once the text is made."""

    def __init__(self, connection: "ServerConnection") -> None:
        self._connection = connection
        self._is_gone = False
        connection.answerer = self

    async def answer(self, metrics: "Metrics | DemandMetrics") -> None:
        """Make the text and send it; a text that can't be made is an error, not a scrape that hangs."""
        try:
            status, text = 200, await metrics.text()
        except Exception:
            logger.exception("metrics could not be written")
            status, text = 500, b"metrics could not be written; the log says why\n"
        if not self._is_gone:
            self._connection.answerer = None
            self._connection.answer(status, _METRICS if status == 200 else _TEXT, text)

    def client_gone(self) -> None:
        """Nobody wants it any more."""
        self._is_gone = True

    def client_slow(self) -> None:
        """Nothing has been sent yet."""

    def client_ready(self) -> None:
        """Nothing has been sent yet."""


class AdminPort:
    """Handler of the admin port."""

    def __init__(
        self,
        hub: "DemandHub",
        metrics: "Metrics",
        demand_metrics: "DemandMetrics",
        not_ready_because: Callable[[], str | None],
        pages: Mapping[bytes, Page] | None = None,
        refused_first: Callable[[Head], ApiError | None] | None = None,
    ) -> None:
        """``pages``: what else is shown, by path. ``refused_first``: who is refused whatever is asked for."""
        self._refused_first = refused_first
        self._pages: Mapping[bytes, Page] = pages if pages is not None else {}
        self._hub = hub
        self._metrics: Mapping[bytes, Metrics | DemandMetrics] = {
            b"/metrics": metrics,
            b"/metrics/demand": demand_metrics,
        }
        self._not_ready_because = not_ready_because
        self._scrapes: set[asyncio.Task[None]] = set()

    def admit(self, head: Head) -> ApiError | None:
        """Refuse other paths and methods."""
        if self._refused_first is not None and (stranger := self._refused_first(head)) is not None:
            return stranger
        if head.path not in _PATHS and head.path not in self._pages:
            shown = [*_SHOWN, *(path.decode() for path in self._pages)]
            return errors.unknown_path(head.path.decode("latin-1"), shown)
        return refused_method(head, "GET, HEAD")

    def serve(self, connection: "ServerConnection", head: Head, body: bytes) -> None:  # noqa: ARG002
        """Answer a request."""
        if head.path == b"/healthz":
            connection.answer(200, _TEXT, b"ok\n")
        elif head.path == b"/readyz":
            reason = self._not_ready_because()
            status, text = (200, "ready\n") if reason is None else (503, f"not ready: {reason}\n")
            connection.answer(status, _TEXT, text.encode())
        elif head.path in self._metrics:
            scrape = _Scrape(connection)
            task = asyncio.ensure_future(scrape.answer(self._metrics[head.path]))
            self._scrapes.add(task)
            task.add_done_callback(self._scrapes.discard)
        elif head.path in self._pages:
            content_type, page = self._pages[head.path]()
            connection.answer(200, b"content-type: %b\r\n" % content_type, page)
        elif head.method == b"HEAD":
            connection.answer(200, b"content-type: application/x-ndjson\r\n", b"")
        else:
            self._hub.join(connection)

    def serve_long(self, connection: "ServerConnection", head: Head, parts: list[bytes]) -> None:  # noqa: ARG002
        """The same: nobody reads a body here."""
        self.serve(connection, head, b"")

    def refusal_lines(self, head: Head | None) -> bytes:  # noqa: ARG002
        """Nothing is added."""
        return b""
