"""Which replicas may be used, and when each is asked whether it answers.

What Kubernetes says of an endpoint and what this gateway found out by itself, together. Probing itself is elsewhere.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Health(StrEnum):
    """What this gateway found out about a replica by itself."""

    UNKNOWN = "Unknown"
    """Nothing yet: what Kubernetes says counts."""
    ANSWERS = "Answers"
    """Its health check answered 200."""
    BROKEN = "Broken"
    """A connection to it failed or was reset; until its health check answers it gets nothing."""


@dataclass(frozen=True, slots=True)
class EndpointFact:
    """One endpoint as its source describes it."""

    address: str
    """IP address or name."""
    port: int | None
    """TCP port; None: that of the route's pool."""
    pod: str
    """Name of the pod, for ``x-overspill-served-by``."""
    uid: str
    """Identity of the pod: a new pod may get an old one's address."""
    ready: bool
    """Its readiness probe passes."""
    terminating: bool
    """It is going away."""


HELD_PROBE_SECONDS: Final = 0.01
"""Between two probes while requests wait: a refused connection costs next to nothing."""
BROKEN_PROBE_SECONDS_MIN: Final = 0.05
BROKEN_PROBE_SECONDS_MAX: Final = 0.5
SPILL_PROBE_SECONDS: Final = 0.25
"""While requests go to a hosted API that a replica could take."""
LOADING_PROBE_SECONDS_MIN: Final = 0.25
LOADING_PROBE_SECONDS_MAX: Final = 2.0
"""While nobody asks: Kubernetes' own readiness probe says it as well."""
GONE_PROBE_SECONDS: Final = 1.0
"""For a replica that was taken away while it still works on requests."""
CONNECT_FAILURES_TO_ABORT: Final = 3
"""Failed connections in a row after which a listed replica's running requests are given up."""


def usable(fact: EndpointFact | None, health: Health) -> bool:
    """Whether a replica may get a new request; ``fact`` None: it is listed no more."""
    if fact is None or fact.terminating or health is Health.BROKEN:
        return False
    return fact.ready or health is Health.ANSWERS


def probe_delay(
    fact: EndpointFact | None, health: Health, *, failures: int, in_flight: int, held: int, spilling: bool
) -> float | None:
    """Seconds until the next probe, after ``failures`` in a row; None: no probe is needed."""
    if fact is None or fact.terminating:
        return (0.0 if failures == 0 else GONE_PROBE_SECONDS) if in_flight and fact is None else None
    if usable(fact, health):
        return None
    if held:
        return HELD_PROBE_SECONDS if failures else 0.0
    if health is Health.BROKEN:
        return min(BROKEN_PROBE_SECONDS_MIN * 2.0 ** min(failures, 8), BROKEN_PROBE_SECONDS_MAX) if failures else 0.0
    if spilling:
        return SPILL_PROBE_SECONDS if failures else 0.0
    return min(LOADING_PROBE_SECONDS_MIN * 2.0 ** min(failures, 8), LOADING_PROBE_SECONDS_MAX)


def gives_up_running(fact: EndpointFact | None, connect_failures: int) -> bool:
    """Whether the requests that run on a replica are lost, since it can't be connected to any more.

    One that is listed no more needs one failed connection; a listed one several, since a full backlog fails too.
    """
    return connect_failures >= (1 if fact is None else CONNECT_FAILURES_TO_ABORT)
