"""The gateway beside others on this machine; one JSON line last.

    make bench-gateway                        the comparison: under 20 minutes, installing included
    make bench-gateway PARTS=endurance        a million requests: memory, and throughput by the minute
    make bench-gateway PARTS=profile          where the gateway's CPU goes

Gateways run on CPU 0, the clients and the engine behind them on CPU 1. Only processes that were started here are
ended. A gateway that can't be installed or started gets an "error" in its place, and the others are measured.
"""

import argparse
import json
import os
import signal
import sys
import time
from typing import Any, Final

from bench.gateway import endurance, figures, profiles
from bench.gateway.comparison import compare
from bench.gateway.driving import LoadFailedError
from bench.gateway.gateways import KINDS
from bench.gateway.installing import NotInstalledError
from bench.gateway.places import LOAD_CPU, one_run_at_a_time
from bench.gateway.processes import DiedError, raise_file_limit
from bench.gateway.running import NotReadyError

PARTS: Final = ("compare", "endurance", "profile")
MINUTES: Final = 17.0
ROUNDS: Final = 8


def main() -> int:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description="The gateway beside others.")
    parser.add_argument("parts", nargs="*", default=["compare"], help=f"of {', '.join(PARTS)} (default: compare)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the comparison (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for the comparison (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], choices=[kind.name for kind in KINDS], help="these gateways")
    options = parser.parse_args()
    if set(options.parts) - set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    if not {0, LOAD_CPU} <= os.sched_getaffinity(0):
        sys.exit("bench: CPUs 0 and 1 are needed, one for the gateway and one for the load")
    os.sched_setaffinity(0, {LOAD_CPU})
    raise_file_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by SIGTERM"))  # cleaning up on the way
    try:
        with one_run_at_a_time():
            results = _measure(options)
    except (NotInstalledError, NotReadyError, LoadFailedError, DiedError, profiles.NotSampledError) as error:
        sys.exit(f"bench: {error}")
    print(json.dumps(results))
    return 0


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, Any] = {}
    if "compare" in options.parts:
        until = time.monotonic() + options.minutes * 60
        results |= figures.summary(compare(options.rounds, until, options.only))
        print(figures.table(results), flush=True)
    if "endurance" in options.parts:
        results["endurance"] = endurance.measure()
    if "profile" in options.parts:
        results["profile"] = profiles.measure()
    return results


if __name__ == "__main__":
    sys.exit(main())
