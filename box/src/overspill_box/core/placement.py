"""Which engines run now: by what routes need, within what the machine has. A function of facts and the time.

Who waits longest comes first, and nobody who comes later may use what it needs. Room is made by engines that are idle,
least recently used first, then by busy ones that have had their turn (``yielding``): an engine leaves the endpoints,
finishes what it has begun, and sleeps or ends. What is decided holds until facts change or ``again_unix``; each action
makes a new fact at once. Not here: how many replicas a route needs, and starting anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from typing import Final

from overspill_box.core.room import UP, EngineFact, Held, RouteNeed, Stage, fit
from overspill_box.core.yielding import Turns, Urgency, Yielding, Yields

USUAL_TURNS = Turns()
"""As they are unless somebody says otherwise."""

_NOT_FINISHED = "its requests did not end in time"

RESUME_SECONDS: Final = 1.0
"""An engine that began to yield goes on with that for so long, though it need not any more."""


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
    """For people: the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A replica that is wanted and can't be there yet."""

    route: str
    """Whose."""
    why: str
    """For people: the end of a sentence."""


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
class _Candidate:
    """A replica that is wanted and not there."""

    urgency: Urgency
    need: RouteNeed
    name: str
    act: Act

    @property
    def place_in_line(self) -> tuple[int, float, str, str]:
        return self.urgency, self.need.waiting_since_unix or 0.0, self.need.key, self.name


@dataclass(frozen=True, slots=True)
class _Leave:
    """An engine that is to go."""

    to_sleep: bool
    why: str


def place(
    needs: Sequence[RouteNeed],
    engines: Sequence[EngineFact],
    memory_bytes: int | None,
    now_unix: float,
    turns: Turns = USUAL_TURNS,
) -> Placement:
    """What is to be done now. ``memory_bytes``: the machine's memory for engines; None: not known.

    ``engines``: all whose processes have not ended, from the moment they were started.
    """
    placing = _Placing({need.key: need for need in needs}, engines, memory_bytes, now_unix, turns)
    return placing.placement()


