"""The API as clients see it: which paths there are, who may call them, and which route a request is for.

OpenAI's paths, Anthropic's, and vLLM's own: ``endpoints`` has the table. Not here: how a request is served.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import gmtime, strftime
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote_to_bytes

from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.dialects import model_list
from overspill_gateway.core.dialects.azure import AZURE_PREFIX, plain_target
from overspill_gateway.core.dialects.endpoints import GET, MODELS_PATH, SHOWN_PATHS, Dialect, Endpoint, endpoint_of
from overspill_gateway.core.http import errors
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.http.head import Head, refused_method
from overspill_gateway.core.requests.access import Grant, KeyRing, credential_of
from overspill_gateway.core.requests.ask import Ask
from overspill_gateway.core.requests.asking import ask_of
from overspill_gateway.core.requests.body import BodyFacts, read_body, with_deployment
from overspill_gateway.core.requests.long_body import question
from overspill_gateway.core.text.splice import BodyError
from overspill_gateway.core.translation.messages_request import chat_request
from overspill_gateway.proxy.exchange import Exchange
from overspill_gateway.proxy.long_requests import LongReading
from overspill_gateway.proxy.request_context import RequestContext
from overspill_gateway.proxy.rewriting import answer_lines
from overspill_gateway.proxy.shared import Shared

if TYPE_CHECKING:
    from overspill_gateway.routes.catalog import Catalog
    from overspill_gateway.routes.route import Route
    from overspill_gateway.wire.server import ServerConnection

_MODEL_PREFIX: Final = MODELS_PATH + b"/"
_ROOT: Final = b"/"
_ROOT_ALLOW: Final = "GET, HEAD, POST, OPTIONS"
_ROOT_BODY_BYTES_MAX: Final = 64 * 1024
"""The root needs no key, so that load balancers' default checks find it: it takes next to nothing."""
_NO_CONVERSATION: Final = (b"", b"")
_ENCODED: Final = errors.invalid_body(
    "The body is compressed; send it plain, without Content-Encoding.", status=415, code="content_encoding"
)


@dataclass(slots=True)
class _Admitted:
    """What a key opened, and among which keys."""

    keys: KeyRing
    grant: Grant | None


