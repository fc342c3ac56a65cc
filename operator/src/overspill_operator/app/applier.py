"""Server-side apply of what shall be: only where it is not so already, and only over objects that are ours."""

from dataclasses import dataclass

from overspill_operator.adapters import telemetry
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.clock import Clock
from overspill_operator.core.drift import has_drifted, projected
from overspill_operator.core.dropped_fields import dropped_fields, explanation
from overspill_operator.core.manifests import ANNOTATION_HASH, Manifest
from overspill_operator.core.ownership import is_ours, refusal
from overspill_operator.ports import Cluster, ClusterError, Json, NotOwnedError

RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 30.0
"""A manifest that the API server refused is tried again after a pause that doubles up to this: a quota or a policy may
have changed, and nothing tells of it."""

_DRY_RUN = "dry run"
"""In the API server's words where a webhook has side effects and so cannot be asked what it would do."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    desired: Manifest
    error: ClusterError
    failures: int
    again_at: float


class Applier:
    """Applies manifests and remembers how the API server wrote them down."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        """On ``cluster``."""
        self._cluster = cluster
        self._clock = clock
        self._accepted: dict[str, tuple[Manifest, object]] = {}
        self._refused: dict[str, _Refusal] = {}
        self._dropped: dict[str, tuple[Manifest, ClusterError]] = {}
        self._clean: dict[str, tuple[Manifest, str]] = {}

    def is_due(self, cache: WatchCache, desired: Manifest) -> bool:
        """Whether ``ensure`` would write or raise."""
        live = cache.get(desired["metadata"]["namespace"], desired["metadata"]["name"])
        path = _path(cache, desired)
        return live is None or path in self._dropped or self._drifted(path, desired, live)

    async def ensure(self, cache: WatchCache, desired: Manifest, *, try_first: bool = False) -> Json:
        """The live object, applied first where it is missing or differs.

        ``try_first``: ask what would come of it before a change is made that cannot be taken back, such as a roll-out.
        Raises ClusterError, NotOwnedError where the name is somebody else's. A refusal is remembered for a while, so
        that it does not cost a call at every look.
        """
        meta = desired["metadata"]
        live = cache.get(meta["namespace"], meta["name"])
        path = _path(cache, desired)
        if live is not None and is_ours(desired, live):  # noqa: SIM102 - two questions
            if "deletionTimestamp" in live["metadata"] or self._is_clean(path, desired, live):
                return live
        rest, _ = _without_replicas(desired)
        self._recall(path, rest)
        try:
            answer = await self._apply(cache, desired, live, try_first=try_first)
        except ClusterError as error:
            self._remember(path, rest, error)
            raise
        self._refused.pop(path, None)
        self._accepted[path] = (rest, projected(rest, answer))
        self._clean[path] = (desired, answer["metadata"]["resourceVersion"])
        paths = dropped_fields(rest, answer)
        self._dropped.pop(path, None)
        if paths:
            self._dropped[path] = (rest, _dropped(paths))
            raise self._dropped[path][1]
        return answer

    def failures(self, cache: WatchCache, namespace: str, name: str) -> int:
        """How often in a row an object was refused."""
        refused = self._refused.get(cache.resource.path(namespace, name))
        return refused.failures if refused else 0

    def seconds_until_retry(self, cache: WatchCache, namespace: str, name: str) -> float:
        """When a refused object may be tried again."""
        refused = self._refused.get(cache.resource.path(namespace, name))
        return max(0.0, refused.again_at - self._clock.monotonic()) + 0.01 if refused else RETRY_SECONDS_MAX

    async def remove(self, cache: WatchCache, namespace: str, name: str) -> None:
        """Delete the object where there is one."""
        live = cache.get(namespace, name)
        path = cache.resource.path(namespace, name)
        self._drop(path)
        if live is not None and "deletionTimestamp" not in live["metadata"]:
            await self._cluster.delete(path, uid=live["metadata"].get("uid", ""))
            cache.removed(namespace, name)

    def forget(self, cache: WatchCache, namespace: str, name: str) -> None:
        """Drop what is remembered of an object that Kubernetes collects by itself."""
        self._drop(cache.resource.path(namespace, name))

    async def _apply(self, cache: WatchCache, desired: Manifest, live: Json | None, *, try_first: bool) -> Json:
        """Apply over what is ours by identity, or make it where a look at the server itself finds none."""
        path, meta = _path(cache, desired), desired["metadata"]
        found = live if live is not None else await self._cluster.get(path)
        if found is not None and not is_ours(desired, found):
            raise NotOwnedError(refusal(desired["kind"], desired, found))
        # With its uid it is refused rather than put over another object that has taken the name meanwhile; a new one
        # gives way to whoever was quicker.
        named = {**desired, "metadata": {**meta, "uid": found["metadata"]["uid"]}} if found is not None else desired
        force = found is not None
        if try_first:
            await self._try(path, desired, named, force=force)
        with cache.writing(meta["namespace"], meta["name"]):
            answer = await self._cluster.apply(path, named, force=force)
            cache.wrote(answer)
        telemetry.APPLIES.labels(desired["kind"], _why(desired, found)).inc()
        return answer

    async def _try(self, path: str, desired: Manifest, named: Manifest, *, force: bool) -> None:
        """Raise what would come of an apply."""
        try:
            answer = await self._cluster.apply(path, named, force=force, dry_run=True)
        except ClusterError as error:
            if _DRY_RUN in error.message.lower().replace("-", " "):
                return  # a webhook that cannot be asked
            raise
        paths = dropped_fields(desired, answer)
        if paths:
            raise _dropped(paths)

    def _is_clean(self, path: str, desired: Manifest, live: Json) -> bool:
        """Whether nothing need be written; raises where the API server does not keep all of what was."""
        if self._drifted(path, desired, live):
            return False
        known = self._dropped.get(path)
        if known and known[0] == _without_replicas(desired)[0]:
            raise known[1]
        return True

    def _recall(self, path: str, desired: Manifest) -> None:
        """Raise a refusal that is too young to be tried again."""
        refused = self._refused.get(path)
        if refused and refused.desired == desired and self._clock.monotonic() < refused.again_at:
            raise refused.error

    def _remember(self, path: str, desired: Manifest, error: ClusterError) -> None:
        before = self._refused.get(path)
        failures = before.failures + 1 if before and before.desired == desired else 1
        pause = min(RETRY_SECONDS * 2.0 ** (failures - 1), RETRY_SECONDS_MAX)
        self._refused[path] = _Refusal(desired, error, failures, self._clock.monotonic() + pause)

    def _drop(self, path: str) -> None:
        for memory in (self._accepted, self._refused, self._clean, self._dropped):
            memory.pop(path, None)

    def _drifted(self, path: str, desired: Manifest, live: Json) -> bool:
        version = live["metadata"]["resourceVersion"]
        clean = self._clean.get(path)
        if clean and clean[1] == version and clean[0] == desired:
            return False
        rest, replicas = _without_replicas(desired)
        if replicas is not None and live["spec"].get("replicas") != replicas:
            return True
        accepted = self._accepted.get(path)
        if has_drifted(rest, live, accepted[1] if accepted and accepted[0] == rest else None):
            return True
        self._clean[path] = (desired, version)
        return False


def _dropped(paths: list[str]) -> ClusterError:
    return ClusterError(422, "FieldsDropped", explanation(paths))


def _without_replicas(desired: Manifest) -> tuple[Manifest, int | None]:
    """The manifest without its number of replicas, and that: scaling must not make the rest look unknown."""
    spec = desired.get("spec")
    if spec is None or "replicas" not in spec:
        return desired, None
    return {**desired, "spec": {name: value for name, value in spec.items() if name != "replicas"}}, spec["replicas"]


def _path(cache: WatchCache, desired: Manifest) -> str:
    return cache.resource.path(desired["metadata"]["namespace"], desired["metadata"]["name"])


def _why(desired: Manifest, live: Json | None) -> str:
    if live is None:
        return "Created"
    annotations = desired["metadata"].get("annotations") or {}
    before = (live["metadata"].get("annotations") or {}).get(ANNOTATION_HASH)
    return "Drifted" if before == annotations.get(ANNOTATION_HASH) else "Changed"
