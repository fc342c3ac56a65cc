"""A process that spends a route's budget and kills itself with SIGKILL at some line of the gateway's code.

Arguments: the ledger's file, the file in which a provider writes down what it bills, seed, and the line to die at
(0: never). The provider's file gets ``sent ID HELD`` before a call and ``billed ID COST`` when it has answered.
"""

import os
import random
import signal
import sys
import threading
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

from overspill_api.compiled import BudgetRules, CompiledRoute, HostedBackend, OverflowRules
from overspill_gateway.clock import Clock
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.counters import BackendCounters
from overspill_gateway.core.flow.flow_actions import NotSent
from overspill_gateway.core.money.budget import Hold
from overspill_gateway.core.requests.ask import Ask
from overspill_gateway.money.metering import Metering
from overspill_gateway.money.spending import RouteBudget
from overspill_gateway.money.sqlite_ledger import SqliteLedger
from unit.gateway.ledgers import Told

LIMIT = 2_000_000_000
HOSTED = HostedBackend(
    name="api",
    base_url="http://api.test/v1",
    model="m",
    input_nano_usd_per_million=150_000_000,
    output_nano_usd_per_million=600_000_000,
)
ROUTE = CompiledRoute(
    namespace="ns",
    name="tiny",
    uid="u",
    generation=1,
    model="tiny",
    hosted=(HOSTED,),
    overflow=OverflowRules(on_cold_start="Hosted"),
    budget=BudgetRules(limit_nano_usd=LIMIT),
)
NOW = 1_800_000_000.0
"""Unix seconds for every life, so that no month ends between two."""


class Killer:
    """Counts the lines of the gateway's code in all threads, and kills the process at one of them."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:  # noqa: ARG002
        """A trace function."""
        if "overspill_gateway" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def spend(ledger_path: Path, bills: int, seed: int, calls: int) -> None:
    """Make calls, some at a time, that end in every way."""
    chance = random.Random(seed)
    told = Told()
    ledger = SqliteLedger(ledger_path, f"pod/{seed}", told)
    metering = Metering(ledger, Clock(unix=lambda: NOW))
    at = metering.route(ROUTE)
    meter = at.meter_of(HOSTED, BackendCounters())
    open_calls = []
    for number in range(calls):
        ask = Ask(200, 100, chance.choice([None, 100, 4000]), 1, prompt_tokens_max=chance.randint(100, 30_000))
        while (hold := meter.hold(ask, monotonic())) is NotSent.WAIT:
            _wait_for_ledger(at.budget, told)
        if isinstance(hold, Hold):
            os.write(bills, b"sent %d-%d %d\n" % (seed, number, hold.nano_usd))
            open_calls.append((number, hold))
        while open_calls and (len(open_calls) > 20 or chance.random() < 0.4):
            which, hold = open_calls.pop(chance.randrange(len(open_calls)))
            if chance.random() < 0.2:
                os.write(bills, b"billed %d-%d %d\n" % (seed, which, hold.nano_usd))
                meter.settle(hold, monotonic(), None, may_have_cost=True)
            else:
                usage = Usage(chance.randint(1, 100), 0, chance.randint(1, 100))
                os.write(
                    bills, b"billed %d-%d %d\n" % (seed, which, usage.prompt_tokens * 150 + usage.output_tokens * 600)
                )
                meter.settle(hold, monotonic(), usage, may_have_cost=True)
    for which, hold in open_calls:
        os.write(bills, b"billed %d-%d 0\n" % (seed, which))
        meter.settle(hold, monotonic(), None, may_have_cost=False)
    metering.close()


def _wait_for_ledger(budget: RouteBudget, told: Told) -> None:
    """A disk may take its time, and a life without calls would prove nothing."""
    spending = budget.current()
    if spending is not None and spending.account.waits:
        told.take(30.0)


def main() -> None:
    """Run."""
    path, bills_path, seed, line = sys.argv[1:]
    bills = os.open(bills_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if int(line):
        killer = Killer(int(line))
        threading.settrace(killer)
        sys.settrace(killer)
    spend(Path(path), bills, int(seed), calls=300)


if __name__ == "__main__":
    main()
