"""Does the k-th replica of a route pay? Rules for one level of demand, tried side by side on what really came.

Level k is the work that only a k-th replica would do: offered work above k - 1 replicas, at most 1. Whether it runs is
a choice of its own (work is worth less the higher the level, so that answers of all levels fit into each other), and of
two states only: it runs and costs 1 a second, or it does not and hosted APIs cost ``rho`` times its use a second. Going
from off to on costs a load, in which a replica is paid for and does nothing.

No single rule is good for every route: how long to wait before a start and before a stop depends on how long busy runs
and gaps last. So each level tries all ``RULES`` on paper: what each would have cost so far, starts included. It does
what one of them says, and goes over to the cheapest when that is cheaper by ``PATIENCE_LOADS`` loads. Never starting
and never stopping are among the rules, so that a level that would do better with one of them comes to that (follow the
leader with switching costs). What that bounds is not proved: rules are gone over to again and again, and old sums fade.

All is exact for a constant use however long the step is. Money is in seconds of a replica; the sums are by how much a
rule was dearer than never starting. This module knows nothing of replicas that are there or of how they are counted:
that is ``levels``.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

PATIENCE_LOADS: Final = 2.0
"""Another rule has to have been cheaper by so many loads. Of 1, 2, 4 and 8, tried on the fluids of traces, 1 follows
chance in an hour of bursts; the others differ little."""
LEAD_LOADS_MAX: Final = 100.0
"""What a rule has lost beyond this is forgotten, so that a route which changes its ways is learned anew."""
MEAN_SECONDS: Final = 600.0
"""Of the mean use that the first rule goes by; in a route's first minutes it is the mean of all that was seen."""
UNUSED_SECONDS: Final = 10.0
"""Without use, that the mean begins with: a single request in a route's first second says little."""
MARGIN: Final = 1.25
FORECAST_MARGIN: Final = 1.1
"""The rule of the mean starts at so much more than the break-even, and stops at so much less; so does the forecast's,
whose use has the chance of more in it."""


class Band(NamedTuple):
    """A replica starts when it would have saved so much since it last would not, and stops when it has lost so much.

    What counts is the sum since its lowest (or highest) point: Page's test for a change of the mean, and with both
    widths of one load it is the lazy capacity provisioning of Lin et al. (INFOCOM 2011), which costs at most three
    times the optimum where loading takes no time.
    """

    start_seconds: float
    """In seconds of a replica. Not in loads: how long to look before it is believed is a matter of noise."""
    stop_loads: float
    """In loads."""


BANDS: Final = (
    Band(15.0, 0.5), Band(30.0, 1.0), Band(60.0, 2.0), Band(60.0, 8.0),
    Band(200.0, 0.5), Band(200.0, 2.0), Band(600.0, 4.0), Band(600.0, 12.0),
)  # fmt: skip
MEAN_RULE: Final = len(BANDS)
FORECAST: Final = MEAN_RULE + 1
NEVER: Final = MEAN_RULE + 2
ALWAYS: Final = MEAN_RULE + 3
"""The rules by number: the bands, the mean use against the break-even, the use that is expected when a replica could
serve against it, never, always."""
RUNS: Final = 0
COST: Final = 3
"""Places in a ``Trial``."""

Trial = tuple[bool, float, float, float]
"""One rule on paper, of which a route has hundreds:

- whether it has the replica run;
- off: what the replica would have saved since its lowest point; on: what it has lost since its highest;
- seconds until the replica that it started could serve;
- what it has cost so far, on a scale that all rules of a level share. A start is charged when it is undone, so that who
  has started is not the worse for it while nothing has come of it yet.
"""


class Level(NamedTuple):
    """What is remembered of one level; numbers and tuples of numbers."""

    trials: tuple[Trial, ...]
    """Of ``BANDS``, of the mean, of the forecast, of never and always."""
    followed: int
    """The rule that is followed."""
    mean_use: float
    """Mean use, 0 to 1, over ``MEAN_SECONDS``."""
    use: float = 0.0
    """Its use in the seconds that are not yet in ``trials``."""
    seconds: float = 0.0
    """How many those are: while a level that runs is full, or one that does not run is empty, nothing can change."""

    @property
    def runs(self) -> bool:
        """Whether the replica shall run."""
        return self.trials[self.followed][RUNS]


@dataclass(frozen=True, slots=True)
class Stakes:
    """What a level is judged by."""

    rho: float
    """What hosted APIs cost for a second of a busy replica's work, in seconds of a replica."""
    load_seconds: float
    """From asking for a replica to its first answer."""


def new_level(unused_seconds: float) -> Level:
    """A level that had no use for so many seconds, since the route was first heard of."""
    off, always = (False, 0.0, 0.0, 0.0), (True, 0.0, 0.0, 0.0)
    return Level((*[off] * NEVER, off, always), MEAN_RULE, 0.0, 0.0, unused_seconds)


def advanced(
    level: Level, use: float, seconds: float, stakes: Stakes, watched_seconds: float, expected_use: float = 0.0
) -> Level:
    """The level after so many seconds more with this use, 0 to 1.

    ``watched_seconds``: since the route was first heard of, before these seconds. ``expected_use``: share of time that
    the replica would be busy when one that is asked for now could serve.
    """
    runs = level.runs
    is_as_before = use == level.use or level.seconds == 0.0
    if is_as_before and use == (1.0 if runs else 0.0) and _foresees(level, expected_use, stakes) == runs:
        return Level(level.trials, level.followed, level.mean_use, use, level.seconds + seconds)
    if level.seconds > 0.0:
        before = max(watched_seconds - level.seconds, 0.0)
        level = _settled(level, level.use, level.seconds, stakes, before, level.use)
    return _settled(level, use, seconds, stakes, watched_seconds, expected_use)


