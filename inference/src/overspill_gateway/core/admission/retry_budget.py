"""How many further attempts may run at a time, and how long to wait before one.

One budget for the whole process: however many routes fail at once, and however many backends each of them lists,
further attempts add at most a fifth to the load of backends that are in trouble already. Hedges are further attempts
as well. How often one request may be tried is its route's to say.
"""

from collections.abc import Callable, Sequence
from typing import Final

from overspill_gateway.core.backends.outcome import REPEATABLE, Failure, FailureKind

RETRIES_SHARE_MAX: Final = 0.2
"""Further attempts at most, of the requests in flight."""
RETRIES_FLOOR: Final = 3
"""So many are always allowed: of two requests in flight a fifth is none."""
BACKOFF_SECONDS: Final = 0.1
"""Before the first further attempt at a backend that failed; twice as long before each one after it."""
BACKOFF_SECONDS_MAX: Final = 5.0
PAUSE_SECONDS_MAX: Final = 2.0
"""A backend that asks for a longer pause is not waited for: its answer says when to come again."""
JITTER: Final = 0.25
"""Pauses are up to this much longer or shorter, so that requests that failed together do not come back together."""

WITHOUT_WORK: Final = frozenset(
    {FailureKind.CONNECT, FailureKind.RESET, FailureKind.CREDENTIALS, FailureKind.UNABLE, FailureKind.FULL}
)
"""Failures after which the backend has nothing left to do for the request: going elsewhere moves its work and adds
none, so it needs no budget. Else half of all requests would be lost with one of two replicas."""


def adds_load(kind: FailureKind | None, *, spills: bool) -> bool:
    """Whether an attempt after a failure of this kind adds to the load of backends, and so needs budget.

    ``spills``: it is the request's first one at a hosted API, after replicas. That moves the request to where there is
    room: what the hosted API gets more of is not retries. ``kind`` None: a hedge, nothing has failed.
    """
    return not spills and kind not in WITHOUT_WORK


class RetryBudget:
    """Further attempts that run now and add load."""

    __slots__ = ("active", "denied_total", "granted_total", "requests_in_flight")

    def __init__(self) -> None:
        self.active = 0
        """Such attempts that run now."""
        self.requests_in_flight = 0
        """Of clients, over all routes."""
        self.granted_total = 0
        """Begun since the start, for metrics."""
        self.denied_total = 0
        """Refused since the start, for metrics."""

    def may_retry(self) -> bool:
        """Whether one more attempt that adds load may begin."""
        if self.active < max(RETRIES_FLOOR, RETRIES_SHARE_MAX * self.requests_in_flight):
            return True
        self.denied_total += 1
        return False

    def began(self) -> None:
        """A further attempt has begun."""
        self.active += 1
        self.granted_total += 1

    def ended(self) -> None:
        """A further attempt has ended, however it did; once for each that began."""
        self.active = max(0, self.active - 1)


def backoff_seconds(attempt: int, random: float, retry_after: float | None) -> float:
    """Seconds to wait before asking the same backend again.

    ``attempt`` counts the failures so far, from 1; ``random`` is uniform in [0, 1); ``retry_after`` is what the
    backend asked for: never less than that, and a little more.
    """
    spread = JITTER * random
    if retry_after is not None:
        return retry_after * (1.0 + spread)
    pause = min(BACKOFF_SECONDS * 2.0 ** min(max(attempt, 1) - 1, 16), BACKOFF_SECONDS_MAX)
    return pause * (1.0 - JITTER + 2.0 * spread)


def pause_before_retry(
    failures: Sequence[Failure], attempts_max: int, rest_seconds: float, random: Callable[[], float]
) -> float | None:
    """Seconds to wait before one of those that failed in passing is asked again; None: that makes no sense.

    ``failures`` of one request, oldest first; ``attempts_max``: the most that it has; ``rest_seconds``: until a hosted
    API may be asked again; ``random``: uniform in [0, 1).
    """
    if not failures or len(failures) >= attempts_max or failures[-1].kind not in REPEATABLE:
        return None
    pause = max(backoff_seconds(len(failures), random(), failures[-1].retry_after_seconds), rest_seconds)
    return pause if pause <= PAUSE_SECONDS_MAX else None
