"""llm-d's workload variant autoscaler, saturation analyzer, one variant, carried out by an HPA.

Source: llm-d/llm-d-workload-variant-autoscaler, ``internal/saturation/analyzer.go``; in words its
``docs/saturation-analyzer.md``. It publishes a number, which an HPA with a target of 1 and windows of 240 s follows
(``config/samples/hpa-integration.yaml``).

Scaling to zero is off by default. What waits in front of the replicas it does not see: a route whose gateway holds or
spills requests looks idle to it, where its replicas are spared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from overspill_planner.baselines.hpa import HPA, HPAState
from overspill_planner.baselines.policy import Gauge, Limits, Policy, Sight


@dataclass(frozen=True, slots=True)
class WVAState:
    """What the analyzer and the HPA remember."""

    hpa: HPAState = field(default_factory=HPAState)
    """Of the HPA."""
    desired: int = 1
    """The number published last."""
    analyzed_at: float = float("-inf")
    """When the analyzer looked last; the HPA looks more often."""
    gauges: tuple[tuple[float, Mapping[str, Gauge]], ...] = field(default=())
    """Times and gauges of the last minute."""


@dataclass(frozen=True, slots=True)
class WVA(Policy[WVAState]):
    """The defaults are those of its ConfigMap."""

    limits: Limits
    """Of the HPA; a minimum of 0 counts as 1."""
    kv_threshold: float = 0.80
    """``kvCacheThreshold``: a replica with so much of its cache in use is saturated."""
    queue_threshold: float = 5.0
    """``queueLengthThreshold``: one in which so many requests wait is as well."""
    kv_spare: float = 0.10
    """``kvSpareTrigger``: up where replicas that are not saturated have less to spare on average."""
    queue_spare: float = 3.0
    """``queueSpareTrigger``: the same of waiting requests."""
    loop_seconds: float = 30.0
    """Between two analyses."""
    peak_seconds: float = 60.0
    """Gauges count by their highest value in this time (``max_over_time``)."""
    window_seconds: float = 240.0
    """Stabilization windows of the HPA, both ways."""

    @property
    def _hpa(self) -> HPA:
        window = self.window_seconds
        return HPA(self.limits, target=1.0, up_window_seconds=window, down_window_seconds=window)

    @property
    def period_seconds(self) -> float:
        """The HPA's period; the analyzer looks every second time."""
        return self._hpa.sync_seconds

    def begin(self) -> tuple[int, WVAState]:
        """The minimum."""
        replicas, hpa = self._hpa.begin()
        return replicas, WVAState(hpa, replicas)

    def decide(self, seen: Sight, state: WVAState, now: float) -> tuple[int, WVAState]:
        """An analysis where it is due, then a sync of the HPA."""
        recent = (entry for entry in state.gauges if now - entry[0] < self.peak_seconds)
        gauges = (*recent, (now, seen.gauges))
        desired, analyzed_at = state.desired, state.analyzed_at
        if now - analyzed_at >= self.loop_seconds:
            analyzed_at = now
            # While replicas load or go, nothing is decided for the model.
            if seen.ready == seen.replicas == desired:
                desired = max(self.limits.bound(self.analyze(_peaks(gauges, seen.gauges), seen.ready)), 1)
        replicas, hpa = self._hpa.decide(replace(seen, offered=float(desired)), state.hpa, now)
        return replicas, WVAState(hpa, desired, analyzed_at, gauges)

    def analyze(self, gauges: list[Gauge], ready: int) -> int:
        """Replicas that the analyzer calls for."""
        free = [
            gauge for gauge in gauges
            if gauge.kv_cache_usage < self.kv_threshold and gauge.waiting < self.queue_threshold
        ]  # fmt: skip
        count = len(free)
        kv, queue = sum(gauge.kv_cache_usage for gauge in free), sum(gauge.waiting for gauge in free)
        if not gauges:
            return ready
        if not free or not self._spares(kv / count, queue / count):
            return ready + 1
        if count >= 2 and self._spares(kv / (count - 1), queue / (count - 1)):
            return max(ready - 1, 1)
        return ready

    def _spares(self, kv: float, queue: float) -> bool:
        """Whether replicas with so much of both on average have enough to spare."""
        # Thresholds are decimals: 0.8 - 0.7 is less than 0.1 by a rounding.
        return self.kv_threshold - kv >= self.kv_spare - 1e-9 and self.queue_threshold - queue >= self.queue_spare


def _peaks(history: tuple[tuple[float, Mapping[str, Gauge]], ...], present: Mapping[str, Gauge]) -> list[Gauge]:
    """The highest of each replica that is there."""
    peaks = []
    for name in present:
        seen = [gauges[name] for _, gauges in history if name in gauges]
        peaks.append(Gauge(max(gauge.kv_cache_usage for gauge in seen), max(gauge.waiting for gauge in seen)))
    return peaks
