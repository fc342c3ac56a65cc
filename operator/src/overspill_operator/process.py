"""The process: waits for its turn to lead, makes a leader's parts (``parts``), leads, and lets go in order."""

import asyncio
import gc
import logging
import signal
from collections.abc import Coroutine
from functools import partial
from typing import Any
from uuid import uuid4

from overspill_operator.adapters import http_port
from overspill_operator.adapters.api_server import ApiServer
from overspill_operator.adapters.leadership import Leadership
from overspill_operator.adapters.own_deployment import OwnDeployment
from overspill_operator.app.health import Health
from overspill_operator.app.rights import Rights
from overspill_operator.app.tenancy import Tenancy
from overspill_operator.clock import Clock
from overspill_operator.core.rights import is_missing_right
from overspill_operator.edge.kopf_app import KopfApp
from overspill_operator.parts import Parts
from overspill_operator.ports import CONSUMERS, MODEL_ROUTES, ClusterError
from overspill_operator.settings import Settings

logger = logging.getLogger(__name__)

API_WAIT_SECONDS = 0.2

HINDERED_SECONDS = 2.0
"""How soon a release whose namespaces are another one's looks again."""

TELL_SECONDS = 5.0
"""How soon a missing right is an Event."""

HARMLESS_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class LeadershipLostError(Exception):
    """The lease could not be renewed; another process may lead by now."""


class Process:
    """One operator process."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """By ``settings``."""
        self._settings = settings
        self._clock = clock
        self._leadership: Leadership | None = None
        self._health = Health()
        self._stopping = asyncio.Event()
        self._hindrance_told = ""

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises where it cannot go on: Kubernetes then starts it anew."""
        settings = self._settings
        connected = await ApiServer.connect(self._clock)
        identity = f"{settings.pod_name}_{uuid4().hex[:8]}"
        leadership = Leadership(connected, self._clock, settings.namespace, identity)
        own = OwnDeployment(connected, settings.namespace, settings.deployment, settings.pod_name, self._clock)
        tenancy = Tenancy(connected, self._clock, settings.namespace, settings.watched_namespaces, own)
        self._leadership = leadership
        cluster = connected.guarded(leadership.seconds_left)
        runner = await http_port.serve(settings.port, self._unhealthy, self._unready)
        self._take_signals()
        try:
            if await self._unless_stopping(self._take_turn(leadership, tenancy, own)):
                await self._lead(cluster, leadership, own)
        finally:
            await leadership.release()
            await runner.cleanup()
            await connected.close()

    async def _take_turn(self, leadership: Leadership, tenancy: Tenancy, own: OwnDeployment) -> None:
        """Wait until this process leads, which it must not where namespaces are another release's."""
        while True:
            try:
                self._health.hindrance = await tenancy.hindrance()
                if not self._health.hindrance:
                    await leadership.acquire()
                    self._health.hindrance = await tenancy.claim_own()
                if not self._health.hindrance:
                    return
                await own.warn("NotLeading", f"This operator does not lead: {self._health.hindrance}")
            except ClusterError as error:
                self._health.hindrance = f"it is not known whose namespaces are: {error}"
            await leadership.release()
            if self._health.hindrance != self._hindrance_told:
                logger.error("not leading: %s", self._health.hindrance)
                self._hindrance_told = self._health.hindrance
            await self._clock.sleep(HINDERED_SECONDS)

    async def _lead(self, cluster: ApiServer, leadership: Leadership, own: OwnDeployment) -> None:
        """Act until told to stop or until leading is lost."""
        began = self._clock.monotonic()
        kopf_app = KopfApp(self._settings.watched_namespaces)
        parts = Parts(self._settings, cluster, self._clock)
        self._health.leads(began, parts.queue, (parts.slices, *parts.caches.all))
        kopf_app.watch(MODEL_ROUTES.plural, parts.routes.put, parts.routes.remove)
        kopf_app.watch(CONSUMERS.plural, parts.consumers.put, parts.consumers.remove)
        work = dict(parts.loops())
        work["lease"] = leadership.keep()
        work["rights"] = Rights(
            cluster, self._clock, self._settings.watched_namespaces, partial(self._health.note, "watch")
        ).run()
        work["troubles"] = self._tell_troubles(own)
        work["kopf"] = self._start(cluster, kopf_app, parts, began)
        work["stop"] = _wait(self._stopping)
        tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in work.items()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if not self._stopping.is_set():
                raise LeadershipLostError("the lease could not be renewed")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await leadership.release()
            await kopf_app.stop()

    async def _start(self, cluster: ApiServer, kopf_app: KopfApp, parts: Parts, began: float) -> None:
        """Bring everything up in order, then work for ever."""
        while await _missing_kinds(cluster):
            await self._clock.sleep(API_WAIT_SECONDS)
        await kopf_app.start()
        self._take_signals()  # Kopf has put its own handlers there
        sweep = parts.sweep(partial(self._health.note, "list"))
        await sweep.first()
        gc.collect()
        gc.freeze()  # what is there now stays: no later collection need look at it
        self._health.sees_all = True
        logger.info("ready", extra={"seconds": round(self._clock.monotonic() - began, 3)})
        async with asyncio.TaskGroup() as group:
            group.create_task(parts.queue.run(), name="queue")
            group.create_task(sweep.run(), name="sweep")
            group.create_task(kopf_app.ended(), name="kopf's tasks")

    def _take_signals(self) -> None:
        """Some end the process in order; those that mean "read your files anew" elsewhere do nothing here."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._stopping.set)
        for number in HARMLESS_SIGNALS:
            loop.add_signal_handler(number, _note_signal, number)

    async def _unless_stopping(self, work: Coroutine[Any, Any, None]) -> bool:
        """Await ``work``; false: told to stop before it was done."""
        task, stop = asyncio.create_task(work), asyncio.create_task(_wait(self._stopping))
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
            return False
        task.result()
        return not self._stopping.is_set()

    def _unhealthy(self) -> str:
        return self._health.unhealthy(self._clock.monotonic())

    def _unready(self) -> str:
        self._health.has_heard = self._leadership is not None and self._leadership.heard.is_set()
        return self._health.unready()

    async def _tell_troubles(self, own: OwnDeployment) -> None:
        """Missing rights, on the operator's own Deployment: no ModelRoute shows what keeps it from being seen."""
        while True:
            await self._clock.sleep(TELL_SECONDS)
            for trouble in filter(is_missing_right, self._health.troubles):
                await own.warn("RightMissing", trouble)


def ignore_harmless_signals() -> None:
    """Until the process can take them: by default they end it."""
    for number in HARMLESS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _note_signal(number: signal.Signals) -> None:
    logger.info("signal", extra={"signal": number.name, "effect": "nothing: objects are watched"})


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _missing_kinds(cluster: ApiServer) -> set[str]:
    """Kinds of ours that the API server does not serve (yet): the chart installs them beside this process."""
    try:
        served = await cluster.get(MODEL_ROUTES.group_version)
    except ClusterError as error:
        logger.warning("kinds not listed: %s", error)
        served = None
    kinds = {resource["name"] for resource in (served or {}).get("resources") or ()}
    missing = {MODEL_ROUTES.plural, CONSUMERS.plural} - kinds
    if missing:
        logger.debug("waiting for kinds", extra={"missing": sorted(missing)})
    return missing