def _foresees(level: Level, expected_use: float, stakes: Stakes) -> bool:
    """Whether a replica runs by the forecast's rule; one that runs needs less to go on than another to start."""
    margin = 1.0 / FORECAST_MARGIN if level.trials[FORECAST][RUNS] else FORECAST_MARGIN
    return stakes.rho * expected_use >= margin


def mean_use_now(level: Level, watched_seconds: float) -> float:
    """Mean use with the seconds that are not yet in the trials. ``watched_seconds``: these included."""
    weight = _weight(max(watched_seconds - level.seconds, 0.0), level.seconds)
    return level.mean_use * weight + level.use * (1.0 - weight)


def _weight(before: float, seconds: float) -> float:
    """What the mean before so many seconds counts for after them, 0 to 1; the use in them counts for the rest.

    In the first ten minutes each second counts the same, later those of long ago count less.
    """
    after = before + seconds
    alike = (min(before, MEAN_SECONDS) + UNUSED_SECONDS) / (min(after, MEAN_SECONDS) + UNUSED_SECONDS)
    return alike * math.exp((max(before, MEAN_SECONDS) - max(after, MEAN_SECONDS)) / MEAN_SECONDS)


def _seconds_to(weight: float, before: float) -> float:
    """In how many seconds the mean of now counts for no more than ``weight``, above 0."""
    seconds = (before + UNUSED_SECONDS) * (1.0 / weight - 1.0)
    if before + seconds <= MEAN_SECONDS:
        return seconds
    alike = (min(before, MEAN_SECONDS) + UNUSED_SECONDS) / (MEAN_SECONDS + UNUSED_SECONDS)
    return max(MEAN_SECONDS - before, 0.0) + MEAN_SECONDS * math.log(alike / weight)


def _settled(
    level: Level, use: float, seconds: float, stakes: Stakes, watched_seconds: float, expected_use: float
) -> Level:
    """All rules, and which of them is followed from now on."""
    gain, load = stakes.rho * use - 1.0, stakes.load_seconds
    trials = level.trials
    mean_use = level.mean_use + (use - level.mean_use) * (1.0 - _weight(watched_seconds, seconds))
    after = [
        *[_banded(trial, band, gain, seconds, load) for trial, band in zip(trials, BANDS, strict=False)],
        _by_mean(level, mean_use, use, seconds, stakes, watched_seconds),
        _switched(trials[FORECAST], _foresees(level, expected_use, stakes), 0.0, gain, seconds, load),
        trials[NEVER],
        _running(trials[ALWAYS], gain, seconds),
    ]
    costs = [trial[COST] for trial in after]
    least = min(costs)
    followed = level.followed
    if costs[followed] - least > PATIENCE_LOADS * load:
        followed = costs.index(least)
    most = least + LEAD_LOADS_MAX * load
    if max(costs) > most:
        after = [trial if trial[COST] <= most else (*trial[:COST], most) for trial in after]
    return Level(tuple(after), followed, mean_use)


def _banded(trial: Trial, band: Band, gain: float, seconds: float, load: float) -> Trial:
    """A band after so many seconds with this gain. At most one change can be in them, as the gain is constant."""
    runs, total, loading, cost = trial
    change = gain * seconds
    if runs:
        width = band[1] * load
        if gain < 0.0 and total - change >= width:
            return _switched(trial, False, max((width - total) / -gain, 0.0), gain, seconds, load)
        served = seconds - loading
        if served >= 0.0:
            return True, total - change if total > change else 0.0, 0.0, cost - gain * served
        return True, total - change if total > change else 0.0, -served, cost
    if gain > 0.0 and total + change >= band[0]:
        return _switched(trial, True, max((band[0] - total) / gain, 0.0), gain, seconds, load)
    return (False, total + change, 0.0, cost) if total > -change else (False, 0.0, 0.0, cost)


def _by_mean(level: Level, after: float, use: float, seconds: float, stakes: Stakes, watched_seconds: float) -> Trial:
    """The rule of the mean use, which is ``after`` at the end: on from above the break-even, off from below it."""
    trial, mean = level.trials[MEAN_RULE], level.mean_use
    border = (1.0 / MARGIN if trial[RUNS] else MARGIN) / stakes.rho if stakes.rho > 0.0 else math.inf
    until, runs = 0.0, after >= border
    if runs != trial[RUNS] and min(mean, use) < border < max(mean, use):
        until = _seconds_to((border - use) / (mean - use), watched_seconds)
    return _switched(trial, runs, until, stakes.rho * use - 1.0, seconds, stakes.load_seconds)


def _switched(trial: Trial, runs: bool, until: float, gain: float, seconds: float, load: float) -> Trial:  # noqa: FBT001 - private
    """A rule that has the replica run or not after so many of the seconds."""
    did_run, _, loading, cost = trial
    if runs == did_run:
        return _running(trial, gain, seconds) if runs else trial
    if did_run:
        return False, 0.0, 0.0, cost - gain * max(until - loading, 0.0) + load
    since = max(seconds - until, 0.0)
    return True, 0.0, max(load - since, 0.0), cost - gain * max(since - load, 0.0)


def _running(trial: Trial, gain: float, seconds: float) -> Trial:
    """A replica that goes on running."""
    served = seconds - trial[2]
    return (True, 0.0, 0.0, trial[COST] - gain * served) if served >= 0.0 else (True, 0.0, -served, trial[COST])
