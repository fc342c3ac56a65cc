"""How many replicas are worth their money now? The economy of replicas beside hosted APIs, as demand comes.

Offered work, in replicas that it would keep busy, is cut into levels: level k is what only a k-th replica would do.
Each level decides for itself whether its replica runs, by rules that are tried on what really came (``level_rules``),
so that nothing is to be set for a route, a price or a load time. The number of replicas is that of the levels that run.

What it knows of a route is in ``Levels``: immutable, numbers and tuples only, O(levels) to go on, and of those only the
ones that are neither full nor empty. Losing it costs little: what runs goes on for two loads, and then each level
begins with the mean of what was seen since.
"""

import math
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final

from overspill_operator.core.scaling.forecast import Outlook
from overspill_operator.core.scaling.level_rules import (
    ALWAYS,
    FORECAST,
    MEAN_RULE,
    NEVER,
    Level,
    Stakes,
    advanced,
    mean_use_now,
    new_level,
)

LEVELS_MAX: Final = 256
"""No route is judged beyond so many replicas."""
NOTHING_KNOWN: Final = Outlook()
"""Of what will come."""
OUTLOOK_SECONDS: Final = 10.0
"""What will come in a minute or more is not thought over more often."""
STEP_SECONDS: Final = 5.0
"""Work is looked at in steps of at least this. A request's work is counted when it comes, and takes an engine seconds;
what is shorter would make demand look more uneven than replicas find it."""
LOAD_SECONDS_MIN: Final = 10.0
"""Starting and stopping are never held for cheaper than this: pods come and go, and requests move."""
RHO_MAX: Final = 1000.0
"""Of replicas that cost nothing, or next to nothing."""
RESTART_LOADS: Final = 2.0
"""For so many loads after a begin nothing that runs is given up: nobody has seen yet what it is for."""


@dataclass(frozen=True, slots=True)
class Economy:
    """What replicas and hosted APIs cost."""

    replica_usd_per_second: float
    """A replica's second, from when it is asked for: while it loads as well."""
    hosted_usd_per_replica_second: float
    """What hosted APIs would be paid for what one busy replica does in a second."""
    load_seconds: float
    """From asking for a replica to its first answer."""

    @property
    def rho(self) -> float:
        """Price of a busy replica's work at hosted APIs, over the replica's: above 1 a full replica pays."""
        hosted = self.hosted_usd_per_replica_second
        if not hosted > 0.0:  # NaN too
            return 0.0
        if not self.replica_usd_per_second > 0.0:
            return RHO_MAX
        return min(hosted / self.replica_usd_per_second, RHO_MAX)

    @property
    def stakes(self) -> Stakes:
        """What levels are judged by."""
        load = self.load_seconds if math.isfinite(self.load_seconds) else 0.0
        return Stakes(self.rho, max(load, LOAD_SECONDS_MIN))


@dataclass(frozen=True, slots=True)
class LevelWorth:
    """What was decided of one replica, with the figures behind it."""

    number: int
    """Of the replica, from 1."""
    runs: bool
    """Whether it is worth its money."""
    use: float
    """Share of the last minutes that it would have been busy, 0 to 1."""
    break_even: float
    """The share from which it costs less than hosted APIs; above 1 it never does."""
    rule: int
    """The rule of ``level_rules`` that decided."""
    load_seconds: float
    """What a start costs, in seconds of a replica."""

    @property
    def message(self) -> str:
        """In words."""
        share = f"replica {self.number} would be busy {self.use:.0%} of the time"
        if self.break_even > 1.0:
            return f"{share}; hosted APIs are cheaper even for a full one"
        return f"{share}, and pays from {self.break_even:.0%} on: {self._why}"

    @property
    def _why(self) -> str:
        if self.rule == NEVER:
            return "its short busy times have not been worth their starts"
        if self.rule == ALWAYS:
            return "keeping it has been cheaper than starting it again and again"
        if self.rule == FORECAST:
            return (
                "by what is expected when it could serve it "
                + ("is worth" if self.runs else "is not worth")
                + " its price"
            )
        is_above = self.use >= self.break_even
        if self.rule == MEAN_RULE or is_above == self.runs:
            return "it is worth its price" if self.runs else "it is not worth its price"
        if self.runs:
            return f"it is kept, as demand may come back before it has cost another start of {self.load_seconds:.0f} s"
        return f"not yet for long enough to be worth a start of {self.load_seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class Worth:
    """How many replicas are worth their money."""

    replicas: int
    """So many."""
    levels: tuple[LevelWorth, ...]
    """What was decided of each, from the first to the first beyond those that run or had work."""
    is_kept: bool = False
    """Whether there are more than the levels say: those that ran when this was begun, as long as too little is seen."""

    @property
    def message(self) -> str:
        """The two that the decision turned on, in words: the last that runs and the first that does not."""
        running = [level for level in self.levels if level.runs]
        idle = [level for level in self.levels if not level.runs]
        words = "; ".join(level.message for level in (*running[-1:], *idle[:1]))
        kept = "what ran before this process began is kept until its use is known" if self.is_kept else ""
        return "; ".join(filter(None, (words, kept))) or "there was no work"


