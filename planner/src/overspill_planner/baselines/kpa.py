"""Knative's pod autoscaler, on concurrency.

Source: knative/serving, ``pkg/autoscaler/scaling/autoscaler.go`` and ``pkg/reconciler/autoscaling/kpa/scaler.go``; in
words https://knative.dev/docs/serving/autoscaling/kpa-specific/ and .../scale-to-zero/.

Ready pods alone count in it. Where loading takes longer than its panic window the bounds follow the few that are ready:
a fleet that loads is halved, and panic lasts until it has loaded. That a start of more than ten minutes is given up is
not modelled, nor is its activator, which takes itself out of the way: here requests wait in the gateway.
"""

from dataclasses import dataclass
from math import ceil, floor

from overspill_planner.baselines.policy import Limits, Policy, Sight


@dataclass(frozen=True, slots=True)
class KPAState:
    """What the autoscaler remembers."""

    samples: tuple[tuple[float, float], ...] = ()
    """Times and concurrencies of the stable window."""
    panic_at: float | None = None
    """When it was last over the panic threshold; None: it is not in panic."""
    panic_replicas: int = 0
    """The most that were wanted in this panic."""
    quiet_since: float | None = None
    """Since when it has wanted none."""


@dataclass(frozen=True, slots=True)
class KPA(Policy[KPAState]):
    """The defaults are those of the ConfigMap ``config-autoscaler``."""

    limits: Limits
    """``min-scale`` and ``max-scale``."""
    concurrency: float = 100.0
    """``container-concurrency-target-default``: requests that a pod may have at a time."""
    utilization: float = 0.7
    """``container-concurrency-target-percentage``: how much of that is aimed at."""
    tick_seconds: float = 2.0
    """Between two decisions."""
    stable_seconds: float = 60.0
    """``stable-window``."""
    panic_share: float = 0.1
    """``panic-window-percentage`` of it."""
    panic_threshold: float = 2.0
    """``panic-threshold-percentage``: times the ready pods that the panic window must call for."""
    up_rate: float = 1000.0
    """``max-scale-up-rate``: at most so many times the ready pods."""
    down_rate: float = 2.0
    """``max-scale-down-rate``: at least the ready pods divided by this."""
    zero_grace_seconds: float = 30.0
    """``scale-to-zero-grace-period``: the last pod stays so much longer."""

    @property
    def period_seconds(self) -> float:
        """Between two looks."""
        return self.tick_seconds

    @property
    def wakes_at_once(self) -> bool:
        """The activator tells the autoscaler of the first request without waiting for a scrape."""
        return True

    def begin(self) -> tuple[int, KPAState]:
        """``initial-scale`` is 1, which goes again where nobody asks; here it begins with the minimum."""
        return self.limits.minimum, KPAState()

    def decide(self, seen: Sight, state: KPAState, now: float) -> tuple[int, KPAState]:
        """One tick."""
        samples = (
            *(sample for sample in state.samples if now - sample[0] < self.stable_seconds), (now, seen.mean_offered)
        )  # fmt: skip
        panic_seconds = self.stable_seconds * self.panic_share
        target = self.concurrency * self.utilization
        by_stable = ceil(_mean([value for _, value in samples]) / target)
        by_panic = ceil(_mean([value for at, value in samples if now - at < panic_seconds]) / target)
        ready = max(seen.ready, 1)
        most, least = ceil(self.up_rate * ready), floor(ready / self.down_rate)
        stable, panic = min(max(by_stable, least), most), min(max(by_panic, least), most)
        panic_at, panic_replicas = state.panic_at, state.panic_replicas
        if by_panic / ready >= self.panic_threshold:
            panic_at = now
        elif panic_at is not None and panic_at + self.stable_seconds < now:
            panic_at, panic_replicas = None, 0
        wanted = stable
        if panic_at is not None:
            wanted = panic_replicas = max(stable, panic, panic_replicas)
        return self._last_one(self.limits.bound(wanted), seen, KPAState(samples, panic_at, panic_replicas), state, now)

    def _last_one(
        self, wanted: int, seen: Sight, state: KPAState, before: KPAState, now: float
    ) -> tuple[int, KPAState]:
        """The last pod stays for the grace period."""
        if wanted > 0 or seen.replicas == 0:
            return wanted, state
        since = now if before.quiet_since is None else before.quiet_since
        state = KPAState(state.samples, state.panic_at, state.panic_replicas, since)
        return (0 if now - since >= self.zero_grace_seconds else 1), state


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
