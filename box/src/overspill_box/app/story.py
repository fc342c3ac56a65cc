"""What has happened to routes: the last events of each, for whoever asks. The log has them as well."""

from collections import deque
from typing import Any, Final

from overspill_operator.clock import Clock
from overspill_operator.core.conditions import timestamp
from overspill_operator.core.objects import Metadata

KEPT: Final = 20
"""Events of one object that are shown."""


class Story:
    """The operator's ``ports.Events``, in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: dict[str, deque[dict[str, Any]]] = {}

    def record(self, kind: str, meta: Metadata, *, warning: bool, reason: str, note: str, action: str) -> None:  # noqa: ARG002 - the port's
        """See ``ports.Events``. Whoever calls it has logged it."""
        self.add(f"{kind} {meta.key}", warning=warning, reason=reason, note=note)

    def add(self, identity: str, *, warning: bool, reason: str, note: str) -> None:
        """An event of an object; ``identity``: kind and ``namespace/name``."""
        event = {"time": timestamp(self._clock.unix()), "warning": warning, "reason": reason, "note": note}
        self._events.setdefault(identity, deque(maxlen=KEPT)).appendleft(event)

    def of(self, identity: str) -> list[dict[str, Any]]:
        """An object's last events, the newest first."""
        return list(self._events.get(identity, ()))

    def forget(self, identity: str) -> None:
        """The object is gone."""
        self._events.pop(identity, None)
