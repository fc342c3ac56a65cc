"""One request of a client, understood: all that stays the same while it is served, and what every request shares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overspill_gateway.core.access import Grant
from overspill_gateway.core.ask import Ask
from overspill_gateway.core.body import BodyFacts
from overspill_gateway.core.endpoints import Endpoint
from overspill_gateway.core.head import Head
from overspill_gateway.core.retry_budget import RetryBudget
from overspill_gateway.core.rope import length_of

if TYPE_CHECKING:
    from overspill_gateway.proxy.metering import Admission, Left, Metering
    from overspill_gateway.proxy.route import Route
    from overspill_gateway.proxy.schema_checker import SchemaChecker
    from overspill_gateway.proxy.tokenizing import Tokenizer
    from overspill_gateway.proxy.worker_pool import WorkerPool
    from overspill_gateway.wire.server import ServerConnection
    from overspill_gateway.wire.sweep import Sweeper


@dataclass(slots=True)
class Call:
    """One request of a client."""

    route: "Route"
    """The route of the model that it names."""
    client: "ServerConnection"
    """Where the answer goes."""
    endpoint: Endpoint
    """What it calls."""
    head: Head
    """Its head."""
    body: bytes
    """Its body, as it came; of a long one nothing."""
    facts: BodyFacts
    """What was read from the body."""
    grant: Grant
    """Whose key it carries."""
    ask: Ask
    """What it asks of a backend."""
    request_id: bytes
    """In every answer, and sent to backends."""
    parts: list[bytes]
    """Its body, where that is long."""
    going_on: "tuple[list[bytes], BodyFacts] | None" = None
    """Of a long body, for whoever goes on with an answer that broke off: the request anew, and what was read of it."""
    admission: "Admission | None" = None
    """Where it was counted at its consumer's limits."""
    is_settled: bool = False
    """Whether its consumer's limits know by now how many tokens it took."""
    uncounted_nano_usd: int = 0
    """What its attempts were charged and its consumer's counters do not know of yet."""
    left: "Left | None" = None
    """What came of an answer that its client left; None: it did not, or nobody knows."""
    is_passed_over: bool = False
    """Whether it was counted as kept from hosted APIs for lack of money."""
    is_served: bool = False
    """Whether any of its answers began."""

    def short_body(self, bytes_max: int) -> bytes:
        """Its body, if it is there and no longer than this."""
        return b"".join(self.parts) if self.parts and length_of(self.parts) <= bytes_max else self.body

    def drop_body(self) -> None:
        """Nobody needs it any more."""
        self.body = self.ask.unread = b""
        self.parts, self.going_on = [], None
        self.facts.long = None
        self.client.body_done()


@dataclass(slots=True)
class Shared:
    """What all requests of a gateway share."""

    sweeper: "Sweeper"
    """Calls them when a deadline has passed."""
    retries: RetryBudget
    """How many further attempts may run at a time, over all routes."""
    metering: "Metering"
    """Limits and money."""
    tokenizer: "Tokenizer"
    """Counts tokens where a backend reported none."""
    random: Callable[[], float]
    """Uniform in [0, 1)."""
    checker: "SchemaChecker"
    """Checks answers against schemas."""
    readers: "WorkerPool"
    """Read long bodies."""
