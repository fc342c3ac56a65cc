"""KubeAI's autoscaler, on requests in flight at its proxies.

Source: kubeai-project/kubeai, ``internal/modelautoscaler/autoscaler.go``, ``internal/modelclient/scale.go``,
``internal/movingaverage/simple.go``; in words https://www.kubeai.org/concepts/autoscaling/.
"""

from dataclasses import dataclass
from math import ceil

from overspill_planner.baselines.policy import Limits, Policy, Sight


@dataclass(frozen=True, slots=True)
class KubeAIState:
    """What the autoscaler remembers."""

    samples: tuple[float, ...]
    """Requests in flight at the last looks, oldest first; zeros before the first."""
    lower: int = 0
    """Looks in a row that called for fewer replicas."""


@dataclass(frozen=True, slots=True)
class KubeAI(Policy[KubeAIState]):
    """The defaults are those of its chart and of a Model."""

    limits: Limits
    """``minReplicas`` and ``maxReplicas``."""
    target: float = 100.0
    """``targetRequests``: requests in flight per replica."""
    interval_seconds: float = 10.0
    """``modelAutoscaling.interval``."""
    window_seconds: float = 600.0
    """``modelAutoscaling.timeWindow``: of the moving average."""
    down_delay_seconds: float = 30.0
    """``scaleDownDelaySeconds``: so long in a row fewer must be called for."""

    @property
    def period_seconds(self) -> float:
        """Between two looks."""
        return self.interval_seconds

    @property
    def wakes_at_once(self) -> bool:
        """Its proxy sets one replica with the first request."""
        return True

    def begin(self) -> tuple[int, KubeAIState]:
        """The minimum."""
        return self.limits.minimum, KubeAIState((0.0,) * ceil(self.window_seconds / self.interval_seconds))

    def decide(self, seen: Sight, state: KubeAIState, now: float) -> tuple[int, KubeAIState]:  # noqa: ARG002 - by looks
        """One look."""
        samples = (*state.samples[1:], seen.offered)
        wanted = self.limits.bound(ceil(sum(samples) / len(samples) / self.target))
        if wanted >= seen.replicas:
            return wanted, KubeAIState(samples)
        if state.lower < ceil(self.down_delay_seconds / self.interval_seconds):
            return seen.replicas, KubeAIState(samples, state.lower + 1)
        return wanted, KubeAIState(samples, state.lower + 1)
