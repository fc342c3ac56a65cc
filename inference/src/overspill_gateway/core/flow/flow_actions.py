"""What a request's flow asks to be done: the actions of ``request_flow``. Whoever carries them out has the I/O."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from overspill_gateway.core.admission.plan import Refuse, ServedReason
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.prediction.prediction import LoadSnapshot

B = TypeVar("B", bound=BackendState)


@dataclass(frozen=True, slots=True)
class Send(Generic[B]):
    """Send it to a backend; then say ``sent``, or ``not_sent`` and why."""

    backend: B
    reason: ServedReason
    snapshot: LoadSnapshot | None = None
    """What is expected of a replica."""
    is_retry: bool = False
    """Whether it counts against the retry budget."""
    worst_nano_usd: int = 0
    """Of a hedge: what it may cost at most."""


class Standing(Enum):
    """Actions that say all by being one."""

    NOTHING = auto()
    """What is under way goes on."""
    HOLD = auto()
    """It waits for a replica, in the pool's queue, until ``wait_until`` at most."""
    PAUSE = auto()
    """It waits until ``wait_until``, then a backend is asked again."""
    AWAIT_MONEY = auto()
    """It waits for the ledger, until ``wait_until`` at most: say ``money_came`` when it has answered."""
    PASS_ON = auto()
    """Nobody else is left: the client gets what this backend said."""
    CONTINUE = auto()
    """An answer broke off that another backend goes on with: count what came of it, then say ``go_on``."""
    BREAK_OFF = auto()
    """An answer broke off that nobody goes on with: the client is told in its stream."""


NOTHING: Final = Standing.NOTHING
HOLD: Final = Standing.HOLD
PAUSE: Final = Standing.PAUSE
AWAIT_MONEY: Final = Standing.AWAIT_MONEY
PASS_ON: Final = Standing.PASS_ON
CONTINUE: Final = Standing.CONTINUE
BREAK_OFF: Final = Standing.BREAK_OFF

Action = Send[B] | Refuse | Standing


class NotSent(Enum):
    """Why a call could not be sent where it was to go."""

    WAIT = auto()
    """The ledger is asked for the money and will answer: wait for it, shortly."""
    NO = auto()
    """A limit or the money does not allow it, or it can't be said there."""
