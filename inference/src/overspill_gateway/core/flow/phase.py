"""What a request does, as its flow knows it."""

from enum import Enum, auto


class Phase(Enum):
    """What a request does."""

    HELD = auto()
    """It waits for a replica."""
    BACKING_OFF = auto()
    """It waits before a backend that failed is asked again."""
    AWAITING_MONEY = auto()
    """It waits for the ledger."""
    SERVING = auto()
    """A backend works on it, or what came of a broken answer is counted before another one goes on."""
    CHECKING = auto()
    """Its answer is whole, and is checked against its schema."""
    DONE = auto()
