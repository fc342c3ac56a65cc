"""Whether a replica keeps the time to first token that a route wants, as far as anybody can tell beforehand.

It says no earlier than it must and yes again only when it is sure (hysteresis), and now and then it lets one request
try all the same where none of ours is at the replica, so that a prediction that is too high is corrected. Not here:
where a request goes instead (``core.plan``), and predictions themselves (``core.prediction``).
"""

from dataclasses import dataclass
from typing import Final

from overspill_gateway.core.load import ReplicaLoad
from overspill_gateway.core.prediction import LoadSnapshot, ServiceRates

RETURN_SECONDS: Final = 5.0
"""Without a request that would have been late, this long, until the full target counts again."""
UNLEARNED_REQUESTS_MAX: Final = 32
"""At a replica whose rates nobody knows yet: enough to learn them, and no flood."""
TRY_SECONDS_MIN: Final = 1.0
"""Between two requests that try a replica with none of ours against the prediction ..."""
TRY_SECONDS_MAX: Final = 60.0
"""... doubling up to this while none of them changes it: prompts may be too long for the target even alone."""


@dataclass(slots=True)
class FirstTokenTarget:
    """The target of one route, and whether it is being missed."""

    seconds: float | None = None
    """A first token later than this goes elsewhere; None: not looked at."""
    return_below: float = 0.8
    """While requests go elsewhere, only those below this share of the target stay."""
    spilling_until: float = float("-inf")
    """Requests that load makes late were seen so lately that the lower bound counts until then."""
    switches: int = 0
    """How often the lower bound came into force."""
    tries: int = 0
    """Requests that were let in against the prediction."""
    _tried_at: float = float("-inf")
    _try_seconds: float = TRY_SECONDS_MIN

    def is_kept(self, told: LoadSnapshot, load: ReplicaLoad, rates: ServiceRates, now: float, *, may_try: bool) -> bool:
        """Whether a request stays; ``may_try``: it has not been through anything yet."""
        target = self.seconds
        if target is None:
            return True
        if told.predicted_seconds is None:
            return load.in_flight < UNLEARNED_REQUESTS_MAX
        spilling = now < self.spilling_until
        ceiling = target * self.return_below if spilling else target
        tail = told.tail_seconds
        if tail <= ceiling:
            self._try_seconds = TRY_SECONDS_MIN
            return True
        if may_try and load.in_flight == 0 and self._tries(rates, now):
            return True
        if told.alone_seconds * tail <= ceiling * told.predicted_seconds:  # load makes it late, not its own length
            if not spilling:
                self.switches += 1
            self.spilling_until = now + RETURN_SECONDS
        return False

    def waits_in_vain(self, told: LoadSnapshot, load: ReplicaLoad) -> bool:
        """Whether a request that nobody else takes gains nothing by waiting: it would be as late by itself."""
        if load.in_flight == 0 or told.predicted_seconds is None:
            return True
        return told.predicted_seconds <= 1.25 * told.alone_seconds

    def _tries(self, rates: ServiceRates, now: float) -> bool:
        if rates.brighter_at > self._tried_at:  # the last try was worth it
            self._try_seconds = TRY_SECONDS_MIN
        if now < self._tried_at + self._try_seconds:
            return False
        if self._tried_at > rates.brighter_at:
            self._try_seconds = min(2.0 * self._try_seconds, TRY_SECONDS_MAX)
        self._tried_at = now
        self.tries += 1
        return True
