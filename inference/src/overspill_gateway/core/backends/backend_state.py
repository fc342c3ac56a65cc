"""What is known of a backend, whatever it is: its name, how it has fared lately, how many requests it has."""

from overspill_gateway.core.answers.usage import Price
from overspill_gateway.core.backends.ejection import Outlier
from overspill_gateway.core.dialects.request_form import REPLICA_FORM
from overspill_gateway.core.prediction.tuning import TUNING, Tuning
from overspill_gateway.core.requests.ask import Ask


class BackendState:
    """One replica or one hosted API; with its connections it is a subclass of theirs."""

    def __init__(self, served_by: str, *, is_local: bool, tuning: Tuning = TUNING) -> None:
        self.served_by = served_by
        """``local/<pod>`` or ``hosted/<name>``, the same in every gateway."""
        self.is_local = is_local
        """Whether it is a replica of ours: its work costs no money, and shows how fast it is."""
        self.outlier = Outlier(tuning)
        """Whether it rests after failures."""
        self.form = REPLICA_FORM
        """How it takes what the gateway adds to a request."""
        self.requests = 0
        """Requests at it now, from this gateway."""

    @property
    def price(self) -> Price | None:
        """What tokens cost there; None: nothing, or unknown."""
        return None

    def worst_case(self, ask: Ask) -> int:  # noqa: ARG002 - for those that have a price
        """The most that a call may cost, in nano-dollars; 0 where it costs nothing, or nobody knows."""
        return 0

    def has_said_that_it_lacks(self, path: bytes, now: float) -> None:
        """It has refused a request for lack of this path, or of the model."""

    def sent(self, ask: Ask, now: float) -> None:  # noqa: ARG002 - for those whose work is known
        """A request goes there."""
        self.requests += 1

    def first_token(self, ask: Ask) -> None:
        """A request's first token has come."""

    def done(self, ask: Ask, *, first_token_came: bool) -> None:  # noqa: ARG002 - for those whose work is known
        """A request has ended there."""
        self.requests -= 1

    def is_full(self, now: float) -> None:
        """It has refused a request since it has as much to do as its own bounds allow."""
