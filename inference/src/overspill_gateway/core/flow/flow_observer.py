"""Who hears of what happens to requests: learning, counting, charging, tracing. Deciding does none of it itself."""

from collections.abc import Callable
from typing import Generic, TypeVar

from overspill_gateway.core.admission.plan import HoldIt, Refuse
from overspill_gateway.core.admission.request_state import RequestState
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.backends.outcome import Failure, FailureKind
from overspill_gateway.core.flow.attempt_state import AttemptState, Ending

A_contra = TypeVar("A_contra", bound=AttemptState[BackendState], contravariant=True)


class FlowObserver(Generic[A_contra]):
    """Hears of every request of a route, in the order in which things happen; this one does nothing with it."""

    def passed_over(self, request: RequestState, step: HoldIt | Refuse) -> None:
        """Nobody takes it now: it is to wait, or to be refused."""

    def began(self, request: RequestState, attempt: A_contra, now: float) -> None:
        """It goes to a backend."""

    def failed(self, request: RequestState, attempt: A_contra, failure: Failure, now: float) -> None:
        """A backend failed it; ``settled`` follows, unless the client gets what the backend said."""

    def first_token(self, request: RequestState, attempt: A_contra, now: float) -> None:
        """Its answer begins."""

    def settled(
        self, request: RequestState, attempt: A_contra, ending: Ending, kind: FailureKind | None, now: float
    ) -> None:
        """An attempt is over: once for each that ``began``."""

    def went_on(self, request: RequestState, attempt: A_contra, now: float) -> None:
        """Its answer broke off, and somebody else is to go on with it."""

    def ended(self, request: RequestState, now: float) -> None:
        """It is over, however it ended."""


class Forwarding(FlowObserver[A_contra]):
    """Tells somebody outside where requests go and when they are over: what is compiled has no subclasses outside."""

    def __init__(
        self, began: Callable[[RequestState, A_contra, float], None], ended: Callable[[RequestState, float], None]
    ) -> None:
        """Both are called as the methods of their names are."""
        self._on_began = began
        self._on_ended = ended

    def began(self, request: RequestState, attempt: A_contra, now: float) -> None:
        """It goes to a backend."""
        self._on_began(request, attempt, now)

    def ended(self, request: RequestState, now: float) -> None:
        """It is over, however it ended."""
        self._on_ended(request, now)
