"""When a backend that fails must rest, and how it comes back: outlier ejection that suits a handful of backends.

For replicas and hosted APIs alike, beside health (``rotation``): a replica that can't be connected to is out of
rotation until its health check answers; here are those that answer and yet fail. Whom to ask when all of them rest
is said elsewhere (``core.admission.balance``): one backend alone is never a reason to ask nobody.
"""

from typing import Final

from overspill_gateway.core.backends.outcome import FailureKind
from overspill_gateway.core.prediction.tuning import TUNING, Tuning

SHARE_FORGOTTEN: Final = 0.01

_OF_THE_BACKEND: Final = frozenset({401, 402, 403, 408, 429})
"""Client errors that are no client's."""
_BREAKS: Final = frozenset({FailureKind.CONNECT, FailureKind.RESET})


class Outlier:
    """How one backend has fared lately."""

    __slots__ = (
        "_consecutive", "_limited", "_on_probation", "_share", "_tuning", "_unsettled", "_when_broken", "ejections",
        "ejections_total", "fully_back_at", "returns_at",
    )  # fmt: skip

    def __init__(self, tuning: Tuning = TUNING) -> None:
        self._tuning = tuning
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
        return max(self._tuning.returning_share_min, (now - self.returns_at) / (self.fully_back_at - self.returns_at))

    def succeeded(self, now: float) -> None:
        """It gave an answer for a client: a refusal of a bad request is one as well."""
        if not self._unsettled:
            return
        self._consecutive = self._limited = 0
        self._share -= self._tuning.failure_share_step * self._share
        if self._on_probation and now >= self.returns_at:
            self._on_probation -= 1
            if not self._on_probation:
                self._share = 0.0
        if not self._on_probation and self._share < SHARE_FORGOTTEN:
            self._share = 0.0
            self._unsettled = False

    def failed(self, now: float, kind: FailureKind, retry_after_seconds: float | None, *, status: int = 0) -> None:
        """It failed a request; ``status`` is that of its answer, 0 where there was none."""
        tuning = self._tuning
        if kind is FailureKind.INVALID_OUTPUT or kind is FailureKind.UNABLE or kind is FailureKind.FULL:
            return  # the model's fault, or no fault at all: what it can do it does well
        if kind is FailureKind.ERROR_IN_ANSWER and 400 <= status < 500 and status not in _OF_THE_BACKEND:
            return  # the request's fault
        self._unsettled = True
        asked = min(retry_after_seconds, tuning.rest_seconds_max) if retry_after_seconds is not None else 0.0
        if status == 429:
            self._was_limited(now, asked if retry_after_seconds is not None else None)
            return
        if now < self.returns_at:  # sent before it was ejected, or because there is nobody else
            self._rest(now + asked)
            return
        if self._counts(now, kind) and self._is_too_much(tuning.timeout_counts if kind is FailureKind.TIMEOUT else 1):
            self._eject(now, asked)
        elif asked:
            self._rest(now + asked)

    def _counts(self, now: float, kind: FailureKind) -> bool:
        if kind not in _BREAKS:
            return True
        is_another = now - self._when_broken >= self._tuning.one_crash_seconds
        if is_another:
            self._when_broken = now
        return is_another

    def _is_too_much(self, count: int) -> bool:
        tuning = self._tuning
        self._consecutive += count
        for _ in range(count):
            self._share += tuning.failure_share_step * (1.0 - self._share)
        return (
            self._on_probation > 0
            or self._consecutive >= tuning.consecutive_max
            or self._share > tuning.failure_share_max
        )

    def _eject(self, now: float, asked: float) -> None:
        tuning = self._tuning
        quiet = now - max(self.returns_at, now - 1e6)  # infinite before the first time
        self.ejections = max(0, self.ejections - int(quiet / tuning.forgiven_seconds)) + 1
        self.ejections_total += 1
        seconds = min(tuning.ejection_seconds * 2.0 ** min(self.ejections - 1, 16), tuning.ejection_seconds_max)
        self.returns_at = now + max(seconds, asked)
        self.fully_back_at = self.returns_at + tuning.returning_seconds
        self._consecutive = 0
        self._on_probation = tuning.probation_successes

    def _was_limited(self, now: float, asked: float | None) -> None:
        """It is well, and says that it was asked too often: it rests for as long as it says, and returns at once."""
        tuning = self._tuning
        self._limited += 1
        if asked is None:
            asked = min(tuning.limited_seconds * 2.0 ** min(self._limited - 1, 16), tuning.limited_seconds_max)
        self._rest(now + asked)

    def _rest(self, until: float) -> None:
        if until > self.returns_at:
            was_returning = self.fully_back_at - self.returns_at if self.fully_back_at > self.returns_at else 0.0
            self.returns_at = until
            self.fully_back_at = until + was_returning
