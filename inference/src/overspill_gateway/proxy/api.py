"""The OpenAI API as this gateway serves it: which paths, who may call them, and what a body must hold."""

import itertools
import time
from typing import TYPE_CHECKING, Final

import msgspec

from overspill_gateway.core import errors
from overspill_gateway.core.access import Grant
from overspill_gateway.core.body import BodyError, read_body
from overspill_gateway.core.errors import ApiError
from overspill_gateway.core.head import Head, refused_method
from overspill_gateway.core.plan import ServedReason
from overspill_gateway.proxy.exchange import Exchange
from overspill_gateway.proxy.relay import answer_lines

if TYPE_CHECKING:
    from overspill_gateway.proxy.catalog import Catalog
    from overspill_gateway.wire.server import ServerConnection
    from overspill_gateway.wire.sweep import Sweeper

_MODEL_PATHS: Final = frozenset({b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings"})
_MODELS: Final = b"/v1/models"
_SHOWN_PATHS: Final = ["POST /v1/chat/completions", "POST /v1/completions", "POST /v1/embeddings", "GET /v1/models"]
_ROOT: Final = b"/"
_ROOT_ALLOW: Final = "GET, HEAD, POST, OPTIONS"
_ROOT_BODY_BYTES_MAX: Final = 64 * 1024
"""The root needs no key, so that load balancers' default checks find it: it takes next to nothing."""
_POST: Final = "POST, OPTIONS"
_GET: Final = "GET, HEAD, OPTIONS"
_ENCODED: Final = errors.invalid_body(
    "The body is compressed; send it plain, without Content-Encoding.", status=415, code="content_encoding"
)


class Api:
    """Handler of the gateway's public port."""

    def __init__(self, catalog: "Catalog", sweeper: "Sweeper", boot_id: str) -> None:
        self.requests_refused: dict[int, int] = {}
        """Answers that the gateway gave before a route was known, by status."""
        self._catalog = catalog
        self._sweeper = sweeper
        self._boot_id = boot_id
        self._counter = itertools.count(1)
        self._started_unix_seconds = int(time.time())

    def admit(self, head: Head) -> ApiError | None:
        """Refuse by path, method and key, before a body is read."""
        path = head.path
        if path in _MODEL_PATHS:
            allow = _POST
        elif path == _MODELS or path.startswith(b"/v1/models/"):
            allow = _GET
        elif path == b"*":
            return None
        elif path == _ROOT:
            head.body_bytes_max = _ROOT_BODY_BYTES_MAX
            return refused_method(head, _ROOT_ALLOW)
        else:
            return self._counted(errors.unknown_path(path.decode("latin-1"), _SHOWN_PATHS))
        refused = refused_method(head, allow)
        if refused is None and head.method != b"OPTIONS" and self._catalog.grant(head.authorization) is None:
            refused = errors.INVALID_KEY
        return self._counted(refused) if refused is not None else None

    def serve(self, connection: "ServerConnection", head: Head, body: bytes) -> None:
        """Answer a request."""
        if head.method == b"OPTIONS":
            allow = _POST if head.path in _MODEL_PATHS else _GET if head.path not in {b"*", _ROOT} else _ROOT_ALLOW
            connection.answer(204, b"allow: %b\r\n" % allow.encode(), b"")
            return
        if head.path == _ROOT:
            connection.answer(200, self.refusal_lines(head) + b"content-type: text/plain; charset=utf-8\r\n", b"OK")
            return
        grant = self._catalog.grant(head.authorization)  # again: keys may have been withdrawn while the body came
        if grant is None:
            self._refuse(connection, head, errors.INVALID_KEY)
        elif head.path in _MODEL_PATHS:
            self._exchange(connection, head, body, grant)
        else:
            self._models(connection, head, grant)

    def refusal_lines(self, head: Head | None) -> bytes:
        """Header lines of the answers that the server gives by itself."""
        return answer_lines("none", ServedReason.NOT_SERVED, self._request_id(head))

    def _exchange(self, connection: "ServerConnection", head: Head, body: bytes, grant: Grant) -> None:
        if any(name == b"content-encoding" and value.lower() != b"identity" for name, value in head.headers):
            self._refuse(connection, head, _ENCODED)
            return
        try:
            facts = read_body(body)
        except BodyError as error:
            self._refuse(connection, head, error.error)
            return
        route = self._catalog.resolve(facts.model, grant)
        if route is None:
            self._refuse(connection, head, errors.model_not_found(facts.model, self._catalog.callable_models(grant)))
            return
        Exchange(route, connection, head, body, facts, self._request_id(head), self._sweeper).start()

    def _models(self, connection: "ServerConnection", head: Head, grant: Grant) -> None:
        names = self._catalog.callable_models(grant)
        if head.path == _MODELS:
            document: object = {"object": "list", "data": [self._model(name) for name in names]}
        else:
            name = head.path[len(_MODELS) + 1 :].replace(b"%2F", b"/").replace(b"%2f", b"/").decode("latin-1")
            if name not in names:
                self._refuse(connection, head, errors.model_not_found(name, names))
                return
            document = self._model(name)
        lines = self.refusal_lines(head) + b"content-type: application/json\r\n"
        connection.answer(200, lines, msgspec.json.encode(document))

    def _model(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._started_unix_seconds, "owned_by": "overspill"}

    def _refuse(self, connection: "ServerConnection", head: Head, error: ApiError) -> None:
        connection.refuse(self._counted(error), self.refusal_lines(head))

    def _counted(self, error: ApiError) -> ApiError:
        self.requests_refused[error.status] = self.requests_refused.get(error.status, 0) + 1
        return error

    def _request_id(self, head: Head | None) -> bytes:
        """The client's id, or a new one: this process and a running number."""
        if head is not None and head.request_id:
            return head.request_id
        return b"req-%b-%x" % (self._boot_id.encode(), next(self._counter))
