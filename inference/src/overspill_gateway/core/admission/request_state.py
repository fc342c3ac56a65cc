"""One request as deciding, learning and tracing know it: what it asks, what it has been through, who carries it out."""

from typing import Final

from mypy_extensions import mypyc_attr

from overspill_gateway.core.admission.plan import History, Refuse
from overspill_gateway.core.prediction.prediction import LoadSnapshot
from overspill_gateway.core.requests.ask import Ask


@mypyc_attr(allow_interpreted_subclasses=True)  # a simulator is plain Python
class Waiter:
    """Whoever carries out what is decided of a request, as the queue of those who wait knows it."""

    def release(self, now: float) -> bool:
        """Somebody may take it, or the rules have changed: try again. Whether it waits no more."""
        raise NotImplementedError

    def give_up(self, step: Refuse, now: float) -> None:
        """Nobody serves it."""
        raise NotImplementedError


NOBODY: Final = Waiter()
"""Of a request that is over: it and its waiter would keep each other alive until the collector came."""


class RequestState:
    """What is known of one request."""

    def __init__(self, waiter: Waiter, ask: Ask, now: float, *, streams: bool) -> None:
        self.waiter = waiter
        self.ask = ask
        self.streams = streams
        """Whether its first token is seen."""
        self.started_at = now
        """When it came, seconds of the process's clock."""
        self.history = History()
        self.foregone: LoadSnapshot | None = None
        """What was expected of the best replica, where it is to go to a hosted API since that would be late."""
        self.invalid_outputs = 0
        """Answers so far that broke its schema."""
