"""AIBrix' pod autoscaler with the strategy APA.

Source: vllm-project/aibrix, ``pkg/controller/podautoscaler/algorithm/apa.go`` and ``context/base_context.go``; in words
https://aibrix.readthedocs.io/latest/features/autoscaling/metric-based-autoscaling.html.

The metric is an external one, the route's requests in flight, by replica. Recommendations are stabilized as its
documentation has it, by the highest of the last 300 s on the way down; a version of 2026 took the lowest.
"""

from dataclasses import dataclass, replace
from math import ceil, floor

from overspill_planner.baselines.policy import Limits, Policy, Sight


@dataclass(frozen=True, slots=True)
class AIBrixState:
    """What the controller remembers."""

    samples: tuple[tuple[float, float], ...] = ()
    """Times and requests in flight, within the window."""
    recommendations: tuple[tuple[float, int], ...] = ()
    """Times and numbers within the cooldown."""


@dataclass(frozen=True, slots=True)
class AIBrix(Policy[AIBrixState]):
    """The defaults are those of its annotations; the target has none."""

    limits: Limits
    """``minReplicas`` and ``maxReplicas``; a minimum of 0 counts as 1, as it does not come back from zero."""
    target: float
    """``targetValue``: requests in flight per replica."""
    resync_seconds: float = 10.0
    """Between two looks."""
    window_seconds: float = 180.0
    """``observeWindowSeconds``: of the average."""
    up_tolerance: float = 0.1
    """``up-fluctuation-tolerance``: up only above so much more than the target."""
    down_tolerance: float = 0.1
    """``down-fluctuation-tolerance``: down only below so much less."""
    up_rate: float = 2.0
    """``max-scale-up-rate``: at most so many times the replicas."""
    down_rate: float = 2.0
    """``max-scale-down-rate``: at least the replicas divided by this."""
    cooldown_seconds: float = 300.0
    """``scale-down-cooldown-window``; that of the way up is 0 s."""

    @property
    def period_seconds(self) -> float:
        """Between two looks."""
        return self.resync_seconds

    @property
    def _limits(self) -> Limits:
        return replace(self.limits, minimum=max(self.limits.minimum, 1))

    def begin(self) -> tuple[int, AIBrixState]:
        """The minimum."""
        return self._limits.bound(0), AIBrixState()

    def decide(self, seen: Sight, state: AIBrixState, now: float) -> tuple[int, AIBrixState]:
        """One look."""
        recent = (sample for sample in state.samples if now - sample[0] < self.window_seconds)
        samples = (*recent, (now, seen.mean_offered))
        replicas = max(seen.replicas, 1)
        use = sum(value for _, value in samples) / len(samples) / replicas
        wanted = self._limits.bound(self._by_use(use, replicas))
        kept = (entry for entry in state.recommendations if now - entry[0] < self.cooldown_seconds)
        recommendations = (*kept, (now, wanted))
        if wanted < seen.replicas:
            wanted = min(max(number for _, number in recommendations), seen.replicas)
        return wanted, AIBrixState(samples, recommendations)

    def _by_use(self, use: float, replicas: int) -> int:
        """APA's rule."""
        ratio = use / self.target
        if ratio > 1.0 + self.up_tolerance:
            return min(ceil(replicas * ratio), ceil(self.up_rate * replicas))
        if ratio < 1.0 - self.down_tolerance:
            return max(ceil(replicas * ratio), floor(replicas / self.down_rate))
        return replicas
