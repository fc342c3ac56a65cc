"""The best settings that a policy could have had, found in hindsight by trying those of a stated grid.

It is what a baseline would cost if somebody had tuned it for exactly this trace, these prices and this load time;
nobody can do that beforehand. ``GRIDS`` says which settings are tried; all others stay at their defaults.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Final

from overspill_planner.baselines.aibrix import AIBrix
from overspill_planner.baselines.hpa import HPA
from overspill_planner.baselines.keda import KEDA
from overspill_planner.baselines.kpa import KPA
from overspill_planner.baselines.kubeai import KubeAI
from overspill_planner.baselines.policy import Policy
from overspill_planner.baselines.wva import WVA

TARGETS: Final = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
"""Times the target that a policy has by default."""

GRIDS: Final[Mapping[type[Policy[Any]], Mapping[str, Sequence[float]]]] = {
    HPA: {"target": TARGETS, "down_window_seconds": (300.0, 60.0)},
    KEDA: {"target": TARGETS, "cooldown_seconds": (300.0, 60.0)},
    KPA: {"concurrency": TARGETS, "stable_seconds": (60.0, 300.0)},
    KubeAI: {"target": TARGETS, "window_seconds": (600.0, 60.0)},
    AIBrix: {"target": TARGETS, "cooldown_seconds": (300.0, 60.0)},
    WVA: {"kv_spare": (0.1, 0.05, 0.3), "queue_spare": (3.0, 1.0)},
}
"""Settings that are tried: targets by factor, others by value, the default first."""
Cost = float | tuple[float, ...]
"""What is to be least; of several numbers the first counts most."""
FACTORS: Final = ("target", "concurrency")


def variants(policy: Policy[Any]) -> Iterator[Policy[Any]]:
    """The policy with each combination of its grid, its own settings first; one without a grid is alone."""
    yield policy
    grid = GRIDS.get(type(policy), {})
    for values in product(*grid.values()) if grid else ():
        changes = {
            name: getattr(policy, name) * value if name in FACTORS else value
            for name, value in zip(grid, values, strict=True)
        }
        other: Policy[Any] = replace(policy, **changes)  # type: ignore[type-var]
        if other != policy:
            yield other


def tuned(policy: Policy[Any], cost: Callable[[Policy[Any]], Cost]) -> Policy[Any]:
    """The variant of least cost; of equals the first, so that defaults win."""
    return min(variants(policy), key=cost)
