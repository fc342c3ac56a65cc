"""One replica of a route's engine on this machine, and one route's engine: what is remembered of each."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from overspill_box.core.local_engine import Claim, LocalEngine
from overspill_box.core.process import ProcessSpec
from overspill_box.core.restarts import Restarts
from overspill_box.core.room import EngineFact, Stage
from overspill_gateway.core.backends.rotation import EndpointFact

DRAIN_SECONDS: Final = 60.0
"""The longest that a replica of a route that is gone may finish what it has begun."""


@dataclass(slots=True)
class Replica:
    """One replica, from the order to start it until its process has ended."""

    name: str
    """``<namespace>/<route>#<ordinal>``."""
    port: int
    """On 127.0.0.1."""
    made_from: str
    """See ``ProcessSpec.made_from``."""
    claim: Claim
    """What it takes, as it was started."""
    stage: Stage
    """What it is doing."""
    since_unix: float
    """Since when."""
    started_unix: float
    """When it was started: tells it from another one of its name."""
    asked_unix: float | None = None
    """When it was asked for: before it was started, where it had to wait. None: by a process before this one."""
    process_unix: float | None = None
    """When its process was there; None: not yet, or nobody knows."""
    spec: ProcessSpec | None = None
    """As what it was started; None: by a process before this one."""
    is_being_started: bool = False
    """Whether its process is not there yet: what is known of one of its name is of the one before."""
    listens: bool = False
    """Whether it has been seen to listen on its port: before that another user's program may."""
    ready_since_unix: float | None = None
    """Since when it has been able to serve; None: it never was."""
    last_used_unix: float | None = None
    """When a request last began or ended at it, since it was ready."""
    served: int = 0
    """How many requests its route's replicas had answered at the last look."""
    was_busy: bool = False
    """Whether it had requests at the last look."""
    was_asleep: bool = False
    """Of one that ends: whether out of its sleep."""
    failures: int = 0
    """Health checks in a row without an answer, since it was ready."""
    watches: int = 0
    """How often it has begun to be watched: once, and after each sleep. The last one counts."""
    tasks: "set[asyncio.Task[None]]" = field(default_factory=set)
    """What is being done with it."""

    @property
    def route(self) -> str:
        """``<namespace>/<route>``."""
        return self.name.rpartition("#")[0]

    @property
    def uid(self) -> str:
        """Identity of its endpoint."""
        return f"{self.name}@{self.started_unix:.3f}"

    def enter(self, stage: Stage, now_unix: float) -> None:
        """It does something else from now on."""
        self.stage, self.since_unix = stage, now_unix

    def endpoint(self) -> EndpointFact | None:
        """Its endpoint as the gateway shall know it; None: requests have no business there."""
        if not self.listens or self.stage not in (Stage.STARTING, Stage.READY, Stage.DRAINING):
            return None
        return EndpointFact(
            address="127.0.0.1",
            port=self.port,
            pod=self.name.partition("/")[2].replace("#", "-"),
            uid=self.uid,
            ready=self.stage is Stage.READY,
            terminating=self.stage is Stage.DRAINING,
        )

    def fact(self, engine: "RouteEngine | None", in_flight: int) -> EngineFact:
        """What placing goes by."""
        live = engine.live if engine is not None else None
        return EngineFact(
            name=self.name,
            route=self.route,
            stage=self.stage,
            since_unix=self.since_unix,
            claim=self.claim,
            in_flight=in_flight,
            last_used_unix=self.last_used_unix,
            is_current=live is not None and self.made_from == live.made_from,
            was_asleep=self.was_asleep,
            drain_seconds=live.drain_seconds if live is not None else DRAIN_SECONDS,
        )


@dataclass(slots=True)
class RouteEngine:
    """One route's engine."""

    live: LocalEngine | None = None
    """What it shall be, as planned last; None: not known yet."""
    wanted: int | None = None
    """How many replicas scaling has decided; None: nobody has said."""
    restarts: Restarts = field(default_factory=Restarts)
    """How often it has ended by itself."""
    waiting_since_unix: float | None = None
    """Since when requests wait for a replica, or go elsewhere for want of one."""
    problem: str = ""
    """Why its last replica ended, with the way out; empty: none has, or another one has been ready since."""
    wait: str = ""
    """What a replica that is wanted waits for; empty: nothing."""
    wait_since_unix: float = 0.0
    """Since when it waits."""
    rests: bool = False
    """Whether it has no replica though one is wanted, and nobody waits for one."""
    told: str = ""
    """What the log said last of a problem."""
    noticed: tuple[str, ...] = ()
    """Notices that the log has told."""
