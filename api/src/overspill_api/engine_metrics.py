"""vLLM's own metrics: one table of their names over its versions, and the few figures that are read from them.

The gateway corrects by them what it knows of a replica's load, and tells the operator of them, which scales by them. A
busy engine's ``/metrics`` has some 60 to 100 KB, of which three lines are wanted: they are searched for, the rest is
not parsed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final

METRIC_NAMES: Final[Mapping[str, tuple[bytes, ...]]] = {
    "waiting": (b"vllm:num_requests_waiting",),
    "running": (b"vllm:num_requests_running",),
    "kv_cache_usage": (b"vllm:kv_cache_usage_perc", b"vllm:gpu_cache_usage_perc"),
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


def read_figures(text: bytes) -> EngineFigures:
    """Figures from what ``/metrics`` answered. Series of several engines in one pod are summed (the cache: highest)."""
    waiting, running = _values(text, METRIC_NAMES["waiting"]), _values(text, METRIC_NAMES["running"])
    usage = _values(text, METRIC_NAMES["kv_cache_usage"])
    return EngineFigures(
        waiting=sum(waiting) if waiting else None,
        running=sum(running) if running else None,
        kv_cache_usage=max(usage) if usage else None,
    )


def _values(text: bytes, names: tuple[bytes, ...]) -> list[float] | None:
    """The values of the newest of these names that is there; None: there is none, or one of them is no number."""
    for name in names:
        values: list[float] = []
        at = text.find(name)
        while at >= 0:
            after = at + len(name)
            if (at == 0 or text[at - 1] == _NEWLINE) and text[after : after + 1] in _NAME_ENDS:
                end = text.find(b"\n", after)
                values.append(_value(text[after:] if end < 0 else text[after:end]))
            at = text.find(name, after)
        if values:
            return values if all(isfinite(value) and value >= 0 for value in values) else None
    return None


def _value(rest: bytes) -> float:
    """The value in a line behind its name: labels if any, the value, a timestamp if any."""
    numbers = rest.rpartition(b"} ")[2] if rest.startswith(b"{") else rest
    try:
        return float(numbers.split(maxsplit=1)[0])
    except (ValueError, IndexError):
        return float("nan")


_NEWLINE: Final = 10
_NAME_ENDS: Final = (b"{", b" ")
