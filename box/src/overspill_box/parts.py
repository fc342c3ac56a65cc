"""The parts of ``serve``, put together: who tells whom of what. Starting and ending them is ``serve``."""

import logging
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from overspill_api.profile import Profile
from overspill_box.app.consumer_reconciler import CONSUMER, ConsumerReconciler
from overspill_box.app.engine_http import EngineHttp
from overspill_box.app.engines import LocalEngines
from overspill_box.app.objects import Objects
from overspill_box.app.route_reconciler import RouteReconciler
from overspill_box.app.secrets import Secrets
from overspill_box.app.source import BoxSource
from overspill_box.app.status_page import JSON_PATH, TABLE_PATH, StatusPage
from overspill_box.app.story import Story
from overspill_box.app.traffic import Traffic
from overspill_box.core.local_engine import LocalEngine, Machine
from overspill_box.core.written_files import WrittenFile
from overspill_box.ports import Processes
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.app.objects import Consumers, Routes
from overspill_operator.app.route_parts import RouteParts
from overspill_operator.app.route_teller import ROUTE, RouteTeller
from overspill_operator.app.scaler import Scaler
from overspill_operator.app.start_record import StartRecord
from overspill_operator.app.work_queue import Key, WorkQueue
from overspill_operator.clock import Clock
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.route_status import ScalingFacts
from overspill_operator.core.scaling.load_times import Start
from overspill_operator.ports import Json

logger = logging.getLogger(__name__)

WORKERS: Final = 2
"""Reconciles at a time: none of them waits for anything but the other's turn."""


