"""The composition root: puts a gateway together, starts it, and ends it without cutting anybody off."""

import asyncio
import logging
import os
import random
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from overspill_gateway.admin.demand import DemandHub
from overspill_gateway.admin.demand_metrics import DemandMetrics
from overspill_gateway.admin.metrics import Metrics
from overspill_gateway.admin.port import AdminPort, Page
from overspill_gateway.backends.scrapes import EngineGauges
from overspill_gateway.backends.tokenizer import Tokenizer
from overspill_gateway.clock import Clock
from overspill_gateway.core.admission.retry_budget import RetryBudget
from overspill_gateway.core.http.cors import cors_policy
from overspill_gateway.core.requests.loopback import ANYONE, is_loopback, refused_stranger
from overspill_gateway.money.ledger_store import LedgerStore
from overspill_gateway.money.memory_ledger import MemoryLedger
from overspill_gateway.money.metering import Metering
from overspill_gateway.money.recording import Recording
from overspill_gateway.money.sqlite_ledger import SqliteLedger
from overspill_gateway.proxy.api import Api
from overspill_gateway.proxy.exchange import Exchange
from overspill_gateway.proxy.long_answers import answer_readers
from overspill_gateway.proxy.long_requests import LongReading, body_readers
from overspill_gateway.proxy.settling import Settling
from overspill_gateway.proxy.shared import Shared
from overspill_gateway.routes.catalog import Catalog
from overspill_gateway.settings import Settings
from overspill_gateway.sources.port import Sink, Source
from overspill_gateway.wire import server
from overspill_gateway.wire.limits import Limits
from overspill_gateway.wire.listener import Listener
from overspill_gateway.wire.outbound import Outbound
from overspill_gateway.wire.server import ServerConnection
from overspill_gateway.wire.stream_reads import stream_reads
from overspill_gateway.wire.sweep import Sweeper
from overspill_gateway.wire.tls import TlsFiles
from overspill_gateway.workers.schema_checker import SchemaChecker

logger = logging.getLogger(__name__)

EXCHANGE_SWEEP_SECONDS = 0.05
CONNECTION_SWEEP_SECONDS = 1.0
TICK_SECONDS = 1.0
"""Of what budgets do without a request: begin a period, heal, look again at a limit that was reached."""


def is_compiled() -> bool:
    """Whether the way of a request is machine code, as in the image (``scripts/compile-gateway``), or interpreted."""
    return not str(server.__file__).endswith(".py")