class _Placing:
    """One answer being worked out."""

    def __init__(
        self,
        needs: Mapping[str, RouteNeed],
        engines: Sequence[EngineFact],
        memory_bytes: int | None,
        now_unix: float,
        turns: Turns,
    ) -> None:
        self._needs = needs
        self._engines = tuple(sorted(engines, key=lambda one: (one.route, one.ordinal)))
        self._memory = memory_bytes
        self._now_unix = now_unix
        self._yields = Yields(needs, self._engines, turns, now_unix)
        self._held = {one.name: one.held for one in self._engines}
        """What is taken now, with what begins to start now."""
        self._later = dict(_held_later(self._engines))
        """What will be taken once all that is decided has come about."""
        self._leaving: dict[str, _Leave] = {}
        self._settled: set[str] = set()
        """Engines of which is decided already, for who is further in front: nobody else may have their room."""
        self._beginning: list[Action] = []
        self._waits: list[Wait] = []
        self._again = inf

    def placement(self) -> Placement:
        """The answer."""
        for engine, to_sleep, why in self._not_wanted():
            self._leave(engine, to_sleep=to_sleep and self._yields.may_sleep(engine), why=why)
        self._shed()
        for candidate in sorted(self._candidates(), key=lambda one: one.place_in_line):
            self._admit(candidate)
        going = list(self._going())
        again = None if self._again == inf else self._again
        return Placement((*going, *self._beginning), tuple(self._waits), again)

    # -- who goes because nobody wants it ------------------------------------------------------------------------

    def _not_wanted(self) -> Iterator[tuple[EngineFact, bool, str]]:
        """Engines that nobody wants, whether they may sleep, and why."""
        for engine in self._engines:
            if engine.route not in self._needs:
                yield engine, False, "its route has no engine any more"
        for need in self._needs.values():
            own = [one for one in self._engines if one.route == need.key]
            up = sorted((one for one in own if one.is_current and one.stage in UP), key=_least_missed)
            spare = max(0, len(up) - need.wanted)
            wanted = "no replica is wanted" if need.wanted == 0 else f"{need.wanted} are wanted"
            for engine in up[:spare]:
                yield engine, True, wanted
            ready = sum(one.stage is Stage.READY for one in up[spare:])
            yield from self._outdated(own, max(0, need.wanted - ready))

    def _outdated(self, own: list[EngineFact], still_needed: int) -> Iterator[tuple[EngineFact, bool, str]]:
        """Engines of another make than their route's engine is to have; as many serve on as are still needed."""
        outdated = [one for one in own if not one.is_current]
        serving = [one for one in outdated if one.stage in (Stage.READY, Stage.DRAINING)]
        staying = sorted(serving, key=_least_missed, reverse=True)[:still_needed]
        for engine in outdated:
            if engine not in staying:
                yield engine, False, "its route's engine is another one now"

    def _shed(self) -> None:
        """Where the machine has less than it had, some go though nobody waits."""
        for yielding in self._yields.to_fit():
            if fit(self._later.values(), self._memory):
                return
            if yielding.engine.name not in self._leaving:
                self._leave(yielding.engine, to_sleep=False, why="the machine has no memory for all that run")

    # -- who comes -----------------------------------------------------------------------------------------------

    def _candidates(self) -> Iterator[_Candidate]:
        for need in self._needs.values():
            own = [one for one in self._engines if one.route == need.key]
            staying = [one for one in own if one.name not in self._leaving]
            current = [one for one in staying if one.is_current and one.stage in UP]
            serving = [one for one in staying if not one.is_current and one.stage in UP]
            missing = need.wanted - len(current)
            if serving:
                # A change comes one replica after the other: at most one more than wanted.
                missing = min(missing, need.wanted + 1 - len(current) - len(serving))
            asleep = [one.name for one in own if one.is_current and one.stage is Stage.ASLEEP]
            taken = {one.ordinal for one in own}
            free = (number for number in range(len(taken) + max(missing, 0)) if number not in taken)
            for number in range(missing):
                urgency = _urgency(need, len(current) + len(serving) + number)
                if number < len(asleep):
                    yield _Candidate(urgency, need, asleep[number], Act.WAKE)
                else:
                    yield _Candidate(urgency, need, f"{need.key}#{next(free)}", Act.START)

    def _admit(self, candidate: _Candidate) -> None:
        """Start it, or make room for it, or say why it waits."""
        need, held = candidate.need, Held(candidate.need.claim)
        if not fit([held], self._memory):
            self._wait(candidate, f"it needs {_size(need.claim.memory_bytes)}, more than this machine has for engines")
            return
        if candidate.act is Act.START and need.hindrance:
            self._wait(candidate, need.hindrance)
            return
        if candidate.act is Act.START and need.may_start_unix > self._now_unix:
            self._ask_again(need.may_start_unix)
            self._wait(candidate, f"it is started again in {_seconds(need.may_start_unix - self._now_unix)}")
            return
        if not self._fits_later(candidate.name, held) and not self._make_room(candidate, held):
            return
        self._keep_room(candidate, held)
        if fit((self._held | {candidate.name: held}).values(), self._memory):
            self._held[candidate.name] = held
            self._beginning.append(Action(candidate.act, candidate.name, need.key, self._reason(candidate)))
        else:
            self._wait(candidate, self._hindrance())

    def _make_room(self, candidate: _Candidate, held: Held) -> bool:
        """Decide who yields to it; whether all who have to do so now. What it needs later is kept for it."""
        asked = self._yields.to(candidate.need.key, candidate.urgency, staying=self._leaving.keys() | self._settled)
        able = [one for one in asked if one.from_unix <= self._now_unix]
        for one in asked:
            if self._now_unix < one.from_unix < inf:
                self._ask_again(one.from_unix)
        chosen = self._enough(able, candidate.name, held)
        if chosen is not None:
            for engine, to_sleep in chosen:
                self._leave(engine, to_sleep=to_sleep, why=f"{candidate.need.key} {_wants(candidate)}")
            return True
        later = self._enough(asked, candidate.name, held) if candidate.urgency is Urgency.REQUESTS_WAIT else None
        if later is None:
            self._wait(candidate, f"it waits for room, which {self._occupants()} have")
            return False
        for engine, to_sleep in later:
            self._goes_later(engine, to_sleep=to_sleep)
            self._settled.add(engine.name)
        self._keep_room(candidate, held)
        names = {engine.name for engine, _ in later}
        last = max((one for one in asked if one.engine.name in names), key=lambda one: one.from_unix)
        self._wait(candidate, self._until(last))
        return False

    def _enough(self, asked: Sequence[Yielding], name: str, held: Held) -> list[tuple[EngineFact, bool]] | None:
        """The fewest of them, from the first on, whose yielding makes room, and which of them sleep; None: too few."""
        after = self._later | {name: held}
        chosen: list[Yielding] = []
        asleep: set[str] = set()
        for one in asked:
            chosen.append(one)
            if one.may_sleep:
                asleep.add(one.engine.name)
            self._without(after, one.engine, to_sleep=one.may_sleep)
            if fit(after.values(), self._memory):
                break
            gone = [other.engine.name for other in chosen]
            if fit((what for who, what in after.items() if who not in gone), self._memory):
                for other in chosen:
                    asleep.discard(other.engine.name)
                    after.pop(other.engine.name, None)
                    if fit(after.values(), self._memory):
                        break
                break
        else:
            return None
        for one in reversed(chosen[:-1]):
            as_it_is = after | {one.engine.name: self._later[one.engine.name]}
            if fit(as_it_is.values(), self._memory):
                after = as_it_is
                chosen.remove(one)
        return [(one.engine, one.engine.name in asleep) for one in chosen]

    # -- what is done with those that go -------------------------------------------------------------------------

    def _going(self) -> Iterator[Action]:
        for engine in self._engines:
            leave = self._leaving.get(engine.name)
            match engine.stage:
                case Stage.READY if leave:
                    yield Action(Act.DRAIN, engine.name, engine.route, leave.why)
                case Stage.DRAINING if leave is None and self._now_unix < engine.since_unix + RESUME_SECONDS:
                    # Who yields may be another one a moment later: two that are turned about would never be through.
                    self._ask_again(engine.since_unix + RESUME_SECONDS)
                case Stage.DRAINING if leave is None:
                    yield Action(Act.RESUME, engine.name, engine.route, "nobody needs its room any more")
                case Stage.DRAINING if leave:
                    yield from self._drained(engine, leave)
                case Stage.STARTING | Stage.WAKING if leave:
                    yield Action(Act.STOP, engine.name, engine.route, leave.why)
                case Stage.ASLEEP if leave and not leave.to_sleep:
                    yield Action(Act.STOP, engine.name, engine.route, leave.why)
                case _:
                    pass

    def _drained(self, engine: EngineFact, leave: _Leave) -> Iterator[Action]:
        until = engine.since_unix + engine.drain_seconds
        if engine.in_flight == 0:
            act = Act.SLEEP if leave.to_sleep else Act.STOP
            yield Action(act, engine.name, engine.route, leave.why)
        elif self._now_unix >= until:
            yield Action(Act.STOP, engine.name, engine.route, f"{leave.why}, and {_NOT_FINISHED}")
        else:
            self._ask_again(until)

    # -- words and small steps -----------------------------------------------------------------------------------

    def _leave(self, engine: EngineFact, *, to_sleep: bool, why: str) -> None:
        self._leaving[engine.name] = _Leave(to_sleep, why)
        self._goes_later(engine, to_sleep=to_sleep)

    def _keep_room(self, candidate: _Candidate, held: Held) -> None:
        self._later[candidate.name] = held
        self._settled.add(candidate.name)

    def _goes_later(self, engine: EngineFact, *, to_sleep: bool) -> None:
        self._without(self._later, engine, to_sleep=to_sleep)

    def _without(self, later: dict[str, Held], engine: EngineFact, *, to_sleep: bool) -> None:
        if to_sleep:
            later[engine.name] = Held(engine.claim, is_asleep=True)
        else:
            later.pop(engine.name, None)

    def _fits_later(self, name: str, held: Held) -> bool:
        return fit((self._later | {name: held}).values(), self._memory)

    def _wait(self, candidate: _Candidate, why: str) -> None:
        self._waits.append(Wait(candidate.need.key, why))

    def _ask_again(self, unix: float) -> None:
        self._again = min(self._again, unix)

    def _reason(self, candidate: _Candidate) -> str:
        since = candidate.need.waiting_since_unix
        if since is None:
            return "minReplicas wants it" if candidate.urgency is Urgency.LEAST else "scaling wants it"
        return f"requests have waited for {_seconds(self._now_unix - since)}"

    def _hindrance(self) -> str:
        """Who is about to make room."""
        words = []
        for engine in self._engines:
            if engine.stage is Stage.STOPPING:
                words.append(f"{engine.name} has ended")
            elif engine.stage is Stage.FALLING_ASLEEP:
                words.append(f"{engine.name} sleeps")
            elif engine.name in self._leaving and engine.in_flight:
                words.append(f"{engine.name} has finished {_requests(engine.in_flight)}")
            elif engine.name in self._leaving:
                words.append(f"{engine.name} is gone")
        return "it waits until " + (", ".join(words) or "there is room")

    def _occupants(self) -> str:
        return ", ".join(sorted(self._later)) or "others"

    def _until(self, last: Yielding) -> str:
        if last.from_unix == inf:
            return f"it waits for its turn after {last.engine.name}, which is not ready yet"
        left = _seconds(last.from_unix - self._now_unix)
        return f"it waits for its turn: {last.engine.name} has its own for {left} more"


