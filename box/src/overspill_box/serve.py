"""``overspill serve``: gateway, deciding and engines together in one process, started and ended in order."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import uvloop

from overspill_box.app.engine_http import AiohttpEngineHttp
from overspill_box.app.files import Files, FilesError
from overspill_box.app.machine import Profiles, ProfilesError
from overspill_box.app.preparation import Preparation
from overspill_box.app.source import BoxSource
from overspill_box.app.state_directory import RUNNING, StateDirectory, StateError
from overspill_box.app.traffic import GatewayTraffic
from overspill_box.core.local_engine import Machine
from overspill_box.environment import VllmOfMachine
from overspill_box.environments.faults import MakingError
from overspill_box.logs import set_up_logs
from overspill_box.parts import Parts
from overspill_box.processes.listeners import listener_at
from overspill_box.processes.local_processes import LocalProcesses
from overspill_box.settings import ServeError, ServeSettings, shown
from overspill_gateway.core.http.outbound_proxy import ProxyError, read_proxy_rules
from overspill_gateway.gateway import Gateway
from overspill_gateway.main import ignore_harmless_signals, raise_open_files_limit
from overspill_gateway.settings import Settings as GatewaySettings
from overspill_gateway.sources.port import Sink
from overspill_operator.clock import SystemClock

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""How often files are looked at."""
KEEP_SECONDS: Final = 30.0
"""How often what the next process needs is written down, where it has changed."""
DRAIN_SECONDS: Final = 60.0
BODY_BYTES_MAX: Final = 64 * 2**20
STREAM_INTERVAL_SECONDS: Final = 0.002
OBJECTS: Final = "objects"
STATUSES: Final = "statuses"


def run(settings: ServeSettings, environment: Mapping[str, str] = os.environ) -> None:
    """Serve until told to end. Raises ServeError."""
    ignore_harmless_signals()
    state = StateDirectory(settings.state)
    try:
        state.make()
        state.lock()
        files = Files(settings.files, [state.consumers])
        files.read()
        profiles = Profiles(settings.profiles)
        pepper = state.pepper()
        vllm = VllmOfMachine(settings.vllm, environment, logger.info)
    except (StateError, FilesError, ProfilesError, MakingError) as error:
        raise ServeError(str(error)) from error
    set_up_logs(settings.log_level)
    raise_open_files_limit()
    try:
        failure = uvloop.run(_Serving(settings, state, files, profiles, pepper, vllm, environment).run())
    finally:
        state.unlock()
    if failure:
        raise ServeError(failure)


