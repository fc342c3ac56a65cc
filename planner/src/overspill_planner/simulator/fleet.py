"""The replicas of a route in virtual time: they are asked for, load, serve, finish what they have, and are paid for.

A replica is paid for from the moment when it is asked for until it is gone, as a node would be that is there for it
alone. Of those that are too many the ones that load go first, then the youngest, as in a ReplicaSet; one that serves
finishes its requests, within the time that a profile gives it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Speed
from overspill_planner.simulator.gateway import Gateway
from overspill_planner.simulator.prefix_cache import PrefixCache


@dataclass(frozen=True, slots=True)
class Loading:
    """How long a replica takes from being asked for to its first request."""

    pod_seconds: float = 2.0
    """Until its pod runs on a node: scheduling, mounts, an image that is there already."""
    load_seconds: float = 60.0
    """From then on: weights, compilation, warm-up, the probe; at the median."""
    spread: float = 0.0
    """Of both, as of log-normal distributions around these; 0: each start takes as long as the others."""

    @property
    def seconds(self) -> float:
        """Both together, at the median."""
        return self.pod_seconds + self.load_seconds

    def drawn(self, random: Random) -> float:
        """Seconds of one start: a full node and slow storage do not come together, so each is drawn by itself."""
        if not self.spread:
            return self.seconds
        pod, load = (random.lognormvariate(0.0, self.spread) for _ in range(2))
        return self.pod_seconds * pod + self.load_seconds * load


@dataclass(eq=False, slots=True)
class _Replica:
    """One of them."""

    asked_at: float
    engine: Engine | None = None
    state: ReplicaState | None = None


class Fleet:
    """All replicas of one route."""

    def __init__(
        self,
        clock: Clock,
        gateway: Gateway,
        speed: Speed,
        loading: Loading,
        on_ready: Callable[[], None],
        *,
        block_tokens: int | None = None,
        seed: int = 1,
    ) -> None:
        """``on_ready``: called when a replica has become ready; ``seed``: of how long starts take.

        ``block_tokens``: of a block that prompts may share; None: the trace does not say what they share.
        """
        self.wanted = 0
        """How many were asked for last."""
        self.ready_since: float | None = None
        """Since when at least one has been ready."""
        self.starts = 0
        """Replicas asked for so far."""
        self.most = 0
        """The most that were wanted at a time."""
        self.load_seconds: float | None = None
        """From asking for a replica until it was ready, of the one that was so last; None: none was yet."""
        self._clock = clock
        self._gateway = gateway
        self._speed = speed
        self._loading = loading
        self._on_ready = on_ready
        self._block_tokens = block_tokens
        self._random = Random(f"{seed} starts")  # noqa: S311 - chance, no secret
        self._replicas: list[_Replica] = []
        """Those that load or serve, oldest first."""
        self._leaving: list[_Replica] = []
        self._preemptions = 0
        self._paid_seconds = 0.0
        self._busy_seconds = 0.0
        self._hit_tokens = 0

    @property
    def ready(self) -> int:
        """Replicas that serve."""
        return sum(replica.state is not None for replica in self._replicas)

    def engines(self) -> dict[str, Engine]:
        """Engines that serve, by the replica's name."""
        return {
            replica.state.served_by: replica.engine
            for replica in self._replicas
            if replica.state is not None and replica.engine is not None
        }

    @property
    def paid_seconds(self) -> float:
        """Replica-seconds that were paid for until now."""
        living = (*self._replicas, *self._leaving)
        return self._paid_seconds + sum(self._clock.now - replica.asked_at for replica in living)

    @property
    def busy_seconds(self) -> float:
        """Those of them in which an engine worked on something."""
        living = (*self._replicas, *self._leaving)
        return self._busy_seconds + sum(replica.engine.busy_seconds for replica in living if replica.engine)

    @property
    def preemptions(self) -> int:
        """Requests that engines have put back for want of KV cache."""
        living = (*self._replicas, *self._leaving)
        return self._preemptions + sum(replica.engine.preemptions for replica in living if replica.engine)

    @property
    def hit_tokens(self) -> int:
        """Prompt tokens that engines had read before and still had."""
        living = (*self._replicas, *self._leaving)
        return self._hit_tokens + sum(replica.engine.hit_tokens for replica in living if replica.engine)

    def scale(self, wanted: int) -> None:
        """So many there shall be."""
        self.wanted = wanted
        self.most = max(self.most, wanted)
        while len(self._replicas) < wanted:
            self._start()
        while len(self._replicas) > wanted:
            loading = [replica for replica in self._replicas if replica.state is None]
            self._remove(loading[-1] if loading else self._replicas[-1])
        if not self.ready:
            self.ready_since = None

    def _start(self) -> None:
        replica = _Replica(self._clock.now)
        self._replicas.append(replica)
        self.starts += 1
        self._clock.at(self._clock.now + self._loading.drawn(self._random), lambda: self._loaded(replica))

    def _loaded(self, replica: _Replica) -> None:
        if replica not in self._replicas:
            return  # it was given up meanwhile
        if self.ready_since is None:
            self.ready_since = self._clock.now
        self.load_seconds = self._clock.now - replica.asked_at
        prefixes = None if self._block_tokens is None else PrefixCache(self._block_tokens)
        replica.engine = Engine(self._clock, self._speed, prefixes)
        replica.state = self._gateway.replica_comes(replica.engine)
        self._on_ready()

    def _remove(self, replica: _Replica) -> None:
        self._replicas.remove(replica)
        engine, state = replica.engine, replica.state
        if engine is None or state is None:
            self._paid_seconds += self._clock.now - replica.asked_at
            return
        self._leaving.append(replica)
        self._gateway.replica_goes(state)
        if engine.is_idle:
            self._gone(replica)
        else:
            engine.when_idle = lambda: self._gone(replica)

    def _gone(self, replica: _Replica) -> None:
        if replica in self._leaving and replica.engine is not None:
            self._leaving.remove(replica)
            self._paid_seconds += self._clock.now - replica.asked_at
            self._busy_seconds += replica.engine.busy_seconds
            self._preemptions += replica.engine.preemptions
            self._hit_tokens += replica.engine.hit_tokens
