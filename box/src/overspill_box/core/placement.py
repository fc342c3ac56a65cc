"""Which engines run now: by what routes need, within what the machine has. A function of facts and the time.

Who waits longest comes first, and nobody who comes later may use what it needs. Room is made by those that are idle,
least recently used first, then by busy ones that have had their turn: an engine leaves the endpoints, finishes what it
has begun, and sleeps or ends. What is decided here holds until facts change or ``again_unix``; each step is one action
whose result is a new fact. Not here: how many replicas a route needs, and starting anything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from overspill_box.core.room import UP, EngineFact, Held, RouteNeed, Stage, fit


class Act(StrEnum):
    """What is to be done with an engine."""

    START = "Start"
    """Start its process."""
    WAKE = "Wake"
    """Wake it up."""
    DRAIN = "Drain"
    """Take it out of its route's endpoints: it yields once it has finished what it has begun."""
    RESUME = "Resume"
    """Put it back among the endpoints: nobody needs its room any more."""
    SLEEP = "Sleep"
    """Put it to sleep."""
    STOP = "Stop"
    """End its process."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do now."""

    act: Act
    """What."""
    name: str
    """The engine's name, ``<namespace>/<route>#<ordinal>``."""
    route: str
    """Its route."""
    why: str
    """For people."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A replica that is wanted and can't be there yet."""

    route: str
    """Whose."""
    why: str
    """For people."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What is to be done now."""

    actions: tuple[Action, ...] = ()
    """In this order; all may be begun at once."""
    waits: tuple[Wait, ...] = ()
    """Who waits for what."""
    again_unix: float | None = None
    """When to ask again though nothing has changed; None: not by time."""


@dataclass(frozen=True, slots=True)
class Turns:
    """How engines take turns."""

    turn_seconds: float = 30.0
    """A busy engine yields no sooner after it became ready; loading is no part of it."""
    idle_seconds: float = 1.0
    """An engine without requests counts as idle after so long: whoever asks one thing after another keeps its turn."""
    first_request_seconds: float = 10.0
    """One that has become ready and has had no request yet is left for so long: who woke it is about to ask."""


class _Rank(IntEnum):
    """Order of candidates."""

    REQUESTS_WAIT = 0
    MORE_REPLICAS = 1
    LEAST = 2
    OTHER = 3


@dataclass(frozen=True, slots=True)
class _Candidate:
    rank: _Rank
    since_unix: float
    need: RouteNeed
    name: str
    act: Act


def place(
    needs: Sequence[RouteNeed],
    engines: Sequence[EngineFact],
    memory_bytes: int | None,
    now_unix: float,
    turns: Turns = Turns(),
) -> Placement:
    """What is to be done now. ``memory_bytes``: the machine's memory for engines; None: not known."""
    del turns
    actions = []
    held = {engine.name: engine.held for engine in engines}
    by_route = {need.key: need for need in needs}
    for engine in sorted(engines, key=lambda engine: engine.name):
        need = by_route.get(engine.route)
        if (need is None or engine.ordinal >= need.wanted) and engine.stage is Stage.READY:
            actions.append(Action(Act.DRAIN, engine.name, engine.route, "it is not wanted any more"))
        elif engine.stage is Stage.DRAINING and engine.in_flight == 0:
            act = Act.SLEEP if engine.claim.can_sleep and need is not None else Act.STOP
            actions.append(Action(act, engine.name, engine.route, "it is not wanted any more"))
    waits = []
    for candidate in sorted(_candidates(needs, engines), key=lambda one: (one.rank, one.since_unix, one.name)):
        more = held | {candidate.name: Held(candidate.need.claim)}
        if candidate.need.may_start_unix <= now_unix and fit(more.values(), memory_bytes):
            held = more
            actions.append(Action(candidate.act, candidate.name, candidate.need.key, "it is wanted"))
        else:
            waits.append(Wait(candidate.need.key, "it waits for room"))
    return Placement(tuple(actions), tuple(waits))


def _candidates(needs: Sequence[RouteNeed], engines: Sequence[EngineFact]) -> Iterator[_Candidate]:
    for need in needs:
        own = [engine for engine in engines if engine.route == need.key]
        up = [engine for engine in own if engine.stage in UP]
        asleep = [engine.name for engine in own if engine.stage is Stage.ASLEEP and engine.is_current]
        taken = {engine.ordinal for engine in own}
        free = (number for number in range(len(taken) + need.wanted + 1) if number not in taken)
        since = need.waiting_since_unix
        rank = _Rank.OTHER if since is None else _Rank.REQUESTS_WAIT
        for _ in range(need.wanted - len(up)):
            name, act = (asleep.pop(0), Act.WAKE) if asleep else (f"{need.key}#{next(free)}", Act.START)
            yield _Candidate(rank, since or 0.0, need, name, act)
