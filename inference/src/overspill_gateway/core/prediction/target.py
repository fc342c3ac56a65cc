"""Whether a replica keeps the time to first token that a route wants, as far as anybody can tell beforehand.

It says no earlier than it must and yes again only when it is sure (hysteresis), and now and then it lets one request
try all the same where none of ours is at the replica, so that a prediction that is too high is corrected. Not here:
where a request goes instead (``core.admission.plan``), and predictions themselves (``core.prediction.prediction``).
"""

from dataclasses import dataclass, field

from overspill_gateway.core.prediction.caution import Caution
from overspill_gateway.core.prediction.load import ReplicaLoad
from overspill_gateway.core.prediction.prediction import LoadSnapshot
from overspill_gateway.core.prediction.tuning import TUNING, Tuning


@dataclass(slots=True)
class FirstTokenTarget:
    """The target of one route, and whether it is being missed."""

    seconds: float | None = None
    """A first token later than this goes elsewhere; None: not looked at."""
    spilling_until: float = float("-inf")
    """Requests that load makes late were seen so lately that the lower bound counts until then."""
    tuning: Tuning = TUNING
    """How soon it is missed and kept again."""
    caution: Caution = field(default_factory=Caution)
    """How sure one has to be: the less, the nearer is the lower bound to the target."""

    def is_kept(self, prediction: LoadSnapshot, load: ReplicaLoad, now: float) -> bool:
        """Whether a request stays at a replica of which this is expected."""
        tuning = self.tuning
        target = self.seconds
        if target is None:
            return True
        if prediction.predicted_seconds is None:
            return load.in_flight < tuning.unlearned_requests_max
        ceiling = target * self._return_below() if now < self.spilling_until else target
        if prediction.tail_seconds > ceiling:
            return False
        prediction.own.try_seconds = tuning.try_seconds_min
        return True

    def is_tried(self, prediction: LoadSnapshot, load: ReplicaLoad, now: float) -> bool:
        """Whether a request that no replica keeps the target for goes to this one all the same."""
        return not load.in_flight and prediction.predicted_seconds is not None and prediction.own.tries(now)

    def missed(self, prediction: LoadSnapshot, now: float) -> None:
        """No replica keeps it for a request; this was expected of the best of them."""
        tuning = self.tuning
        target, predicted = self.seconds, prediction.predicted_seconds
        if target is None or predicted is None:
            return
        ceiling = target * self._return_below() if now < self.spilling_until else target
        # Load makes it late, not its own length.
        if prediction.alone_seconds * prediction.tail_seconds <= ceiling * predicted:
            self.spilling_until = now + tuning.spilling_seconds

    def _return_below(self) -> float:
        """Share of the target, while requests go elsewhere."""
        return 1.0 - (1.0 - self.tuning.return_below) * min(self.caution.times, 1.0)

    def waits_in_vain(self, prediction: LoadSnapshot, load: ReplicaLoad) -> bool:
        """Whether a request that nobody else takes gains nothing by waiting: it would be as late by itself."""
        if load.in_flight == 0 or prediction.predicted_seconds is None:
            return True
        return prediction.predicted_seconds <= 1.25 * prediction.alone_seconds
