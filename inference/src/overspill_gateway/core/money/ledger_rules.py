"""What a ledger writes down, and what it answers: the rules of every store of caps, whatever it is kept in.

A holder is one account of one process. It says in a claim what it has in all, as a total and not as a change: to lease
is to claim more, to give back is to claim less, and what was spent beyond a lease is claimed whatever the cap. So a
claim that comes twice is written once, one that was overtaken by a newer one is left out, and one that was lost is made
up for by the next. Nobody changes another holder's total: what a dead process had leased stays charged until its
period ends. Amounts are nano-dollars, or whatever else is counted under a cap.

Not here: where it is kept (``money.ledger_store``), and what is claimed when (``account``).
"""

from dataclasses import dataclass
from enum import Enum

from overspill_gateway.core.money.period import Period


class CapKind(Enum):
    """Of what there are caps."""

    BUDGET = "budget"
    """What the hosted APIs of a route may cost."""
    CONSUMER = "consumer"
    """A consumer's rates, over all routes."""
    CONSUMER_AT_ROUTE = "route"
    """A consumer's rates at one route."""
    HOSTED = "hosted"
    """What a provider allows."""


@dataclass(frozen=True, slots=True)
class CapKey:
    """What is capped."""

    kind: CapKind
    name: str
    """Of a budget the route's ``namespace/name``; of others the names of those that it concerns."""

    @property
    def text(self) -> str:
        """As stores write it. Budgets stand by the name of their route alone, as in files of earlier versions."""
        return self.name if self.kind is CapKind.BUDGET else f"{self.kind.value} {self.name}"


def cap_key(text: str) -> CapKey:
    """The key that is written so; raises ValueError for a kind that is not known."""
    kind, space, name = text.partition(" ")
    return CapKey(CapKind(kind), name) if space else CapKey(CapKind.BUDGET, text)


@dataclass(frozen=True, slots=True)
class AccountKey:
    """One holder's share of a cap in one period."""

    cap: CapKey
    period: Period
    holder: str
    """The pod, the start of its process, and a number: never used again by any other account."""


@dataclass(frozen=True, slots=True)
class Claim:
    """All that a holder has, as it wants it written down."""

    number: int
    """Rises with each claim of a holder: of two the store keeps to the higher one."""
    least: int
    """Charged whatever the cap: what it had already, or what it still needs of that."""
    most: int
    """Charged as far as the cap has room."""
    cap: int
    is_last: bool = False
    """Whether the holder will claim nothing more."""


def at_its_least(claim: Claim) -> Claim:
    """What of a claim that failed is still to be written: nothing more is granted of it, for nobody waits any more."""
    return Claim(claim.number, claim.least, claim.least, claim.cap, claim.is_last)


@dataclass(frozen=True, slots=True)
class Granted:
    """A claim was written down."""

    number: int
    """Of the claim."""
    charged: int
    """What stands written for this holder now: it may spend that much in all, and no more."""
    charged_by_others: int
    """In this period, with what they have leased, the dead included."""
    alerted: int
    """The highest charge that somebody was told of."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Whether a claim was written down is not known: nothing may be spent of what it asked for."""

    number: int
    """Of the claim."""
    reason: str
    """What is wrong, where, and what mends it."""


@dataclass(frozen=True, slots=True)
class CapState:
    """What a store has of one cap in one period."""

    charged: int = 0
    """By all holders."""
    alerted: int = 0
    """The highest charge that somebody was told of."""


@dataclass(frozen=True, slots=True)
class HolderState:
    """What a store has of one holder. One that it does not know has nothing."""

    number: int = 0
    """Of its newest claim."""
    charged: int = 0
    alerted: int = 0
    """The highest charge of which this holder was the first to hear."""


def apply_claim(whole: CapState, mine: HolderState, claim: Claim) -> tuple[CapState, HolderState, Granted]:
    """What is to be written down for a claim, and what its holder is told.

    A store that has lost what it had written hears of it again by the next claim, whose ``least`` needs no room.
    """
    others = max(whole.charged - mine.charged, 0)
    if claim.number > mine.number:
        charged = max(min(claim.most, claim.cap - others), claim.least)
        mine = HolderState(claim.number, charged, mine.alerted)
        whole = CapState(others + charged, whole.alerted)
    return whole, mine, Granted(claim.number, mine.charged, others, whole.alerted)


def apply_alert(whole: CapState, mine: HolderState, level: int) -> tuple[CapState, HolderState, bool]:
    """What is to be written down when a holder sees that this much is charged, and whether it is the first to.

    The first one tells people of it; asked again, it is told again that it is the first.
    """
    if level > whole.alerted:
        return CapState(whole.charged, level), HolderState(mine.number, mine.charged, level), True
    return whole, mine, level == whole.alerted == mine.alerted
