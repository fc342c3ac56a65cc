"""Writes the fault matrix as a page of the reference.

PYTHONPATH=tests python -m unit.gateway.faults_page docs/reference/faults.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from unit.gateway.faults import DIALECTS, GROUPS, Fault, Outcome

HEAD = """\
<!-- Generated from tests/unit/gateway/faults.py by `make generate`; not edited by hand. -->
# Faults of backends, and what comes of them

Each row is a test (`tests/unit/gateway/test_fault_matrix.py`): a backend that speaks raw TCP does what the first column
says, as the only backend and with another one that could take over, as a replica and as a hosted API.

- **no other backend**, **another backend**: what the client sees. `502 ...` is a JSON error of the gateway with that
  code. "2 tokens, an error event" is a stream that had begun: the error is its last event, there is no `[DONE]`, and
  the connection stays usable. A stream never ends as if it were whole when it is not, and an answer is never spliced
  from two backends unless the route says `onStreamFailure: Continue`: then another backend goes on, the last chunk is
  marked `"overspill": {"continued": ...}`, and only without another backend it ends as below.
- Where nobody else is left and the failure may pass, the same backend is asked again after a pause, as often as
  `retries.attempts` allows; the client sees what came of the last try.
- **counted as**: the `kind` of `overspill_attempt_failures_total`. "-": no attempt failed.
- **tokens**: who counted them in `overspill_tokens_total`. "-": there were none to count.
- **charged**: what the call costs in the budget and in `overspill_cost_nano_usd_total` where the backend is a hosted
  API. "in full": its outcome is uncertain, so that what was held for it (the longest answer that was asked for) is
  charged, each try for itself, and never given back.

After each row nothing is under way or held, and the budget, the backends and the consumers have been charged the same.
`test_fault_storm.py` does all of it at random and at once.
"""

DIALECT_HEAD = """
## When to come back

After a 429 a backend is left out for as long as it says, but for 5 minutes at most, and no longer, unless there is
nobody else to ask. It may say so in each of these ways (the moments in braces are in that form, so many seconds ahead):

| header field | left out for |
|---|---|
"""


def page() -> str:
    """The page."""
    tables = "".join(f"\n## {name}\n\n{table(faults)}" for name, faults in GROUPS.items())
    dialects = "".join(f"| `{one.text}` | {one.seconds:g} s |\n" for one in DIALECTS)
    return HEAD + tables + DIALECT_HEAD + dialects


def table(faults: tuple[Fault, ...]) -> str:
    """One group of faults."""
    rows = [
        "| the backend ... | request | no other backend | another backend | counted as | tokens | charged |",
        "|---|---|---|---|---|---|---|",
    ]
    for fault in faults:
        rows += [f"| {fault.name} | {request} | {cells(outcome)} |" for request, outcome in requests(fault)]
    return "\n".join(rows) + "\n"


def requests(fault: Fault) -> Iterator[tuple[str, Outcome]]:
    """The outcomes of a fault, one where they are the same."""
    if fault.plain == fault.stream and fault.plain is not None:
        yield "both", fault.plain
    else:
        yield from ((str(mode), outcome) for mode, outcome in fault.outcomes())


def cells(outcome: Outcome) -> str:
    """The cells of an outcome."""
    alone = outcome.alone
    if outcome.alone_replica:
        alone += f"; of a replica: {outcome.alone_replica}"
    other = outcome.other + (f"; of two replicas: {outcome.other_replica}" if outcome.other_replica else "")
    return " | ".join((alone, other, outcome.counted or "-", outcome.tokens or "-", outcome.charged))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
