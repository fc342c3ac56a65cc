"""Documents that gateways cannot use, and what status says of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from overspill_api.status import ConditionType as Type
from overspill_operator.core.conditions import Statement, false, true
from overspill_operator.core.demand.traffic import GatewayView

REASON = "RefusedByGateway"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A compiled document that gateways refuse."""

    message: str
    """What is wrong with it, in a gateway's words."""
    gateways: int
    """Gateways that refuse it."""
    heard: int
    """Gateways that are heard."""

    def told(self, kind: str) -> str:
        """For people. ``kind``: ModelRoute or Consumer."""
        message = self.message.rstrip(".")
        return (
            f"{self.gateways} of {self.heard} gateways cannot use this {kind}: {message}. Its last version that they "
            "could use, where there is one, stays in force there. Change the spec, or update those gateways."
        )


def refusal_of(
    kind: Literal["route", "consumer"], key: str, views: Iterable[GatewayView], now_unix: float
) -> Refusal | None:
    """Who refuses a document; None: nobody that is heard."""
    fresh = [view for view in views if not view.is_stale(now_unix)]
    refused = [document for view in fresh if (document := view.refused.get((kind, key)))]
    if not refused:
        return None
    newest = max(refused, key=lambda document: (document.generation, document.message))
    return Refusal(newest.message or "no reason given", len(refused), len(fresh))


def programmed(refusal: Refusal | None) -> Statement:
    """Whether the gateways can use what the spec was made into."""
    if refusal is None:
        return true(Type.PROGRAMMED, "NoGatewayRefuses", "No gateway says that it cannot use this ModelRoute.")
    return false(Type.PROGRAMMED, REASON, refusal.told("ModelRoute"))