class _Serving:
    """One run."""

    def __init__(
        self,
        settings: ServeSettings,
        state: StateDirectory,
        files: Files,
        profiles: Profiles,
        pepper: bytes,
        vllm: VllmOfMachine,
        environment: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._state = state
        self._files = files
        self._profiles = profiles
        self._vllm = vllm
        self._environment = environment
        self._gateway_settings = gateway_settings(settings, state, pepper, environment)
        self._stopping = asyncio.Event()
        self._look_now = asyncio.Event()
        self._signal = signal.SIGTERM
        self._kept: tuple[Any, Any] = ({}, {})

    async def run(self) -> str:
        """Serve until told to end, or something fails that should not: why; empty: it was told to."""
        self._take_signals()
        async with aiohttp.ClientSession() as session:
            return await self._run(session)

    async def _run(self, session: aiohttp.ClientSession) -> str:
        settings, state = self._settings, self._state
        pages: dict[bytes, Any] = {}
        sources: list[BoxSource] = []

        def make_source(sink: Sink) -> BoxSource:
            sources.append(BoxSource(sink))
            return sources[0]

        gateway = Gateway(self._gateway_settings, make_source, pages=pages)
        clock, admin = SystemClock(), shown(settings.admin_listen)
        changed: list[Callable[[], None]] = []
        try:
            processes = LocalProcesses(
                state.folder, clock, lambda _name: [tell() for tell in changed], environment=self._environment
            )
        except OSError as error:
            return f"the state directory {state.folder} can't be written to: {error.strerror}"
        about = self._about()
        preparation = Preparation(self._vllm, clock)
        machine = Machine(preparation.program, "", settings.memory_bytes)
        parts = Parts(
            source=sources[0],
            traffic=GatewayTraffic(gateway.catalog),
            processes=processes,
            http=AiohttpEngineHttp(session, listener_at),
            machine=lambda: machine,
            hindrance=preparation.hindrance,
            profiles=lambda: self._profiles.current,
            key_of=state.engine_key,
            free_port=processes.free_port,
            secrets_folder=settings.secrets,
            kept=state.read_json(OBJECTS),
            statuses=_without_numbers(state.read_json(STATUSES)),
            admin_address=admin,
            url=f"{settings.url}/v1",
            about=about,
            clock=clock,
        )
        changed.append(parts.engines.loop.poke)
        preparation.on_change = parts.engines.loop.poke
        pages.update(parts.pages)
        parts.take(self._files.content)
        await parts.begin()
        try:
            await gateway.start()
        except OSError as error:  # taken since it was looked at
            return f"{shown(settings.listen)} or {admin} can't be listened on: {error.strerror or error}; try again"
        work = dict(parts.loops())
        work["files"] = self._follow_files(parts)
        work["state"] = self._keep_state(parts)
        tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in work.items()]
        try:
            state.write_json(RUNNING, about)
        except OSError as error:
            logger.warning("overspill serve --status will find nothing, the state can't be written: %s", error)
        self._say_hello(parts)
        gc.collect()
        gc.freeze()  # what is there now stays: no later collection need look at it
        failure = await self._until_stopped(gateway, tasks)
        await self._drain(gateway)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await parts.engines.loop.close()
        await preparation.close()
        keep = self._keeps_engines()
        await self._or_stop_again(processes.close(keep=keep))
        self._write_state(parts)
        with contextlib.suppress(OSError):
            state.remove_json(RUNNING)
        return failure

    # -- beginning and ending ------------------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._look_now.set)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            loop.add_signal_handler(number, lambda: None)

    def _stop(self, number: signal.Signals) -> None:
        self._signal = number
        self._stopping.set()

    async def _until_stopped(self, gateway: Gateway, tasks: "list[asyncio.Task[None]]") -> str:
        """Wait until told to end, or until something ends that never should: why; empty: told to."""
        stop = asyncio.create_task(self._stopping.wait())
        failed = asyncio.create_task(gateway.failed.wait())
        done, _ = await asyncio.wait({stop, failed, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        failed.cancel()
        for task in tasks:
            if task in done:
                error = task.exception()
                logger.error("%s has ended", task.get_name(), exc_info=error)
                return f"{task.get_name()} has ended: {error or 'without a reason'}; the log says more"
        self._stopping.clear()
        return gateway.failure

    async def _drain(self, gateway: Gateway) -> None:
        """Let answers finish; a second signal ends them."""
        notify(self._environment, "STOPPING=1")
        if not await self._or_stop_again(gateway.drain()):
            await gateway.stop()

    async def _or_stop_again(self, work: Any) -> bool:
        """Do this, unless told to stop once more; whether it was done."""
        task, again = asyncio.ensure_future(work), asyncio.create_task(self._stopping.wait())
        await asyncio.wait({task, again}, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return False

    def _keeps_engines(self) -> bool:
        """Whether engines outlive this process."""
        if self._settings.keep_engines is not None:
            return self._settings.keep_engines
        return self._signal is signal.SIGTERM and is_service(self._environment)

    def _about(self) -> dict[str, Any]:
        """What status, and a file in the state directory, say of this process."""
        settings = self._settings
        return {
            "url": f"{settings.url}/v1",
            "admin": f"http://{shown(settings.admin_listen)}",
            "pid": os.getpid(),
            "state": str(self._state.folder),
        }

    def _say_hello(self, parts: Parts) -> None:
        """One line that says how to ask, for people; and one for a service manager that waits for it."""
        settings = self._settings
        models = ", ".join(sorted(route.model for route in parts.routes))
        auth = "without API keys" if settings.no_auth else "with API keys: overspill keys create NAME --local"
        where = f"{settings.url}/v1 ({auth}); http://{shown(settings.admin_listen)}/status says how they fare"
        with contextlib.suppress(OSError):  # nobody may be there to read it
            print(f"Overspill serves {models} at {where}")
            sys.stdout.flush()
        notify(self._environment, "READY=1")

    # -- what goes on --------------------------------------------------------------------------------------------------

    async def _follow_files(self, parts: Parts) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), LOOK_SECONDS)
            if self._look_now.is_set():
                self._look_now.clear()
                logger.info("files are looked at")
            try:
                files, profiles = await asyncio.to_thread(self._look)
                if files:
                    parts.take(self._files.content)
                    self._write_state(parts)
                if profiles:
                    parts.look_at_all_routes()
            except Exception:  # whatever a file holds, looking goes on
                logger.exception("files not taken over")

    def _look(self) -> tuple[bool, bool]:
        """Whether objects, whether profiles are others than before. In a thread: disks may hang."""
        return self._files.look(), self._profiles.look()

    async def _keep_state(self, parts: Parts) -> None:
        while True:
            self._write_state(parts)
            await asyncio.sleep(KEEP_SECONDS)

    def _write_state(self, parts: Parts) -> None:
        now = {key: dict(entry) for key, entry in parts.objects.kept.items()}, dict(parts.objects.statuses)
        if now == self._kept:
            return
        try:
            self._state.write_json(OBJECTS, now[0])
            self._state.write_json(STATUSES, now[1])
            self._kept = now
        except (OSError, TypeError) as error:
            logger.warning("the state can't be written: %s", error)


def gateway_settings(
    settings: ServeSettings, state: StateDirectory, pepper: bytes, environment: Mapping[str, str]
) -> GatewaySettings:
    """The gateway's settings. Raises ServeError."""
    try:
        proxies = read_proxy_rules(environment)
    except ProxyError as error:
        raise ServeError(str(error)) from None
    return GatewaySettings(
        listen=settings.listen,
        admin_listen=settings.admin_listen,
        pepper=pepper,
        pod_name="serve",
        namespace="default",
        folder=None,
        kube_url=None,
        kube_ca=None,
        kube_token_file=None,
        kube_client_certificate=None,
        drain_seconds=DRAIN_SECONDS,
        drain_delay_seconds=0.0,
        body_bytes_max=BODY_BYTES_MAX,
        log_level=settings.log_level,
        cors_origins=settings.cors_origins,
        stream_interval_seconds=STREAM_INTERVAL_SECONDS,
        proxies=proxies,
        ledger=state.ledger,
        recording=Path(environment["OVERSPILL_RECORDING"]) if environment.get("OVERSPILL_RECORDING") else None,
        no_auth=settings.no_auth,
    )


def _without_numbers(statuses: Mapping[str, Any]) -> dict[str, Any]:
    """Statuses of a process before, without how many replicas there were to be: nobody waits for those now."""
    return {
        name: {field: value for field, value in status.items() if field != "desiredReplicas"}
        for name, status in statuses.items()
        if isinstance(status, dict)
    }


def is_service(environment: Mapping[str, str]) -> bool:
    """Whether a service manager has started this process itself, and not a terminal that it has started."""
    return "NOTIFY_SOCKET" in environment or environment.get("SYSTEMD_EXEC_PID") == str(os.getpid())


def notify(environment: Mapping[str, str], text: str) -> None:
    """Tell the service manager, where there is one that listens."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as endpoint:
        endpoint.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