def _held_later(engines: Sequence[EngineFact]) -> Iterator[tuple[str, Held]]:
    for engine in engines:
        if engine.stage is Stage.FALLING_ASLEEP:
            yield engine.name, replace(engine.held, is_asleep=True)
        elif engine.stage is not Stage.STOPPING:
            yield engine.name, engine.held


def _least_missed(engine: EngineFact) -> tuple[bool, bool, bool, float, int]:
    """Order in which replicas of one route go: those on their way, those that cannot answer yet, the idle."""
    return (
        engine.stage is not Stage.DRAINING,
        engine.stage is Stage.READY,
        engine.in_flight > 0,
        engine.last_used_unix or engine.since_unix,
        -engine.ordinal,
    )


def _urgency(need: RouteNeed, others: int) -> Urgency:
    """How much a replica is missed, beside ``others`` of its route that are there or on their way."""
    if need.waiting_since_unix is not None:
        return Urgency.MORE_REPLICAS if others else Urgency.REQUESTS_WAIT
    return Urgency.LEAST if others < need.least else Urgency.WANTED


def _wants(candidate: _Candidate) -> str:
    return "has requests waiting" if candidate.need.waiting_since_unix is not None else "is to have a replica"


def _requests(number: int) -> str:
    return "its last request" if number == 1 else f"its {number} requests"


def _seconds(seconds: float) -> str:
    return f"{max(seconds, 0.0):.0f} s" if seconds >= 10 else f"{max(seconds, 0.0):.1f} s"


def _size(memory_bytes: int | None) -> str:
    return "all memory" if memory_bytes is None else f"{memory_bytes / 2**30:.1f} GiB"
