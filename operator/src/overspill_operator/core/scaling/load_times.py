"""How long replicas of a route take to start, phase by phase, and what the next one is expected to take.

From times that were seen to phases, from the last starts to an estimate, and both to status and back. What the times
of a pod are is ``pod_starts``; what a person can do about a long phase is ``start_advice``.

Times are written by others (kubelets, whoever may write status), to the second, by clocks that differ: one that cannot
be is no time, and its phase is told together with the next one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Final

from overspill_operator.core.conditions import parse_timestamp, timestamp

STARTS_MAX: Final = 9
"""Starts that the estimate goes by: enough that one in two may be strange, few enough that a change is soon seen."""

LOAD_SECONDS_MAX: Final = 4 * 3600.0
"""A start that took longer waited for people: no capacity comes in such a time."""

ROUNDING_SECONDS: Final = 2.0
"""Times to the second, of two machines that ask the same time server, differ by no more."""

NAME_LENGTH_MAX: Final = 253
PHASES_MAX: Final = 8

SCHEDULED: Final = "scheduled"
VOLUMES: Final = "volumes"
INIT_CONTAINERS: Final = "init containers"
IMAGE: Final = "image"
FAILED_STARTS: Final = "failed starts"
PROCESS: Final = "process"
WEIGHTS: Final = "weights"
ENGINE_START: Final = "engine start"
FIRST_ANSWER: Final = "first answer"
PHASES: Final = (
    SCHEDULED, VOLUMES, INIT_CONTAINERS, IMAGE, FAILED_STARTS, PROCESS, WEIGHTS, ENGINE_START, FIRST_ANSWER,
)  # fmt: skip
"""What a start consists of, in its order; those that nobody can tell apart are told together."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a start."""

    parts: tuple[str, ...]
    """Of ``PHASES``: several where nobody can tell them apart."""
    seconds: float
    """How long it took."""

    @property
    def name(self) -> str:
        """In words, such as ``image`` or ``weights and engine start``."""
        *others, last = self.parts
        return f"{', '.join(others)} and {last}" if others else last


@dataclass(frozen=True, slots=True)
class Start:
    """One replica's way from being asked for to its first answer."""

    replica: str
    """Its name."""
    at_unix: float
    """When it was ready."""
    phases: tuple[Phase, ...]
    """In their order; at least one. The first answer is one where it is known: where one was asked for at once."""

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def begun_unix(self) -> float:
        """When it was asked for."""
        return self.at_unix - sum(phase.seconds for phase in self.phases if FIRST_ANSWER not in phase.parts)

    @property
    def longest(self) -> Phase:
        """The phase to look at first."""
        return max(self.phases, key=lambda phase: phase.seconds)

    @property
    def words(self) -> str:
        """Such as ``scheduled 1 s, image 41 s, weights and engine start 32 s``."""
        return ", ".join(f"{phase.name} {seconds_text(phase.seconds)}" for phase in self.phases)


@dataclass(frozen=True, slots=True)
class PhaseEnd:
    """When a phase was over, as somebody has written it."""

    parts: tuple[str, ...]
    """Of ``PHASES``."""
    unix: float | None
    """None: nobody has."""


def measured(replica: str, begun_unix: float, ends: Sequence[PhaseEnd]) -> Start | None:
    """A start from when it began and when each phase was over; None: these times cannot be.

    A phase whose end is not known, or is before its beginning or after the end of all, is told with the next one.
    """
    last = ends[-1].unix
    if last is None or not isfinite(begun_unix) or not isfinite(last):
        return None
    if not -ROUNDING_SECONDS <= last - begun_unix <= LOAD_SECONDS_MAX:
        return None
    last = max(last, begun_unix)
    phases = []
    since = begun_unix
    parts: tuple[str, ...] = ()
    for end in (*ends[:-1], PhaseEnd(ends[-1].parts, last)):
        parts = (*parts, *end.parts)
        if end.unix is None or not since - ROUNDING_SECONDS <= end.unix <= last + ROUNDING_SECONDS:
            continue
        until = min(max(end.unix, since), last)
        phases.append(Phase(parts, until - since))
        since, parts = until, ()
    return Start(replica[:NAME_LENGTH_MAX], last, tuple(phases))


def seconds_text(seconds: float) -> str:
    """For people: tenths only where they matter."""
    return f"{seconds:.0f} s" if seconds >= 10 else f"{round(seconds, 1):g} s"


