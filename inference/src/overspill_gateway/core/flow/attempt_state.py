"""One attempt at one backend, as far as deciding, learning and settling go. Not here: its connection and its answer."""

from enum import Enum, auto
from typing import Generic, TypeVar

from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.prediction.foregone import Foregone
from overspill_gateway.core.prediction.prediction import LoadSnapshot

B_co = TypeVar("B_co", bound=BackendState, covariant=True)


class Ending(Enum):
    """How an attempt ended."""

    WHOLE = auto()
    """With a whole answer, of whatever status."""
    REFUSED = auto()
    """With a status that says that nothing was done."""
    FAILED = auto()
    """Before its first token."""
    BROKEN = auto()
    """After its first token."""
    ABANDONED = auto()
    """Nobody wanted it any more."""


class AttemptState(Generic[B_co]):
    """One attempt. Times are seconds of the process's clock; 0: it has not come to that."""

    __slots__ = (
        "backend", "counts_as_retry", "first_token_at", "foregone", "has_place", "is_hedge", "is_retry", "launched_at",
        "reason", "sent_at", "snapshot", "spills", "status", "usage", "was_paused",
    )  # fmt: skip

    def __init__(
        self, backend: B_co, reason: ServedReason, now: float, *, is_retry: bool, snapshot: LoadSnapshot | None
    ) -> None:
        self.backend = backend
        self.reason = reason
        self.is_retry = is_retry
        """Whether it counts against the retry budget."""
        self.is_hedge = False
        """Whether it runs beside another that is slow to begin."""
        self.counts_as_retry = False
        """Whether it is counted among the further attempts that run."""
        self.has_place = False
        """Whether it is counted among the requests at its backend."""
        self.spills = False
        """Whether it does at a hosted API what a replica would have done."""
        self.was_paused = False
        """Whether its client has ever been too slow to take it: how long it takes then says nothing of the backend."""
        self.launched_at = now
        self.sent_at = 0.0
        self.first_token_at = 0.0
        self.snapshot = snapshot
        """What was expected of a replica: what learning compares with."""
        self.foregone: Foregone | None = None
        """Of what a replica would have done instead; None: nobody judges that."""
        self.status = 0
        """Of its answer; 0: none has come."""
        self.usage: Usage | None = None
        """Tokens of its answer, once it is over and where all of them are known: written by the first who hears of
        its end, for those who hear of it later."""

    @property
    def served_by(self) -> str:
        """``local/<pod>`` or ``hosted/<name>``."""
        return self.backend.served_by

    @property
    def was_sent(self) -> bool:
        """Whether the backend may have begun to work: from then on its work may cost money."""
        return self.sent_at > 0.0

    @property
    def has_begun(self) -> bool:
        """Whether its first token has come."""
        return self.first_token_at > 0.0
