"""When a backend that fails must rest, and how it comes back: outlier ejection that suits a handful of backends.

For replicas and hosted APIs alike, beside health (``core.rotation``): a replica that can't be connected to is out of
rotation until its health check answers; here are those that answer and yet fail. Whom to ask when all of them rest
is said elsewhere (``core.balance``): one backend alone is never a reason to ask nobody.
"""

from typing import Final

from overspill_gateway.core.outcome import FailureKind

CONSECUTIVE_MAX: Final = 5
"""Failures in a row that eject."""
TIMEOUT_COUNTS: Final = 2
"""A request that timed out has cost somebody the longest wait there is: three in a row eject."""
FAILURE_SHARE_MAX: Final = 0.3
"""Share of recent requests that failed, above which a backend is ejected though some succeed in between."""
FAILURE_SHARE_STEP: Final = 1 / 16
"""Weight of one request in that share, which so looks back some 16 requests: six failures out of the first ones."""
SHARE_FORGOTTEN: Final = 0.01
EJECTION_SECONDS: Final = 5.0
"""The first time; twice as long each further time."""
EJECTION_SECONDS_MAX: Final = 120.0
"""One of two replicas is half of what there is: longer would be dear, and a look every two minutes costs nothing."""
RETRY_AFTER_SECONDS_MAX: Final = 300.0
"""The longest rest that a backend is granted because it asked for it."""
FORGIVEN_SECONDS: Final = 60.0
"""Without an ejection for this long, one earlier ejection is forgotten."""
LIMITED_SECONDS: Final = 0.5
"""After a 429 that names no time; twice as long each further time in a row."""
LIMITED_SECONDS_MAX: Final = 30.0
RETURN_SECONDS: Final = 10.0
"""From its return to its full share."""
RETURN_SHARE_MIN: Final = 0.1
PROBATION_SUCCESSES: Final = 3
"""Requests that a backend which returns has to answer well; the first failure before that ejects it again."""
ONE_CRASH_SECONDS: Final = 0.1
"""Connections that break within this time broke for one reason: they count once."""

_OF_THE_BACKEND: Final = frozenset({401, 402, 403, 408, 429})
"""Client errors that are no client's."""
_BREAKS: Final = frozenset({FailureKind.CONNECT, FailureKind.RESET})


class Outlier:
    """How one backend has fared lately."""

    __slots__ = (
        "_consecutive", "_limited", "_on_probation", "_share", "_unsettled", "_when_broken", "ejections",
        "ejections_total", "fully_back_at", "returns_at",
    )  # fmt: skip

    def __init__(self) -> None:
        self.returns_at = float("-inf")
        """Until when it rests, in seconds of the monotonic clock, as all times here."""
        self.fully_back_at = float("-inf")
        """From when on it has its full share again."""
        self.ejections = 0
        """Times ejected that are not forgotten yet: the next one is the longer for them."""
        self.ejections_total = 0
        """Times ejected ever, for metrics; rests that it asked for are not among them."""
        self._unsettled = False
        """Whether successes have anything to mend."""
        self._consecutive = 0
        self._share = 0.0
        self._limited = 0
        self._on_probation = 0
        self._when_broken = float("-inf")

    def ejected(self, now: float) -> bool:
        """Whether it rests."""
        return now < self.returns_at

    def weight(self, now: float) -> float:
        """The share of work that it may have, against one that never failed: 0 while it rests, up to 1."""
        if now >= self.fully_back_at:
            return 1.0
        if now < self.returns_at:
            return 0.0
        return max(RETURN_SHARE_MIN, (now - self.returns_at) / (self.fully_back_at - self.returns_at))

    def succeeded(self, now: float) -> None:
        """It gave an answer for a client: a refusal of a bad request is one as well."""
        if not self._unsettled:
            return
        self._consecutive = self._limited = 0
        self._share -= FAILURE_SHARE_STEP * self._share
        if self._on_probation and now >= self.returns_at:
            self._on_probation -= 1
            if not self._on_probation:
                self._share = 0.0
        if not self._on_probation and self._share < SHARE_FORGOTTEN:
            self._share = 0.0
            self._unsettled = False

    def failed(self, now: float, kind: FailureKind, retry_after_seconds: float | None, *, status: int = 0) -> None:
        """It failed a request; ``status`` is that of its answer, 0 where there was none."""
        if kind is FailureKind.INVALID_OUTPUT or kind is FailureKind.UNABLE:
            return  # the model's fault, or no fault at all: what it can do it does well
        if kind is FailureKind.ERROR_IN_ANSWER and 400 <= status < 500 and status not in _OF_THE_BACKEND:
            return  # the request's fault
        self._unsettled = True
        asked = min(retry_after_seconds, RETRY_AFTER_SECONDS_MAX) if retry_after_seconds is not None else 0.0
        if status == 429:
            self._was_limited(now, asked if retry_after_seconds is not None else None)
            return
        if now < self.returns_at:  # sent before it was ejected, or because there is nobody else
            self._rest(now + asked)
            return
        if self._counts(now, kind) and self._is_too_much(TIMEOUT_COUNTS if kind is FailureKind.TIMEOUT else 1):
            self._eject(now, asked)
        elif asked:
            self._rest(now + asked)

    def _counts(self, now: float, kind: FailureKind) -> bool:
        if kind not in _BREAKS:
            return True
        is_another = now - self._when_broken >= ONE_CRASH_SECONDS
        if is_another:
            self._when_broken = now
        return is_another

    def _is_too_much(self, count: int) -> bool:
        self._consecutive += count
        for _ in range(count):
            self._share += FAILURE_SHARE_STEP * (1.0 - self._share)
        return self._on_probation > 0 or self._consecutive >= CONSECUTIVE_MAX or self._share > FAILURE_SHARE_MAX

    def _eject(self, now: float, asked: float) -> None:
        quiet = now - max(self.returns_at, now - 1e6)  # infinite before the first time
        self.ejections = max(0, self.ejections - int(quiet / FORGIVEN_SECONDS)) + 1
        self.ejections_total += 1
        seconds = min(EJECTION_SECONDS * 2.0 ** min(self.ejections - 1, 16), EJECTION_SECONDS_MAX)
        self.returns_at = now + max(seconds, asked)
        self.fully_back_at = self.returns_at + RETURN_SECONDS
        self._consecutive = 0
        self._on_probation = PROBATION_SUCCESSES

    def _was_limited(self, now: float, asked: float | None) -> None:
        """It is well, and says that it was asked too often: it rests for as long as it says, and returns at once."""
        self._limited += 1
        if asked is None:
            asked = min(LIMITED_SECONDS * 2.0 ** min(self._limited - 1, 16), LIMITED_SECONDS_MAX)
        self._rest(now + asked)

    def _rest(self, until: float) -> None:
        if until > self.returns_at:
            was_returning = self.fully_back_at - self.returns_at if self.fully_back_at > self.returns_at else 0.0
            self.returns_at = until
            self.fully_back_at = until + was_returning