class Gateway:
    """One gateway process's parts."""

    def __init__(
        self,
        settings: Settings,
        make_source: Callable[[Sink], Source],
        clock: Clock | None = None,
        pages: Mapping[bytes, Page] | None = None,
    ) -> None:
        """``pages``: what the admin port shows besides its own."""
        loop = asyncio.get_running_loop()
        boot_id = os.urandom(4).hex()
        self.settings = settings
        clock = clock or Clock()
        self.hub = DemandHub(f"{settings.pod_name}/{int(clock.unix() * 1000)}", clock)
        cors = cors_policy(settings.cors_origins)
        strangers = partial(refused_stranger, cors=cors) if settings.no_auth else None
        # Pages of one machine are for its own programs, whatever clients of the API have to show.
        admin_strangers = strangers
        if pages is not None and is_loopback(settings.admin_listen.host):
            admin_strangers = partial(refused_stranger, cors=None)
        ledger = _ledger(settings.ledger, f"{settings.pod_name}/{boot_id}", loop.call_soon_threadsafe, clock)
        metering = Metering(ledger, clock)
        metering.begin()
        if settings.recording is not None:
            metering.recording = Recording(settings.recording, clock, settings.recording_bytes_max)
        self._ticks: asyncio.TimerHandle | None = None
        self.stream_reads = stream_reads(loop, settings.stream_interval_seconds)
        outbound = Outbound(settings.proxies, settings.hosted_connection_seconds)
        self.catalog = Catalog(
            settings.pepper,
            self.hub.changed,
            metering,
            self.stream_reads,
            outbound,
            self.hub.refused,
            clock,
            ANYONE if settings.no_auth else None,
        )
        self.hub.serve(self.catalog.routes)
        self.source = make_source(self.catalog)
        self.exchanges = Sweeper(loop, EXCHANGE_SWEEP_SECONDS)
        self.shared = Shared(
            clock,
            self.exchanges,
            RetryBudget(),
            metering,
            Settling(metering, Tokenizer()),
            random.random,
            SchemaChecker(),
            body_readers(),
            answer_readers(),
        )
        self.api = Api(self.catalog, self.shared, boot_id, strangers)
        self._gauges = EngineGauges(lambda: (route.pool for route in self.catalog.routes.values()))
        sweeper = Sweeper(loop, CONNECTION_SWEEP_SECONDS)
        limits = Limits(body_bytes_max=settings.body_bytes_max, bodies_bytes_max=settings.bodies_bytes_max)
        admin = AdminPort(
            self.hub,
            Metrics(self.catalog.routes, self._own_metrics, metering, self.shared.retries, clock),
            DemandMetrics(self.hub.gateway, self.catalog.routes, clock),
            self._not_ready_because,
            pages,
            admin_strangers,
        )
        self.public = Listener(self.api, limits, sweeper, clock, cors)
        """The API's port."""
        self._admin = Listener(admin, limits, sweeper, clock)
        self.tls_files = TlsFiles(*settings.tls) if settings.tls is not None else None
        """The certificate that it serves; None: it serves none."""
        self.failed = asyncio.Event()
        """The source of routes has ended, which it never does by itself: without it nothing is followed any more."""
        self.failure = ""
        """Why."""
        self._source_task: asyncio.Task[None] | None = None
        self._draining = False

    @property
    def port(self) -> int:
        """Port of the API, once it listens."""
        return self.public.port

    @property
    def admin_port(self) -> int:
        """Port of health, metrics and demand, once it listens."""
        return self._admin.port

    @property
    def connections(self) -> set[ServerConnection]:
        """Open connections of the API's clients."""
        return self.public.state.connections

    async def start(self) -> None:
        """Listen and begin to read the source."""
        settings = self.settings
        await self._admin.open(settings.admin_listen.host, settings.admin_listen.port)
        tls = self.tls_files.watch() if self.tls_files is not None else None
        await self.public.open(settings.listen.host, settings.listen.port, tls)
        self._source_task = asyncio.create_task(self.source.run())
        self._source_task.add_done_callback(self._source_ended)
        self._gauges.start()
        self._tick()
        where = {"port": self.port, "admin_port": self.admin_port}
        logger.info("listening", extra={**where, "compiled": is_compiled()})
        proxies = {"http": settings.proxies.http, "https": settings.proxies.https}
        leading = {scheme: proxy.shown for scheme, proxy in proxies.items() if proxy is not None}
        if leading:
            logger.info("hosted APIs are reached through proxies", extra={"proxies": leading})

    def _tick(self) -> None:
        self.shared.metering.tick()
        self._record_replicas()
        self._ticks = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _record_replicas(self) -> None:
        """For the planner, where it is recorded for it."""
        recording = self.shared.metering.recording
        if recording is not None:
            routes = self.catalog.routes.values()
            recording.tick((route.key, len(route.replicas), len(route.pool.replicas)) for route in routes)

    def _source_ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or self._draining:
            return
        error = task.exception()
        self.failure = f"the source of routes has ended: {error or 'without a reason'}"
        logger.error(self.failure, exc_info=error)
        self.failed.set()

    def look_at_certificate(self) -> bool:
        """Look at the certificate's files now rather than in some seconds; whether there are any."""
        if self.tls_files is not None:
            self.tls_files.look_now()
        return self.tls_files is not None

    async def drain(self) -> None:
        """Be ready no more, let answers finish, then stop."""
        self._draining = True
        logger.info("draining", extra={"connections": len(self.connections)})
        deadline = asyncio.get_running_loop().time() + self.settings.drain_seconds
        self.public.begin_drain()
        await asyncio.sleep(min(self.settings.drain_delay_seconds, self.settings.drain_seconds))
        await self.public.stop_accepting()
        self.public.close_connections()
        await self._wait_until_all_have_left(deadline)
        await self.stop()

    async def stop(self) -> None:
        """Stop now: what still runs is ended as well as it can be, and the ledger is closed whatever else fails."""
        self._draining = True
        left = 0
        try:
            left = self._end_connections()
            await self._end_source()
            self._gauges.stop()
            await self.shared.checker.close()
            await self.shared.readers.close()
            await self.shared.answers.close()
            if self._ticks is not None:
                self._ticks.cancel()
            self._record_replicas()
            if self.shared.metering.recording is not None:
                await asyncio.to_thread(self.shared.metering.recording.close)
            for key in list(self.catalog.routes):
                self.catalog.remove_route(key)
            if self.stream_reads is not None:
                self.stream_reads.close()
            await asyncio.sleep(0)
        finally:
            if not await asyncio.to_thread(self.shared.metering.close):
                logger.error("the ledger could not be written to its end: what was leased counts as spent")
        logger.info("stopped", extra={"unfinished": left})

    def _end_connections(self) -> int:
        """Close all ports and connections; how many answers were cut off."""
        self.public.stop_listening()
        self._admin.stop_listening()
        self.public.close_connections(at_once=True)
        left = 0
        for connection in list(self.connections):
            if isinstance(connection.answerer, (Exchange, LongReading)):
                left += 1
                connection.answerer.shut_down()
        if self.tls_files is not None:
            self.tls_files.close()
        self.hub.close()
        self.catalog.prober.close()
        self._admin.close_connections(at_once=True)
        return left

    async def _end_source(self) -> None:
        if self._source_task is not None:
            self._source_task.cancel()
            await asyncio.wait([self._source_task])

    async def _wait_until_all_have_left(self, deadline: float) -> None:
        """Wait until nobody is connected, but no longer than to this time of the loop."""
        loop = asyncio.get_running_loop()
        while self.connections and loop.time() < deadline:  # noqa: ASYNC110 - once in a life
            await asyncio.sleep(0.02)

    def _not_ready_because(self) -> str | None:
        return "it is going away" if self._draining else self.source.missing()

    def _own_metrics(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("overspill_client_connections", "Open connections.", value=len(self.connections))
        yield GaugeMetricFamily("overspill_exchanges", "Requests under way.", value=len(self.exchanges))
        yield GaugeMetricFamily("overspill_routes", "Routes known.", value=len(self.catalog.routes))
        yield GaugeMetricFamily("overspill_demand_readers", "Readers of the demand stream.", value=self.hub.readers)
        yield CounterMetricFamily("overspill_source_errors", "Documents refused.", value=self.source.errors_total)
        yield GaugeMetricFamily(
            "overspill_documents_refused", "Documents that can't be used now.", value=len(self.catalog.refused)
        )
        reads, files = self._gauges, self.tls_files
        for name, text, value in (
            ("overspill_engine_reads", "Answers with engines' own gauges.", reads.answers_total),
            ("overspill_engine_reads_failed", "Questions without such an answer.", reads.failures_total),
            ("overspill_certificate_changes", "Certificates taken over.", files.reloads if files else 0),
            ("overspill_certificate_errors", "Looks at one that can't be used.", files.refused if files else 0),
        ):
            yield CounterMetricFamily(name, text, value=value)
        recording = self.shared.metering.recording
        lost = recording.lost if recording is not None else 0
        text = "Lines of the recording that came faster than they were written."
        yield CounterMetricFamily("overspill_recording_lines_lost", text, value=lost)
        refused = CounterMetricFamily("overspill_refused_early", "Refused before a route was known.", labels=["status"])
        for status, count in self.api.requests_refused.items():
            refused.add_metric([str(status)], count)
        yield refused


def _ledger(path: Path | None, process: str, tell: Callable[[Callable[[], None]], object], clock: Clock) -> LedgerStore:
    """Where it is kept what is charged; ``tell``: calls something on the event loop's thread."""
    return MemoryLedger(process, tell) if path is None else SqliteLedger(path, process, tell, clock)
