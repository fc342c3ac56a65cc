"""Objects out of files as an API server would have them: with an identity, a generation and a status.

Identity comes of kind, namespace and name; a generation grows with each change of a spec, also over restarts.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from overspill_api.names import GROUP
from overspill_box.core.written_files import WrittenObject
from overspill_operator.clock import Clock
from overspill_operator.core.conditions import timestamp
from overspill_operator.core.objects import Metadata
from overspill_operator.ports import Json

KEPT_MAX: Final = 4096
"""Objects whose generation is remembered; those that were seen last stay."""


class Objects:
    """All objects that the files hold, told apart from those before."""

    def __init__(self, clock: Clock, kept: Mapping[str, Any], put: Mapping[str, Callable[[Json], None]],
                 remove: Mapping[str, Callable[[str, str], None]]) -> None:  # fmt: skip
        """``kept``: see ``kept``, from the process before; ``put`` and ``remove``: by kind, who is told."""
        self._clock = clock
        self._put = put
        self._remove = remove
        self._remembered: dict[str, dict[str, Any]] = {
            name: dict(entry) for name, entry in kept.items() if isinstance(entry, dict) and "generation" in entry
        }
        self._there: dict[str, Json] = {}
        self.statuses: dict[str, Json] = {}
        """By ``<kind> <namespace>/<name>``."""

    @property
    def kept(self) -> Mapping[str, Any]:
        """What the next process needs."""
        return self._remembered

    def take(self, written: Iterable[WrittenObject]) -> None:
        """These are all that there are now."""
        now = {entry.identity: entry for entry in written}
        for identity in self._there.keys() - now.keys():
            raw = self._there.pop(identity)
            meta = raw["metadata"]
            self.statuses.pop(identity, None)
            self._remove[raw["kind"]](f"{meta['namespace']}/{meta['name']}", meta["uid"])
        for identity, entry in now.items():
            raw = self._raw(entry)
            if self._there.get(identity) != raw:
                self._there[identity] = raw
                self._put[entry.kind]({**raw, "status": self.statuses.get(identity) or {}})

    async def report(self, kind: str, meta: Metadata, status: Json) -> Json | None:
        """See the operator's ``ports.Statuses``: it is kept here."""
        identity = f"{kind} {meta.key}"
        raw = self._there.get(identity)
        if raw is None:
            return None
        status = {field: value for field, value in status.items() if value is not None}
        self.statuses[identity] = status
        if raw["metadata"]["generation"] == meta.generation:
            self.on_status(kind, {**raw, "status": status})
        return status

    on_status: Callable[[str, Json], None] = staticmethod(lambda _kind, _raw: None)
    """Told of each status that was written, with its object."""

    def _raw(self, entry: WrittenObject) -> dict[str, Any]:
        digest = hashlib.blake2b(json.dumps(entry.spec, sort_keys=True).encode(), digest_size=16).hexdigest()
        known = self._remembered.pop(entry.identity, None)
        if known is None:
            known = {"generation": 0, "created": timestamp(self._clock.unix())}
        if known.get("hash") != digest:
            known = {**known, "generation": int(known["generation"]) + 1, "hash": digest}
        self._remembered[entry.identity] = known  # the last one is the one that was seen last
        while len(self._remembered) > KEPT_MAX:
            del self._remembered[next(iter(self._remembered))]
        return {
            "kind": entry.kind,
            "metadata": {
                "namespace": entry.namespace,
                "name": entry.name,
                "uid": str(uuid5(NAMESPACE_URL, f"https://{GROUP}/{entry.identity}")),
                "generation": known["generation"],
                "creationTimestamp": known.get("created", ""),
                "resourceVersion": str(known["generation"]),
            },
            "spec": entry.spec,
        }
