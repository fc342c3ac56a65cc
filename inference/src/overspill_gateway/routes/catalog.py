"""All routes, consumers and endpoints that the gateway knows, kept in step with its source.

A document is built whole before it changes anything: one that can't be used leaves the last good one as it was. Where
two routes claim one name the first one keeps it; the operator tells the owner of the other.
"""

from collections.abc import Callable, Iterable

from overspill_api.compiled import CompiledConsumer, CompiledRoute
from overspill_api.demand import RefusedDocument
from overspill_gateway.backends.probes import Prober
from overspill_gateway.clock import Clock
from overspill_gateway.core.backends.rotation import EndpointFact
from overspill_gateway.core.backends.unusable import UnusableError
from overspill_gateway.core.requests.access import Grant, KeyRing
from overspill_gateway.money.metering import Metering
from overspill_gateway.routes.route import DemandListener, Route, RouteParts
from overspill_gateway.wire.outbound import Outbound
from overspill_gateway.wire.stream_reads import StreamReads

RefusedListener = Callable[[tuple[RefusedDocument, ...]], None]
"""Told all documents that can't be used now, whenever there are others."""
Service = tuple[str, str]
"""Namespace and name of a Service."""


class Catalog:
    """What can be called, by whom, and who answers."""

    def __init__(
        self,
        pepper: bytes,
        on_demand: DemandListener,
        metering: Metering,
        reads: StreamReads | None = None,
        outbound: Outbound | None = None,
        on_refused: RefusedListener | None = None,
        clock: Clock | None = None,
        without_key: Grant | None = None,
    ) -> None:
        """``without_key``: what requests with no known key open; None: nothing."""
        self.refused: tuple[RefusedDocument, ...] = ()
        """Documents that can't be used now."""
        self.routes: dict[str, Route] = {}
        self.consumers: dict[str, CompiledConsumer] = {}
        self.prober = Prober()
        self._pepper = pepper
        self._on_demand = on_demand
        self._metering = metering
        self._clock = clock or Clock()
        self._reads = reads
        self._outbound = outbound or Outbound()
        self._on_refused = on_refused
        self._slices: dict[Service, dict[str, tuple[EndpointFact, ...]]] = {}
        self._by_service: dict[Service, set[str]] = {}
        self._names: dict[str, Route] | None = {}
        self._without_key = without_key
        self._keys: KeyRing | None = None

    # -- what the source says ----------------------------------------------------------------------------------

    def set_route(self, compiled: CompiledRoute) -> None:
        """A route is new or has changed. Raises UnusableError, with all as it was."""
        route = self.routes.get(compiled.key)
        if route is not None and route.compiled == compiled:
            return
        parts = RouteParts(compiled, self._outbound)
        if route is not None and route.compiled.uid != compiled.uid:
            # Another object under the name: what was counted of the former one, and what it wanted, is not its own.
            self.remove_route(compiled.key)
            route = None
        self._names = None
        meter = self._metering.route(compiled)
        service = _service_of(compiled)
        facts = self._facts(service) if service is not None else ()
        if route is None:
            self.routes[compiled.key] = Route(
                compiled,
                parts,
                facts,
                self.prober,
                self._outbound,
                self._on_demand,
                meter,
                clock=self._clock,
                reads=self._reads,
            )
        else:
            self._leave_service(route)
            route.update(compiled, parts, meter, facts)
        if service is not None:
            self._by_service.setdefault(service, set()).add(compiled.key)

    def remove_route(self, key: str) -> None:
        """A route is gone."""
        route = self.routes.pop(key, None)
        if route is not None:
            self._names = None
            self._leave_service(route)
            route.close()
            self._metering.forget_route(key)

    def set_consumer(self, compiled: CompiledConsumer) -> None:
        """A consumer is new or has changed. Raises UnusableError, with all as it was."""
        for key in compiled.keys:
            if not (key.id.isascii() and key.hash.isascii()):
                raise UnusableError("a key's id or hash has characters that none has")
        self.consumers[f"{compiled.namespace}/{compiled.name}"] = compiled
        self._keys = None

    def remove_consumer(self, key: str) -> None:
        """A consumer is gone, and what its keys could open with it."""
        if self.consumers.pop(key, None) is not None:
            self._keys = None
            self._metering.forget_consumer(key)

    def set_slice(self, service: Service, name: str, facts: tuple[EndpointFact, ...]) -> None:
        """One EndpointSlice of a Service is new or has changed; no facts: it is gone."""
        slices = self._slices.setdefault(service, {})
        if facts:
            slices[name] = facts
        else:
            slices.pop(name, None)
            if not slices:
                del self._slices[service]
        for key in self._by_service.get(service, ()):
            self.routes[key].set_endpoints(self._facts(service))

    def set_refused(self, documents: tuple[RefusedDocument, ...]) -> None:
        """These documents can't be used now; whoever publishes demand is told."""
        self.refused = documents
        if self._on_refused is not None:
            self._on_refused(documents)

    def set_pepper(self, pepper: bytes) -> None:
        """Under what API keys are hashed."""
        self._pepper = pepper
        self._keys = None

    # -- what requests ask -------------------------------------------------------------------------------------

    def keys(self) -> KeyRing:
        """All keys that let someone in; another object once any of them has changed."""
        if self._keys is None:
            self._keys = KeyRing(self._pepper, self.consumers.values(), self._without_key)
        return self._keys

    def resolve(self, model: str, grant: Grant) -> Route | None:
        """The route of a model's name or alias, if this consumer may call it."""
        route = self._index().get(model)
        return route if route is not None and _allows(grant, route) else None

    def callable_models(self, grant: Grant) -> list[str]:
        """Names and aliases that this consumer may send, sorted."""
        return sorted(name for name, route in self._index().items() if _allows(grant, route))

    def _index(self) -> dict[str, Route]:
        if self._names is None:
            names: dict[str, Route] = {}
            for route in self.routes.values():
                names.setdefault(route.compiled.model, route)
            for route in self.routes.values():
                for alias in route.compiled.aliases:
                    names.setdefault(alias, route)
            self._names = names
        return self._names

    def _facts(self, service: Service) -> Iterable[EndpointFact]:
        """Endpoints of all slices of a Service; one that stands in two counts once."""
        slices = self._slices.get(service, {})
        return {(fact.address, fact.port, fact.uid): fact for facts in slices.values() for fact in facts}.values()

    def _leave_service(self, route: Route) -> None:
        service = _service_of(route.compiled)
        if service is not None and service in self._by_service:
            self._by_service[service].discard(route.key)
            if not self._by_service[service]:
                del self._by_service[service]


def _allows(grant: Grant, route: Route) -> bool:
    compiled = route.compiled
    return grant.allows(route.key, compiled.namespace, compiled.allowed_consumers)


def _service_of(compiled: CompiledRoute) -> Service | None:
    return (compiled.namespace, compiled.local.service) if compiled.local else None