class Api:
    """Handler of the gateway's public port."""

    def __init__(
        self,
        catalog: "Catalog",
        shared: Shared,
        boot_id: str,
        refused_first: Callable[[Head], ApiError | None] | None = None,
    ) -> None:
        """``refused_first``: who is refused whatever is asked for; None: nobody."""
        self._refused_first = refused_first
        self.requests_refused: dict[int, int] = {}
        """Answers that the gateway gave before a route was known, by status."""
        self._catalog = catalog
        self._shared = shared
        self._request_id_start = b"req-%b-" % boot_id.encode()
        self._requests = 0
        """That were given an identifier."""
        self._started_unix_seconds = int(shared.clock.unix())

    def admit(self, head: Head) -> ApiError | None:
        """Refuse by path, method and key, before a body is read."""
        if self._refused_first is not None and (stranger := self._refused_first(head)) is not None:
            return self._counted(stranger)
        if head.path.startswith(AZURE_PREFIX):
            _understand_azure(head)
        path = head.path
        endpoint = endpoint_of(path)
        if endpoint is not None:
            allow = endpoint.allow
        elif path == MODELS_PATH or path.startswith(_MODEL_PREFIX):
            allow = GET
        elif path == b"*":
            return None
        elif path == _ROOT:
            head.body_bytes_max = _ROOT_BODY_BYTES_MAX
            return refused_method(head, _ROOT_ALLOW)
        else:
            return self._counted(errors.unknown_path(path.decode("latin-1"), SHOWN_PATHS))
        refused = refused_method(head, allow)
        if refused is None and head.method != b"OPTIONS" and self._grant(head) is None:
            refused = errors.CONFLICTING_KEYS if credential_of(head) is None else errors.INVALID_KEY
        return self._counted(refused) if refused is not None else None

    def serve(self, connection: "ServerConnection", head: Head, body: bytes) -> None:
        """Answer a request."""
        endpoint = endpoint_of(head.path)
        if head.method == b"OPTIONS":
            connection.answer(204, b"allow: %b\r\n" % _allow(head.path, endpoint).encode(), b"")
            return
        if head.path == _ROOT:
            connection.answer(200, self.refusal_lines(head) + b"content-type: text/plain; charset=utf-8\r\n", b"OK")
            return
        grant = self._grant(head)
        if grant is None:
            self._refuse(connection, head, errors.INVALID_KEY)
        elif endpoint is None:
            self._models(connection, head, grant)
        else:
            self._exchange(connection, head, body, endpoint, grant)

    def serve_long(self, connection: "ServerConnection", head: Head, parts: list[bytes]) -> None:
        """Answer a request with a long body."""
        endpoint = endpoint_of(head.path)
        if endpoint is None or head.method == b"OPTIONS" or self._grant(head) is None:
            self.serve(connection, head, b"")
        else:
            self._exchange_long(connection, head, parts, endpoint)

    def refusal_lines(self, head: Head | None) -> bytes:
        """Header lines of the answers that the server gives by itself."""
        return answer_lines("none", ServedReason.NOT_SERVED, self._request_id(head))

    # -- requests for backends ---------------------------------------------------------------------------------

    def _exchange(
        self, connection: "ServerConnection", head: Head, body: bytes, endpoint: Endpoint, grant: Grant
    ) -> None:
        content_type = head.content_type
        if head.compressed:
            self._refuse(connection, head, _ENCODED)
            return
        try:
            if head.deployment:
                body = with_deployment(body, head.deployment, content_type)
            facts = read_body(body, endpoint, content_type)
        except BodyError as error:
            self._refuse(connection, head, error.error)
            return
        self._take(connection, head, body, [], facts, endpoint, grant)

    def _exchange_long(
        self, connection: "ServerConnection", head: Head, parts: list[bytes], endpoint: Endpoint
    ) -> None:
        content_type = head.content_type
        if head.compressed:
            self._refuse(connection, head, _ENCODED)
            return

        def read(parts: list[bytes], facts: BodyFacts) -> None:
            grant = self._grant(head)
            if grant is None:
                self._refuse(connection, head, errors.INVALID_KEY)
            else:
                self._take(connection, head, b"", parts, facts, endpoint, grant)

        def refuse(error: ApiError) -> None:
            self._refuse(connection, head, error)

        routes = self._catalog.routes.values()
        translate = endpoint.dialect is Dialect.MESSAGES and any(route.pool.hosted for route in routes)
        asked = question(head.path, content_type, head.deployment, translate=translate)
        LongReading(connection, head, parts).begin(self._shared.readers, asked, read, refuse)

    def _take(
        self, connection: "ServerConnection", head: Head, body: bytes, parts: list[bytes], facts: BodyFacts,
        endpoint: Endpoint, grant: Grant,
    ) -> None:  # fmt: skip
        """A request whose body was read."""
        try:
            if not facts.model or head.deployment:
                facts = self._facts_named_elsewhere(head, facts, grant)
        except BodyError as error:
            self._refuse(connection, head, error.error)
            return
        route = self._catalog.resolve(facts.model, grant)
        if route is None:
            self._refuse(connection, head, errors.model_not_found(facts.model, self._catalog.callable_models(grant)))
            return
        refused = None if route.pool.has_local else _refused_by_hosted(endpoint, head, body, facts)
        if refused is not None:
            self._refuse(connection, head, refused)
            return
        ask = _ask_of(route, facts, body, endpoint, grant)
        call = RequestContext(route, connection, endpoint, head, body, facts, grant, ask, self._request_id(head), parts)
        Exchange(call, self._shared).start()

    def _facts_named_elsewhere(self, head: Head, facts: BodyFacts, grant: Grant) -> BodyFacts:
        """With the model that stands not in the body: in the path, the query, a header, or the key's only pool."""
        if head.deployment:
            facts.model = head.deployment
            return facts
        named = parse_qs(head.query[1:].decode("latin-1")).get("model", [])
        header = head.header(b"x-overspill-model")
        if header is not None:
            named.append(header.decode("latin-1"))
        if not named:
            pools = {route.key: name for name, route in self._callable_routes(grant) if route.pool.has_local}
            named = list(pools.values())
        if len(set(named)) != 1:
            models = [name for name, route in self._callable_routes(grant) if route.pool.has_local]
            raise BodyError(errors.model_not_named(head.path.decode("latin-1"), models))
        facts.model = named[0]
        return facts

    def _callable_routes(self, grant: Grant) -> "list[tuple[str, Route]]":
        names = self._catalog.callable_models(grant)
        return [(name, route) for name in names if (route := self._catalog.resolve(name, grant)) is not None]

    # -- models ------------------------------------------------------------------------------------------------

    def _models(self, connection: "ServerConnection", head: Head, grant: Grant) -> None:
        names = self._catalog.callable_models(grant)
        anthropic = head.header(b"anthropic-version") is not None
        created = self._started_unix_seconds
        created_at = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(created))
        if head.path == MODELS_PATH:
            body = model_list.anthropic_list(names, created_at) if anthropic else model_list.openai_list(names, created)
        else:
            name = unquote_to_bytes(head.path[len(_MODEL_PREFIX) :]).decode("utf-8", "replace")
            if name not in names:
                self._refuse(connection, head, errors.model_not_found(name, names))
                return
            body = model_list.anthropic_model(name, created_at) if anthropic else model_list.openai_model(name, created)
        connection.answer(200, self.refusal_lines(head) + b"content-type: application/json\r\n", body)

    # -- all of them -------------------------------------------------------------------------------------------

    def _grant(self, head: Head) -> Grant | None:
        """What the sender's key opens.

        Asked when a head has come and again when its body has: keys may have been withdrawn meanwhile.
        """
        keys = self._catalog.keys()
        known = head.admitted
        if isinstance(known, _Admitted) and known.keys is keys:
            return known.grant
        grant = keys.check(credential_of(head) or b"")
        head.owner = grant.consumer if grant is not None else ""
        head.admitted = _Admitted(keys, grant)
        return grant

    def _refuse(self, connection: "ServerConnection", head: Head, error: ApiError) -> None:
        connection.refuse(self._counted(error), self.refusal_lines(head))

    def _counted(self, error: ApiError) -> ApiError:
        self.requests_refused[error.status] = self.requests_refused.get(error.status, 0) + 1
        return error

    def _request_id(self, head: Head | None) -> bytes:
        """The client's id, or a new one: this process and a running number."""
        if head is not None and head.request_id:
            return head.request_id
        self._requests += 1
        return b"%b%d" % (self._request_id_start, self._requests)