@dataclass(frozen=True, slots=True)
class LoadTimes:
    """What is remembered of a route's starts."""

    made_from: str = ""
    """What was started: the model's source and the profile. Of anything else nothing is known by them."""
    recent_seconds: tuple[float, ...] = ()
    """How long the last starts took, newest first."""
    last: Start | None = None
    """The last one, by phases."""

    def of(self, made_from: str) -> "LoadTimes":
        """What is known of this model on this profile: nothing, where the starts were another one's."""
        return self if self.made_from == made_from else LoadTimes(made_from)

    def heard(self, start: Start) -> "LoadTimes":
        """After one more start."""
        is_last = self.last is None or start.at_unix >= self.last.at_unix
        recent = (start.seconds, *self.recent_seconds) if is_last else (*self.recent_seconds, start.seconds)
        return replace(self, recent_seconds=recent[:STARTS_MAX], last=start if is_last else self.last)

    def answered(self, replica: str, seconds: float) -> "LoadTimes":
        """Once the first answers of a replica are known, which took so long; only of the last one's."""
        last = self.last
        if last is None or last.replica != replica or len(last.phases) >= PHASES_MAX:
            return self
        if not 0 <= seconds <= LOAD_SECONDS_MAX:
            return self
        start = replace(last, phases=(*last.phases, Phase((FIRST_ANSWER,), seconds)))
        return replace(self, recent_seconds=(start.seconds, *self.recent_seconds[1:]), last=start)

    @property
    def expected_seconds(self) -> float | None:
        """What the next start is expected to take; None: none was seen.

        The median, of two the longer: a start beside an image that is there already, or one that a node had to be
        bought for, moves it only once it is the usual one. 30, 32, 31, 400 s: 32 s.
        """
        ordered = sorted(self.recent_seconds)
        return ordered[len(ordered) // 2] if ordered else None


def status_of(times: LoadTimes, advice: str) -> dict[str, Any] | None:
    """``status.loadTime``; None: no start was seen. ``advice``: what would shorten the last one."""
    expected, last = times.expected_seconds, times.last
    if expected is None or last is None:
        return None
    return {
        "seconds": round(expected, 1),
        "madeFrom": times.made_from,
        "recentSeconds": [round(seconds, 1) for seconds in times.recent_seconds],
        "lastStart": {
            "replica": last.replica,
            "at": timestamp(last.at_unix),
            "seconds": round(last.seconds, 1),
            "phases": [{"name": phase.name, "seconds": round(phase.seconds, 1)} for phase in last.phases],
        },
        "advice": advice or "None: a start is short.",
    }


def read_status(status: object, now_unix: float) -> LoadTimes:
    """What a process before this one has left; whoever may write status may have written it, so that it may be junk."""
    if not isinstance(status, Mapping) or not isinstance(status.get("madeFrom"), str):
        return LoadTimes()
    recent = tuple(_seconds(status.get("recentSeconds")))
    last = _read_start(status.get("lastStart"))
    if last is None or last.at_unix > now_unix + ROUNDING_SECONDS or not recent:
        return LoadTimes(status["madeFrom"])
    return LoadTimes(status["madeFrom"], recent[:STARTS_MAX], last)


def _read_start(said: object) -> Start | None:
    if not isinstance(said, Mapping) or not isinstance(said.get("phases"), list | tuple):
        return None
    phases = []
    for phase in said["phases"][:PHASES_MAX]:
        name = phase.get("name") if isinstance(phase, Mapping) else None
        seconds = list(_seconds([phase.get("seconds")])) if isinstance(phase, Mapping) else []
        parts = tuple(part for part in name.replace(" and ", ", ").split(", ")) if isinstance(name, str) else ()
        # Each part once: repeated, a name would be longer when it is written again than the API server takes.
        if not parts or not seconds or not set(parts) <= set(PHASES) or len(set(parts)) < len(parts):
            return None
        phases.append(Phase(parts, seconds[0]))
    at = said.get("at")
    try:
        at_unix = parse_timestamp(at) if isinstance(at, str) else None
    except (ValueError, OverflowError):
        at_unix = None
    if at_unix is None or not phases:
        return None
    return Start(str(said.get("replica") or "")[:NAME_LENGTH_MAX], at_unix, tuple(phases))


def _seconds(said: object) -> Iterator[float]:
    for value in said if isinstance(said, list | tuple) else ():
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LOAD_SECONDS_MAX:
            yield float(value)
