"""Server-side apply of what shall be, only where it is not so already."""

from time import monotonic

from overspill_operator.adapters import telemetry
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.core.drift import has_drifted, project
from overspill_operator.core.manifests import ANNOTATION_HASH, Manifest
from overspill_operator.ports import Cluster, ClusterError, Json

REFUSED_AGAIN_SECONDS = 30.0
"""A manifest that the API server refused is tried again after this long: a quota or a policy may have changed."""


class Applier:
    """Applies manifests and remembers how the API server wrote them down."""

    def __init__(self, cluster: Cluster) -> None:
        """On ``cluster``."""
        self._cluster = cluster
        self._accepted: dict[str, tuple[Manifest, object]] = {}
        self._refused: dict[str, tuple[Manifest, ClusterError, float]] = {}
        self._clean: dict[str, tuple[Manifest, str]] = {}

    def is_due(self, cache: WatchCache, desired: Manifest) -> bool:
        """Whether ``ensure`` would write."""
        live = cache.get(desired["metadata"]["namespace"], desired["metadata"]["name"])
        return live is None or self._drifted(_path(cache, desired), desired, live)

    async def ensure(self, cache: WatchCache, desired: Manifest) -> Json:
        """The live object, applied first where it is missing or differs.

        Raises ClusterError; a refusal is remembered for a while, so that it does not cost a call at every look.
        """
        meta = desired["metadata"]
        live = cache.get(meta["namespace"], meta["name"])
        path = _path(cache, desired)
        if live is not None and ("deletionTimestamp" in live["metadata"] or not self._drifted(path, desired, live)):
            return live
        refused = self._refused.get(path)
        if refused and refused[0] == desired and monotonic() - refused[2] < REFUSED_AGAIN_SECONDS:
            raise refused[1]
        try:
            with cache.writing(meta["namespace"], meta["name"]):
                answer = await self._cluster.apply(path, desired)
                cache.wrote(answer)
        except ClusterError as error:
            if error.is_refusal:
                self._refused[path] = (desired, error, monotonic())
            raise
        self._refused.pop(path, None)
        rest, _ = _without_replicas(desired)
        self._accepted[path] = (rest, project(rest, answer))
        self._clean[path] = (desired, answer["metadata"]["resourceVersion"])
        telemetry.APPLIES.labels(desired["kind"], _why(desired, live)).inc()
        return answer

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

    def _drop(self, path: str) -> None:
        self._accepted.pop(path, None)
        self._refused.pop(path, None)
        self._clean.pop(path, None)

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
