"""What is known of one replica, as far as deciding goes: its work, how it fares, what it may still be given.

Not here: its address, its connections and its health check (``backends.backend``).
"""

from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.prediction.load import ReplicaLoad
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.prediction.release import ReleaseWindow
from overspill_gateway.core.requests.ask import Ask


class ReplicaState(BackendState):
    """One replica of a route. Told of every request there."""

    def __init__(self, served_by: str, rates: ServiceRates) -> None:
        """``rates``: those of the route, which are to be told when it is gone."""
        super().__init__(served_by, is_local=True, tuning=rates.tuning)
        self.load = ReplicaLoad(tuning=rates.tuning)
        """Its work."""
        self.rates = rates.of_new_replica()
        """How it differs from the route's other replicas."""
        self.window = ReleaseWindow(self.load, rates, self.rates)
        """What it may be given of those who wait."""

    def sent(self, ask: Ask, now: float) -> None:
        """A request goes there."""
        super().sent(ask, now)
        self.load.sent(ask)
        self.window.sent(now)

    def first_token(self, ask: Ask) -> None:
        """A request's first token has come."""
        self.load.first_token(ask)
        self.window.first_token()

    def done(self, ask: Ask, *, first_token_came: bool) -> None:
        """A request has ended there."""
        super().done(ask, first_token_came=first_token_came)
        self.load.done(ask, first_token_came=first_token_came)
        self.window.done(first_token_came=first_token_came)

    def is_full(self, now: float) -> None:
        """It has refused a request for want of room."""
        self.window.refused(now)
