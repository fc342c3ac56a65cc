"""What placing engines goes by: engines as they are, what routes need, and whether engines fit together. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from overspill_box.core.local_engine import Claim


class Stage(StrEnum):
    """What an engine is doing."""

    STARTING = "Starting"
    """Its process runs and cannot answer yet."""
    READY = "Ready"
    """It is among its route's endpoints."""
    DRAINING = "Draining"
    """It has been taken out of the endpoints and finishes what it has begun."""
    FALLING_ASLEEP = "FallingAsleep"
    """It has been told to sleep."""
    ASLEEP = "Asleep"
    """It sleeps."""
    WAKING = "Waking"
    """It has been told to wake up, and cannot answer yet."""
    STOPPING = "Stopping"
    """It has been told to end."""


UP = frozenset({Stage.STARTING, Stage.READY, Stage.DRAINING, Stage.WAKING})
"""Stages that count as a replica: it serves, is about to, or can be taken back."""


@dataclass(frozen=True, slots=True)
class EngineFact:
    """One engine whose process has not ended."""

    name: str
    """``<namespace>/<route>#<ordinal>``."""
    route: str
    """``<namespace>/<route>``."""
    stage: Stage
    """What it is doing."""
    since_unix: float
    """Since when. Of one that was taken back (``Act.RESUME``): since when it had been ready before."""
    claim: Claim
    """What it takes, as it was started."""
    in_flight: int = 0
    """Requests that it has now."""
    last_used_unix: float | None = None
    """When a request last began or ended at it; None: none has since it was last ready."""
    is_current: bool = True
    """Whether it is made from what its route's engine shall be now."""
    was_asleep: bool = False
    """Of one that ends: whether it ends out of its sleep."""
    drain_seconds: float = 60.0
    """The longest that it may finish what it has begun."""

    @property
    def held(self) -> "Held":
        """What it takes now."""
        asleep = self.stage is Stage.ASLEEP or (self.stage is Stage.STOPPING and self.was_asleep)
        return Held(self.claim, is_asleep=asleep)

    @property
    def ordinal(self) -> int:
        """Its number within its route."""
        return int(self.name.rpartition("#")[2])


@dataclass(frozen=True, slots=True)
class RouteNeed:
    """What one route needs."""

    key: str
    """``<namespace>/<route>``."""
    claim: Claim
    """What one replica takes."""
    wanted: int
    """Replicas that scaling has decided."""
    least: int = 0
    """Replicas that are kept though nobody asks (``minReplicas``), unless another route's requests wait."""
    waiting_since_unix: float | None = None
    """Since when requests wait or spill because no replica could take them; None: none does."""
    may_start_unix: float = 0.0
    """Not before this time: a replica has just ended by itself."""
    hindrance: str = ""
    """Why none can be started now, whatever room there is: what it needs is being made. Empty: nothing hinders."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one engine takes."""

    claim: Claim
    """Its claim."""
    is_asleep: bool = False
    """Whether it takes what is left of it in its sleep."""

    def bytes_of(self, memory_bytes: int) -> int:
        """Of a machine with so much memory for engines."""
        whole = memory_bytes if self.claim.memory_bytes is None else self.claim.memory_bytes
        return min(self.claim.asleep_bytes, whole) if self.is_asleep else whole


def fit(held: Iterable[Held], memory_bytes: int | None) -> bool:
    """Whether engines may be there together: their memory is no more than there is, or they are all of one group.

    Where the machine's memory is not known, one engine is awake at a time, or those of one group.
    """
    there = list(held)
    if memory_bytes is None:
        there = [one for one in there if not one.is_asleep]
    if len(there) < 2 and memory_bytes is None:
        return True
    groups = {one.claim.group for one in there}
    if len(groups) == 1 and None not in groups:
        return True
    return memory_bytes is not None and sum(one.bytes_of(memory_bytes) for one in there) <= memory_bytes
