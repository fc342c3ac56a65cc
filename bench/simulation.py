"""How many requests a minute the deciding core takes in virtual time: flow, pool and scaling on a real trace, one core.

``python -m bench.simulation [requests]``; one JSON line last.
"""

import json
import sys
import time

from overspill_gateway.core.flow import request_flow
from unit.simulation import azure_conversation, simulate


def main(count: int) -> None:
    """Simulate so many requests."""
    arrivals = azure_conversation(count)
    simulate(arrivals[:2_000])  # what is made once is made
    began = time.process_time()
    outcome = simulate(arrivals)
    seconds = time.process_time() - began
    figures = {
        "requests": outcome.requests,
        "cpu_seconds": round(seconds, 2),
        "requests_per_minute": round(outcome.requests / seconds * 60.0),
        "compiled": not request_flow.__file__.endswith(".py"),
        "outcomes": dict(outcome.outcomes),
        "scaling_changes": len(outcome.changes),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