def _understand_azure(head: Head) -> None:
    """Let a head of Azure's clients be what it means."""
    plain = plain_target(head.path, head.query)
    if plain is not None:
        head.path, head.query, head.deployment = plain


def _ask_of(route: "Route", facts: BodyFacts, body: bytes, endpoint: Endpoint, grant: Grant) -> Ask:
    """What a request asks of the backends of its route."""
    pool = route.pool
    chooses = pool.has_local and len(pool.replicas) != 1  # where there is none now, several may come
    ask = ask_of(facts, endpoint, grant, bytes_per_token=route.meter.ratio.bytes_per_token, prefix=chooses)
    if pool.hosted and endpoint.hosted and route.meter.budget.rules is not None:
        ask.unread, ask.body_bytes, ask.dialect = facts.fields, len(body), endpoint.dialect
        if facts.long is not None and facts.long.bounds is not None:
            ask.take_bounds(facts.long.bounds)
    facts.conversation, facts.fields = _NO_CONVERSATION, None  # they would keep it for as long as the answer takes
    if endpoint.generates:
        ask.output_tokens = route.pool.rates.output_tokens_expected(ask)
    return ask


def _allow(path: bytes, endpoint: Endpoint | None) -> str:
    """The methods of a path that was admitted."""
    if endpoint is not None:
        return endpoint.allow
    return _ROOT_ALLOW if path in {b"*", _ROOT} else GET


def _refused_by_hosted(endpoint: Endpoint, head: Head, body: bytes, facts: BodyFacts) -> ApiError | None:
    """Why a request for a model that only hosted APIs serve is refused before any of them is asked."""
    if not endpoint.hosted:
        return errors.local_only(head.path.decode("latin-1"), facts.model)
    if facts.long is not None:
        return facts.long.chat_refusal
    if endpoint.dialect is Dialect.MESSAGES:
        try:
            chat_request(body, b'""', max_tokens=None)
        except BodyError as error:
            return error.error
    return None
