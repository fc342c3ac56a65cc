"""Kubernetes' HorizontalPodAutoscaler, ``autoscaling/v2``, on an external metric with a target by average value.

Source: kubernetes/kubernetes, ``pkg/controller/podautoscaler/replica_calculator.go`` (GetExternalPerPodMetricReplicas),
``horizontal.go`` (stabilization, behaviour) and ``pkg/apis/autoscaling/v2/defaults.go``; in words
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/.

The metric is the route's requests in flight. Of pods nothing is asked, so that what HPA does about pods that are not
ready or have no metrics does not come into it; that is the better case for it.
"""

from dataclasses import dataclass, replace
from math import ceil

from overspill_planner.baselines.policy import Limits, Policy, Sight


@dataclass(frozen=True, slots=True)
class HPAState:
    """What the controller remembers."""

    recommendations: tuple[tuple[float, int], ...] = ()
    """Times and numbers within the longer stabilization window, before rates and windows."""
    changes: tuple[tuple[float, int], ...] = ()
    """Times and sizes of changes within a rate's period."""


@dataclass(frozen=True, slots=True)
class HPA(Policy[HPAState]):
    """The defaults are those of Kubernetes; the target has none."""

    limits: Limits
    """``minReplicas`` and ``maxReplicas``; a minimum of 0 counts as 1, as the controller rests at zero."""
    target: float
    """``averageValue``: requests in flight per replica."""
    sync_seconds: float = 15.0
    """``--horizontal-pod-autoscaler-sync-period``."""
    tolerance: float = 0.1
    """``--horizontal-pod-autoscaler-tolerance``: a smaller distance of metric and target changes nothing."""
    up_window_seconds: float = 0.0
    """``behavior.scaleUp.stabilizationWindowSeconds``: the lowest recommendation of it counts on the way up."""
    down_window_seconds: float = 300.0
    """``behavior.scaleDown.stabilizationWindowSeconds``: the highest one counts on the way down."""
    up_pods: int = 4
    """Pods that may be added in a period ..."""
    up_percent: float = 100.0
    """... or per cent of those at its beginning, whichever is more."""
    up_period_seconds: float = 15.0
    """That period. The way down may take all pods in as long, which is no limit."""

    @property
    def period_seconds(self) -> float:
        """Between two looks."""
        return self.sync_seconds

    def begin(self) -> tuple[int, HPAState]:
        """The minimum."""
        return self._limits.bound(0), HPAState()

    @property
    def _limits(self) -> Limits:
        return replace(self.limits, minimum=max(self.limits.minimum, 1))

    def decide(self, seen: Sight, state: HPAState, now: float) -> tuple[int, HPAState]:
        """One sync."""
        current = seen.replicas
        if current == 0:
            return 0, state  # "scaling is disabled since the replica count of the target is zero"
        wanted = self._by_metric(seen.offered, current)
        within = (entry for entry in state.recommendations if now - entry[0] < max(self._windows))
        recommendations = (*within, (now, wanted))
        stable = self._stabilized(current, recommendations, now)
        changes = tuple(change for change in state.changes if now - change[0] < self.up_period_seconds)
        replicas = self._limits.bound(min(stable, self._up_limit(current, changes)) if stable > current else stable)
        if replicas != current:
            changes = (*changes, (now, replicas - current))
        return replicas, HPAState(recommendations, changes)

    def _by_metric(self, total: float, current: int) -> int:
        """``ceil(usage / target)``, unless usage is within the tolerance of what the present number is meant for."""
        if abs(total / (self.target * current) - 1.0) <= self.tolerance:
            return current
        return ceil(total / self.target)

    @property
    def _windows(self) -> tuple[float, float]:
        return self.up_window_seconds, self.down_window_seconds

    def _stabilized(self, current: int, recommendations: tuple[tuple[float, int], ...], now: float) -> int:
        """Up to the lowest of the one window, down to the highest of the other, the newest always among them."""
        newest = recommendations[-1][1]
        up = min([newest, *(number for at, number in recommendations if now - at < self.up_window_seconds)])
        down = max([newest, *(number for at, number in recommendations if now - at < self.down_window_seconds)])
        return min(max(current, up), down)

    def _up_limit(self, current: int, changes: tuple[tuple[float, int], ...]) -> int:
        before = current - sum(size for _, size in changes)
        return max(before + self.up_pods, ceil(before * (1.0 + self.up_percent / 100.0)))