@dataclass(frozen=True, slots=True)
class Levels:
    """What is remembered of a route's demand."""

    begun_unix: float
    """When the route was first heard of."""
    heard_unix: float
    """Until when its work is known."""
    levels: tuple[Level, ...] = ()
    """From the first replica's on, as many as demand has ever reached."""
    work: float = 0.0
    """Work that is not yet in the levels, in seconds of a replica."""
    seconds: float = 0.0
    """In how many seconds it came."""
    outlook: Outlook = NOTHING_KNOWN
    """What forecasters remember."""
    expected_use: tuple[float, ...] = ()
    """By level: the share of time that its replica would be busy when one that is asked for now could serve."""
    outlook_work: float = 0.0
    """Work that is not yet in the outlook, in seconds of a replica."""
    outlook_seconds: float = 0.0
    """In how many seconds it came."""

    @classmethod
    def begun(cls, now_unix: float, outlook: Outlook = NOTHING_KNOWN) -> "Levels":
        """Nothing is known yet."""
        return cls(now_unix, now_unix, outlook=outlook)

    def heard(self, offered_replicas: float, economy: Economy, now_unix: float) -> "Levels":
        """Offered work since the last call, on average and in replicas, however long that is ago.

        It counts everything that came: served here, spilled, held and refused. What is no number counts as none, and
        a clock that goes back makes no time.
        """
        seconds = now_unix - self.heard_unix
        if seconds == 0.0 or not math.isfinite(now_unix):
            return self
        if seconds < 0.0:
            begun = now_unix - max(self.heard_unix - self.begun_unix, 0.0)
            return Levels(begun, now_unix, self.levels, outlook=self.outlook)
        offered = min(offered_replicas, float(LEVELS_MAX)) if offered_replicas > 0.0 else 0.0
        work, lasted = self.work + offered * seconds, self.seconds + seconds
        if lasted < STEP_SECONDS:
            return Levels(
                self.begun_unix, now_unix, self.levels, work, lasted, self.outlook, self.expected_use,
                self.outlook_work, self.outlook_seconds,
            )  # fmt: skip
        offered, stakes = work / lasted, economy.stakes
        levels, watched = self.levels, max(now_unix - self.begun_unix - lasted, 0.0)
        if offered > len(levels):
            levels += tuple(new_level(watched) for _ in range(len(levels), math.ceil(offered)))
        outlook, expected_use = self.outlook, self.expected_use
        outlook_work, outlook_seconds = self.outlook_work + work, self.outlook_seconds + lasted
        if outlook_seconds >= OUTLOOK_SECONDS:
            outlook = outlook.heard(outlook_work / outlook_seconds, outlook_seconds, stakes.load_seconds, now_unix)
            expected = outlook.expected(stakes.load_seconds, now_unix)
            expected_use = tuple(expected.use(below) for below in range(len(levels)))
            outlook_work = outlook_seconds = 0.0
        levels = tuple(
            advanced(level, min(max(offered - below, 0.0), 1.0), lasted, stakes, watched, use)
            for below, (level, use) in enumerate(zip(levels, chain(expected_use, repeat(0.0)), strict=False))
        )
        return Levels(self.begun_unix, now_unix, levels, 0.0, 0.0, outlook, expected_use, outlook_work, outlook_seconds)

    def worth(self, economy: Economy, current: int, maximum: int, now_unix: float) -> Worth:
        """Replicas that are worth their money now, ``maximum`` at most, of which ``current`` are there or asked for."""
        stakes, watched = economy.stakes, now_unix - self.begun_unix
        break_even = 1.0 / stakes.rho if stakes.rho > 0.0 else math.inf
        shown = tuple(
            LevelWorth(
                below + 1, level.runs and stakes.rho > 1.0, mean_use_now(level, watched), break_even, level.followed,
                stakes.load_seconds,
            )
            for below, level in enumerate(self.levels[:maximum])
        )  # fmt: skip
        replicas = sum(level.runs for level in shown)
        is_new = watched < RESTART_LOADS * stakes.load_seconds
        if is_new and replicas < current:
            return Worth(min(current, maximum), shown, is_kept=True)
        return Worth(replicas, shown)
