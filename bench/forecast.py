"""What a forecast is worth to the economy of replicas, on the fluid of a trace; JSON line last.

``python -m bench.forecast FILE... [--means 0.3,2] [--loads 60,300] [--rhos 1.5,3,8,24] [--profile nvidia-l4]``

The operator's ``Levels`` decide slot by slot: without a forecast's rule; with demand as it was lately, and how sure
that is, as the forecast; with the trend besides; with earlier hours and days besides; with all; and as an oracle, told
what comes a load time later. A replica that is asked for serves after its load and is paid for at once; what is not
served goes to the hosted API. All is against the clairvoyant's cost of the same fluid. Beside them stand the usual way
of right-sizing (LCP), the mean use of ten minutes against the break-even (marginal), the best fixed number in hindsight
and the hosted API alone.
"""

import argparse
import json
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from bench.autoscaler import INPUT_USD, OUTPUT_USD, numbers, scaled_to
from overspill_operator.core.scaling.forecast import Outlook
from overspill_operator.core.scaling.levels import Economy, Levels
from overspill_planner.optimum.clairvoyant import best_static, clairvoyant
from overspill_planner.optimum.fluid import Fluid, Prices, fluid_of
from overspill_planner.profiles import PROFILES

VARIANTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "last": ("last",),
    "trend": ("last", "trend"),
    "seasonal": ("last", "hour", "day"),
    "all": ("last", "trend", "hour", "day"),
}
"""Forecasters that may be believed."""
ORACLE = "oracle"
MEAN_SECONDS = 600.0
MARGIN = 1.25
"""Of the marginal rule."""
Decide = Callable[[Sequence[float], float], Iterator[int]]
"""Offered work by slot, and a slot's length, to the replicas that are asked for after each slot."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One fluid with its prices."""

    fluid: Fluid
    prices: Prices
    load_seconds: float
    replicas_max: int

    @property
    def offered(self) -> list[float]:
        """By slot: work in replicas, counted by what it would cost elsewhere."""
        slot_usd = self.fluid.hosted_usd / self.fluid.work_seconds * self.fluid.slot_seconds
        return [sum(gains) / slot_usd for gains in self.fluid.gains]

    @property
    def economy(self) -> Economy:
        """As the operator sees it."""
        hosted = self.fluid.hosted_usd / self.fluid.work_seconds
        return Economy(self.prices.replica_second, hosted, self.load_seconds)

    def usd(self, wanted: Sequence[int]) -> float:
        """What replicas cost that are asked for after each slot, serve after their load, and go the other way round."""
        slot = self.fluid.slot_seconds
        ready, loading, usd = 0, list[float](), self.fluid.hosted_usd
        for gains, want in zip(self.fluid.gains, wanted, strict=True):
            usd += (ready + len(loading)) * self.prices.replica_second * slot - sum(gains[:ready])
            loading = [left - slot for left in loading]
            ready += sum(left <= 1e-9 for left in loading)
            loading = [left for left in loading if left > 1e-9]
            loading += [self.load_seconds] * max(want - ready - len(loading), 0)
            del loading[max(want - ready, 0) :]
            ready = min(ready, want)
        return usd


def by_levels(cell: Cell, forecasters: tuple[str, ...]) -> Decide:
    """The operator's own."""

    def decide(offered: Sequence[float], slot: float) -> Iterator[int]:
        economy, levels = cell.economy, Levels.begun(0.0, Outlook(forecasters=forecasters))
        for number, replicas in enumerate(offered, 1):
            levels = levels.heard(replicas, economy, number * slot)
            yield levels.worth(economy, 0, cell.replicas_max, number * slot).replicas

    return decide


def by_lcp(cell: Cell) -> Decide:
    """Lazy capacity provisioning for each level: what a replica would have gained, between nothing and a load."""

    def decide(offered: Sequence[float], slot: float) -> Iterator[int]:
        gained, runs = [0.0] * cell.replicas_max, [False] * cell.replicas_max
        rho, load = cell.economy.rho, cell.load_seconds
        for replicas in offered:
            for below, before in enumerate(gained):
                use = min(max(replicas - below, 0.0), 1.0)
                gained[below] = min(max(before + (rho * use - 1.0) * slot, 0.0), load)
                runs[below] = gained[below] >= load or (runs[below] and gained[below] > 0.0)
            yield sum(runs)

    return decide


def by_marginal_use(cell: Cell) -> Decide:
    """For each level its mean use in ten minutes against the break-even, with a quarter of hysteresis."""

    def decide(offered: Sequence[float], slot: float) -> Iterator[int]:
        sums, runs = [0.0] * cell.replicas_max, [False] * cell.replicas_max
        rho, recent = cell.economy.rho, deque[float](maxlen=round(MEAN_SECONDS / slot))
        for replicas in offered:
            gone = recent[0] if len(recent) == recent.maxlen else 0.0
            recent.append(replicas)
            for below in range(cell.replicas_max):
                sums[below] += min(max(replicas - below, 0.0), 1.0) - min(max(gone - below, 0.0), 1.0)
                border = (1.0 / MARGIN if runs[below] else MARGIN) / rho
                runs[below] = sums[below] / len(recent) >= border
            yield sum(runs)

    return decide


def measured(cell: Cell) -> dict[str, float]:
    """Cost of each variant over the clairvoyant's."""
    best = clairvoyant(cell.fluid, cell.prices, cell.load_seconds, replicas_max=cell.replicas_max).usd
    static = best_static(cell.fluid, cell.prices, cell.load_seconds, replicas_max=cell.replicas_max).usd
    offered, slot = cell.offered, cell.fluid.slot_seconds
    early = min(round(cell.load_seconds / slot), len(offered))
    told = [*offered[early:], *offered[-1:] * early]
    runs = {name: (by_levels(cell, forecasters), offered) for name, forecasters in VARIANTS.items()}
    runs |= {ORACLE: (by_levels(cell, VARIANTS["none"]), told)}
    runs |= {"lcp": (by_lcp(cell), offered), "marginal": (by_marginal_use(cell), offered)}
    ratios = {name: cell.usd(list(decide(seen, slot))) / best for name, (decide, seen) in runs.items()}
    return {**ratios, "static": static / best, "api-only": cell.fluid.hosted_usd / best}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--lengths", type=Path, help="lengths of traces that have only rates")
    parser.add_argument("--means", type=numbers, default=[0.3, 2.0])
    parser.add_argument("--loads", type=numbers, default=[60.0, 300.0])
    parser.add_argument("--rhos", type=numbers, default=[1.5, 3.0, 8.0, 24.0])
    parser.add_argument("--profile", default="nvidia-l4", choices=sorted(PROFILES))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for path, mean in product(options.traces, options.means):
        arrivals = scaled_to(path, mean, options.profile, options.seed, options.lengths)
        prices = Prices(1.0, float(INPUT_USD), float(OUTPUT_USD))
        fluid = fluid_of(arrivals, PROFILES[options.profile].speed.rates, prices)
        del arrivals
        for load, rho in product(options.loads, options.rhos):
            priced = Prices(fluid.rho(prices) / rho, float(INPUT_USD), float(OUTPUT_USD))
            cell = Cell(fluid, priced, load, max(4, math.ceil(4.0 * mean)))
            ratios = {name: round(ratio, 4) for name, ratio in measured(cell).items()}
            rows.append({"trace": path.name, "mean_replicas": mean, "load_seconds": load, "rho": rho, **ratios})
            print(json.dumps(rows[-1]), file=sys.stderr)
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
