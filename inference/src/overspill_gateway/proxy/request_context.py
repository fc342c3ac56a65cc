"""One request of a client, understood: all that stays the same while it is served."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from overspill_gateway.core.dialects.endpoints import Endpoint
from overspill_gateway.core.http.head import Head
from overspill_gateway.core.requests.access import Grant
from overspill_gateway.core.requests.ask import Ask
from overspill_gateway.core.requests.body import BodyFacts
from overspill_gateway.core.text.rope import length_of

if TYPE_CHECKING:
    from overspill_gateway.money.metering import Admission, Left
    from overspill_gateway.routes.route import Route
    from overspill_gateway.wire.server import ServerConnection


@dataclass(slots=True)
class RequestContext:
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
    arrived_at: float = 0.0
    """When it came, in seconds of the process's clock."""
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
        self.body, self.ask.unread = b"", None
        self.parts, self.going_on = [], None
        self.facts.long = None
        self.client.body_done()
