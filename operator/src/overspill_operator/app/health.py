"""What /healthz and /readyz say of a process: facts that its parts note, and what follows from them."""

from collections.abc import Sequence
from typing import Protocol

STALE_SECONDS = 120.0
"""A key that waits, or a reconcile that runs, for longer than this means that the process hangs."""


class Queue(Protocol):
    """What waits to be reconciled."""

    @property
    def longest_run_seconds(self) -> float:
        """For how long the oldest reconcile that runs has run."""

    @property
    def oldest_wait_seconds(self) -> float:
        """For how long the oldest key has waited."""


class Watched(Protocol):
    """Objects that are followed."""

    @property
    def trouble(self) -> str:
        """Why they can't be; empty: they are."""


class Health:
    """Of one process, from its start to its end."""

    def __init__(self) -> None:
        self.hindrance = ""
        """Why it must not lead; empty: it may."""
        self.has_heard = False
        """Whether the API server has ever answered."""
        self.sees_all = False
        """Whether every object has been read."""
        self._queue: Queue | None = None
        self._watched: Sequence[Watched] = ()
        self._lead_since = 0.0
        self._noted: dict[str, str] = {}

    def leads(self, now: float, queue: Queue, watched: Sequence[Watched]) -> None:
        """It leads since ``now`` (monotonic seconds), and has begun to read objects."""
        self._lead_since, self._queue, self._watched = now, queue, watched

    def note(self, of: str, trouble: str) -> None:
        """Why the objects that people write can't be seen, by ``list`` or ``watch``; empty: they can."""
        self._noted[of] = trouble

    @property
    def troubles(self) -> list[str]:
        """Why something is not seen: first of what people write, then of where gateways are, then of what is made."""
        noted = [self._noted.get(of, "") for of in ("list", "watch")]
        return [trouble for trouble in (*noted, *(one.trouble for one in self._watched)) if trouble]

    def unready(self) -> str:
        """Why it does not do its work; empty: it does, or stands by."""
        if self.hindrance:
            return f"not leading: {self.hindrance}"
        if not self.has_heard:
            return "the API server has not been reached yet"
        if self._queue is None:
            return ""
        return "\n".join(self.troubles) or ("" if self.sees_all else "objects are being read")

    def unhealthy(self, now: float) -> str:
        """Why it hangs (monotonic seconds); empty: it does not."""
        if self._queue is None:
            return ""
        if not self.sees_all and now - self._lead_since > STALE_SECONDS:
            return "leading for two minutes without having seen every object: is the API server reachable?"
        if self._queue.longest_run_seconds > STALE_SECONDS:
            return f"a reconcile has been running for {self._queue.longest_run_seconds:.0f} s"
        if self.sees_all and self._queue.oldest_wait_seconds > STALE_SECONDS * 5:
            return f"an object has been waiting for {self._queue.oldest_wait_seconds:.0f} s"
        return ""
