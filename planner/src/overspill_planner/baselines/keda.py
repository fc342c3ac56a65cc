"""KEDA: from zero and to zero by itself, in between by an HPA on the same metric.

Source: kedacore/keda, ``pkg/scaling/executor/scale_scaledobjects.go``; in words
https://keda.sh/docs/latest/reference/scaledobject-spec/ (pollingInterval, cooldownPeriod, minReplicaCount) and
https://keda.sh/docs/latest/concepts/scaling-deployments/ (activation threshold).
"""

from dataclasses import dataclass, field

from overspill_planner.baselines.hpa import HPA, HPAState
from overspill_planner.baselines.policy import Limits, Policy, Sight


@dataclass(frozen=True, slots=True)
class KEDAState:
    """What KEDA and its HPA remember."""

    hpa: HPAState = field(default_factory=HPAState)
    """Of its HPA."""
    active_at: float | None = None
    """When the trigger was last active; None: never."""
    polled_at: float = float("-inf")
    """When it looked last; its HPA looks more often."""


@dataclass(frozen=True, slots=True)
class KEDA(Policy[KEDAState]):
    """A ScaledObject with one trigger, with KEDA's defaults; the target has none."""

    limits: Limits
    """``minReplicaCount`` (default 0) and ``maxReplicaCount`` (default 100)."""
    target: float
    """The trigger's threshold: requests in flight per replica."""
    polling_seconds: float = 30.0
    """``pollingInterval``."""
    cooldown_seconds: float = 300.0
    """``cooldownPeriod``: after the last activity, before the last replicas go. Not for other changes."""
    activation: float = 0.0
    """``activationThreshold``: the trigger is active above it."""
    hpa: HPA | None = None
    """Its HPA, where that has other settings than the defaults."""

    @property
    def _hpa(self) -> HPA:
        return self.hpa or HPA(self.limits, self.target)

    @property
    def period_seconds(self) -> float:
        """Its HPA's period; KEDA polls every second time by default."""
        return self._hpa.sync_seconds

    def begin(self) -> tuple[int, KEDAState]:
        """The minimum, which may be none."""
        return self.limits.minimum, KEDAState()

    def decide(self, seen: Sight, state: KEDAState, now: float) -> tuple[int, KEDAState]:
        """A poll where it is due, else a sync of the HPA."""
        active_at, polled_at = state.active_at, state.polled_at
        if now - polled_at >= self.polling_seconds:
            polled_at = now
            is_active = seen.offered > self.activation
            active_at = now if is_active else active_at
            if is_active and seen.replicas == 0:
                return max(1, self.limits.minimum), KEDAState(HPAState(), active_at, polled_at)
            quiet = active_at is None or now > active_at + self.cooldown_seconds
            if not is_active and quiet and self.limits.minimum == 0:
                return 0, KEDAState(HPAState(), active_at, polled_at)
        replicas, hpa = self._hpa.decide(seen, state.hpa, now)
        return replicas, KEDAState(hpa, active_at, polled_at)
