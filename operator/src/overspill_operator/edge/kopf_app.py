"""Kopf: the watch of what people write. Handlers only hand over; no annotation, finalizer or patch by Kopf.

Kopf runs as long as this process leads. Its tasks are started one by one (``kopf.spawn_tasks``) because
``kopf.operator`` ends by cancelling every task of the loop that is younger than itself, ours too.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator
from itertools import chain, repeat
from typing import Any

import kopf

from overspill_api.names import GROUP, VERSION
from overspill_operator.core.json_object import Json

Put = Callable[[Json], None]
Remove = Callable[[str, str], None]

STOP_SECONDS = 3.0


class KopfApp:
    """Kopf with the handlers of this operator."""

    def __init__(self, namespaces: tuple[str, ...] = ()) -> None:
        """Without handlers yet. ``namespaces``: where to watch, none: everywhere."""
        self._namespaces = namespaces
        self._registry = kopf.OperatorRegistry()
        self._stop = asyncio.Event()
        self._tasks: Collection[asyncio.Task[Any]] = ()
        kopf.on.login(registry=self._registry)(_login)

    def watch(self, plural: str, put: Put, remove: Remove) -> None:
        """Hand every change of a kind of ours over to ``put``, every deletion to ``remove`` (key, uid)."""

        async def hand_over(event: Any, **_: Any) -> None:
            raw = event["object"]
            meta = raw["metadata"]
            if event["type"] == "DELETED":
                remove(f"{meta.get('namespace', '')}/{meta['name']}", meta["uid"])
            else:
                put(raw)

        kopf.on.event(GROUP, VERSION, plural, registry=self._registry, id=plural)(hand_over)

    async def start(self) -> None:
        """Begin to watch."""
        self._tasks = await kopf.spawn_tasks(
            registry=self._registry,
            settings=_settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
        )

    async def ended(self) -> None:
        """Wait until one of Kopf's tasks ends, which none should; raises its error."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        raise RuntimeError(f"Kopf has stopped by itself: {', '.join(task.get_name() for task in done)}")

    async def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*self._tasks, return_exceptions=True)


async def _login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account, or outside a cluster the current context of KUBECONFIG."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


class _NoDiffBase(kopf.DiffBaseStorage):
    """Remembers nothing: no handler here asks what has changed, and copying each object for it is half the cost."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        pass


class _Backoffs:
    """Pauses between attempts, in seconds: 1, 2, 4 and so on up to 30, without end."""

    def __iter__(self) -> Iterator[float]:
        return chain((1.0, 2.0, 4.0, 8.0, 16.0), repeat(30.0))


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # a Lease elects the leader
    settings.posting.enabled = False  # Events are posted on transitions, by this operator itself
    settings.scanning.disabled = True  # our kinds are there before Kopf starts, others do not matter
    settings.watching.server_timeout = 290
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 20
    # For ever: after the last of Kopf's own pauses a missing right ends the process, which grants none.
    settings.networking.error_backoffs = _Backoffs()
    settings.execution.max_workers = 1  # no handler is synchronous
    settings.persistence.finalizer = f"{GROUP}/kopf"  # never set: no handler asks for it
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{GROUP}")
    settings.persistence.diffbase_storage = _NoDiffBase()
    return settings
