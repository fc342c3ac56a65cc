"""vLLM's own metrics: one table of their names over its versions, and the few figures that scaling reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

METRIC_NAMES: Mapping[str, tuple[str, ...]] = {
    "waiting": ("vllm:num_requests_waiting",),
    "running": ("vllm:num_requests_running",),
    "kv_cache_usage": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
}
"""Names of each figure, newest first: ``gpu_cache_usage_perc`` became ``kv_cache_usage_perc`` in vLLM 0.10."""


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """Figures of one replica; None: it did not say, or said something that is not a number."""

    waiting: float | None = None
    """Requests that wait in its queue."""
    running: float | None = None
    """Requests that it works on."""
    kv_cache_usage: float | None = None
    """Share of its KV cache in use, 0 to 1; the highest of its engines."""


@dataclass(frozen=True, slots=True)
class QueueReading:
    """What the replicas of a route said in one round."""

    asked: int
    """Replicas that were asked."""
    answered: int
    """Replicas that gave a number of waiting requests."""
    waiting: int
    """Their sum."""


def read_figures(text: str) -> EngineFigures:
    """Figures from the text of ``/metrics``. Series of several engines in one pod are summed (the cache: highest)."""
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        if not line.startswith("vllm:"):
            continue
        name, _, rest = line.partition("{")
        value = rest.rpartition("} ")[2] if rest else line.partition(" ")[2]
        found.setdefault(name.partition(" ")[0], []).append(_number(value))
    return EngineFigures(
        waiting=_combined(found, "waiting"),
        running=_combined(found, "running"),
        kv_cache_usage=_combined(found, "kv_cache_usage"),
    )


def queue_reading(figures: Sequence[EngineFigures | None]) -> QueueReading:
    """The sum over replicas; None stands for one that did not answer."""
    waiting = [f.waiting for f in figures if f is not None and f.waiting is not None]
    return QueueReading(asked=len(figures), answered=len(waiting), waiting=round(sum(waiting)))


def _combined(found: Mapping[str, list[float]], figure: str) -> float | None:
    for name in METRIC_NAMES[figure]:
        values = found.get(name)
        if values:
            if not all(isfinite(value) and value >= 0 for value in values):
                return None
            return max(values) if figure == "kv_cache_usage" else sum(values)
    return None


def _number(text: str) -> float:
    try:
        return float(text.split(maxsplit=1)[0])
    except (ValueError, IndexError):
        return float("nan")