class Parts:
    """What decides, and what it acts through."""

    def __init__(
        self,
        *,
        source: BoxSource,
        traffic: Traffic,
        processes: Processes,
        http: EngineHttp,
        machine: Callable[[], Machine],
        hindrance: Callable[[LocalEngine], str],
        profiles: Callable[[], Mapping[str, Profile]],
        key_of: Callable[[str], str],
        free_port: Callable[[], int],
        secrets_folder: Path | None,
        kept: Mapping[str, Any],
        statuses: Mapping[str, Any],
        admin_address: str,
        url: str,
        about: Mapping[str, Any],
        clock: Clock,
    ) -> None:
        """``kept``, ``statuses``: of objects, from the process before; ``about``: what status says of the process.

        ``hindrance``: see ``EngineLoop``.
        """
        self._source = source
        self.queue = queue = WorkQueue(self._reconcile, clock, workers=WORKERS, jitter=random.random)
        self.routes = Routes(self._on_route)
        self.consumers = Consumers(lambda key: queue.add((CONSUMER, key)))
        self.objects = Objects(
            clock,
            kept,
            put={ROUTE: self.routes.put, CONSUMER: self.consumers.put},
            remove={ROUTE: self.routes.remove, CONSUMER: self.consumers.remove},
        )
        self.objects.statuses.update(statuses)
        self.objects.on_status = self._on_status
        self.story = Story(clock)
        self.gateways = GatewayStreams(
            clock, self._on_demand, self.look_at_all_routes, self._on_refused, fixed=(admin_address,)
        )
        self._secrets = Secrets(secrets_folder)
        self._starts = StartRecord(self.story, clock, self.gateways.work, self.look_at_route)
        self.engines = LocalEngines(
            processes=processes,
            http=http,
            traffic=traffic,
            source=source,
            secrets=self._secrets,
            machine=machine,
            profiles=profiles,
            key_of=key_of,
            least=self._least,
            on_change=self._on_engine,
            on_start=self._on_start,
            free_port=free_port,
            hindrance=hindrance,
            clock=clock,
        )
        self.scaler = Scaler(
            self.engines,
            clock,
            self.routes,
            self.gateways,
            self.story,
            on_decided=self.look_at_route,
            load_seconds=self._starts.expected_seconds,
            unschedulable=self.engines.unschedulable,
        )
        self.engines.desired = self.scaler.desired
        self._teller = RouteTeller(
            routes=self.routes,
            engine_of=lambda route, _outcome: self.engines.state(route),
            scaler=self.scaler,
            gateways=self.gateways,
            diagnosis=self.engines,
            retained_cache=lambda _route: "",
            scaling_of=self._scaling_of,
            load_time_of=self._starts.status,
            queue=queue,
            statuses=self.objects,
            events=self.story,
            url=url,
            clock=clock,
        )
        self._route_reconciler: RouteReconciler[LocalEngine] = RouteReconciler(
            routes=self.routes,
            engines=self.engines,
            parts=RouteParts(self.engines, source),
            source=source,
            secrets=self._secrets,
            scaler=self.scaler,
            teller=self._teller,
            profiles=profiles,
            queue=queue,
        )
        self._consumer_reconciler = ConsumerReconciler(self.consumers, self.routes, source)
        self.page = StatusPage(
            routes=self.routes,
            consumers=self.consumers,
            objects=self.objects,
            engines=self.engines,
            scaler=self.scaler,
            gateways=self.gateways,
            story=self.story,
            log_of=processes.log_of,
            about=about,
            clock=clock,
        )

    @property
    def pages(self) -> Mapping[bytes, Callable[[], tuple[bytes, bytes]]]:
        """What the admin port shows besides the gateway's own."""
        return {JSON_PATH: self.page.as_json, TABLE_PATH: self.page.as_table}

    def take(self, content: WrittenFile) -> None:
        """What the files hold is what there is from now on."""
        is_news = content.secrets != self._secrets.written
        self._secrets.written = content.secrets
        self.objects.take(content.objects)
        if is_news:
            self.look_at_all_routes()

    async def begin(self) -> None:
        """Find engines that run, and look at each object once."""
        await self.engines.find()
        for consumer in self.consumers:
            self._consumer_reconciler.reconcile(consumer.key)
        for route in self.routes:
            try:
                await self._route_reconciler.reconcile(route.key)
            except Exception:  # one route's fault must not keep the others from being served; the queue tries again
                logger.exception("route not looked at", extra={"route": route.key})
        self._source.is_read = True

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Everything that runs."""
        yield "queue", self.queue.run()
        yield "gateways", self.gateways.run()
        yield "scaling", self.scaler.run()
        yield "engines", self.engines.loop.run()

    def look_at_route(self, key: str) -> None:
        """Something else is so of a route."""
        self.queue.add((ROUTE, key))

    async def _reconcile(self, key: Key) -> None:
        kind, name = key
        if kind == ROUTE:
            await self._route_reconciler.reconcile(name)
        else:
            self._consumer_reconciler.reconcile(name)

    def _on_route(self, key: str) -> None:
        self.queue.add((ROUTE, key))
        if self.routes.get(key) is None:
            self.story.forget(f"{ROUTE} {key}")
            self._starts.forget(key)
        for consumer in self.consumers.naming(key.partition("/")[0]):
            self.queue.add((CONSUMER, consumer), background=True)

    def _on_engine(self, key: str) -> None:
        """A route's engine has changed: it may be decided anew, and status shows it."""
        if self.routes.get(key) is not None:
            self.scaler.evaluate(key)
            self.queue.add((ROUTE, key))

    def _on_start(self, key: str, start: Start) -> None:
        route = self.routes.get(key)
        if route is not None:
            replicas = self.engines.replicas(route)
            self._starts.record(route, start, is_only=replicas is not None and replicas.ready <= 1)

    def _on_demand(self, keys: list[str], received: float) -> None:
        for key in keys:
            try:
                self.scaler.heard(key, received)
                self._teller.note_demand(key)
                self._starts.note_demand(key)
            except Exception:
                # A fault of one route must not end the stream that speaks of all.
                logger.exception("demand not acted upon", extra={"route": key})
        if keys:
            self.engines.loop.poke()

    def _on_refused(self, documents: set[tuple[str, str]]) -> None:
        for kind, key in documents:
            self.queue.add((ROUTE if kind == "route" else CONSUMER, key))

    def _on_status(self, kind: str, raw: Json) -> None:
        if kind == ROUTE:
            self.routes.wrote(raw)

    def look_at_all_routes(self) -> None:
        """Something else is so that each of them depends on."""
        for route in self.routes:
            self.queue.add((ROUTE, route.key), background=True)

    def _scaling_of(self, route: RouteObject) -> ScalingFacts | None:
        """What scaling knows; an engine that has given its room to others, and that nobody asks for, is at zero."""
        facts = self.scaler.facts(route)
        return replace(facts, desired=0) if facts is not None and self.engines.rests(route.key) else facts

    def _least(self, key: str) -> int:
        """Replicas of a route that are kept though nobody asks."""
        route = self.routes.get(key)
        facts = self.scaler.facts(route) if route is not None else None
        if facts is None:
            return 0
        return facts.rules.fixed if facts.rules.fixed is not None else facts.rules.bounds.minimum
