"""One route's scaling over time, driven as a simulator drives it: in virtual time, without an event loop."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf

import pytest

from overspill_api.demand import RouteDemand
from overspill_api.modelroute import ModelRouteSpec
from overspill_api.profile import Profile
from overspill_api.scaling import Scaling
from overspill_operator.core.demand.traffic import Coverage, Demand, GatewayView, demand_of
from overspill_operator.core.scaling.autoscaler import Reason
from overspill_operator.core.scaling.scaling_state import (
    DECISIONS_MAX,
    Change,
    Observation,
    ScalingPolicy,
    ScalingState,
    policy_of,
)

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
"""A Monday."""

HOUR = 3600.0
LOAD_SECONDS = 90.0
LINE_SECONDS = 10.0
KEY = "chat/r"


def office(**more: object) -> ScalingPolicy:
    """At least one replica in office hours, none at night, by demand in between."""
    windows = [
        {"name": "office", "from": "08:00", "to": "18:00", "minReplicas": 1},
        {"name": "night", "from": "22:00", "to": "06:00", "maxReplicas": 0},
    ]
    fields = {"maxReplicas": 4, "idleAfter": "10m", "targets": {"concurrency": 10}, "windows": windows, **more}
    return ScalingPolicy(Scaling.model_validate(fields), startup_timeout_seconds=600.0)


def requests_at(hour: float) -> int:
    """Requests at a time, by the hour of the day: a rush at ten, a few after dinner, a night owl at two."""
    if 10 <= hour < 11:
        return 35
    if 9 <= hour < 17:
        return 8
    return 3 if 19.5 <= hour < 20 or 2 <= hour < 2.1 else 0


@dataclass
class Pool:
    """Replicas that take a while to load, and two gateways that write what they see; all of it virtual."""

    state: ScalingState
    now: float
    loads: list[float] = field(default_factory=list)
    last_arrival: float | None = None
    views: dict[str, GatewayView] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    decided: int = 0
    silent: tuple[float, float] = (inf, inf)

    def hears(self) -> None:
        """Each gateway that is not silent writes a line with half of the requests."""
        requests = requests_at((self.now - MIDNIGHT) / HOUR % 24)
        if requests:
            self.last_arrival = self.now
        wants = requests > 0 and not self.ready
        for number, name in enumerate(("a", "b")):
            if name == "b" and self.silent[0] <= self.now < self.silent[1]:
                continue
            view = self.views.setdefault(name, GatewayView(self.now, self.now, name))
            view.last_line_unix = self.now
            view.routes[KEY] = RouteDemand(
                route=KEY,
                in_flight_local=(requests + number) // 2,
                wants_replica=wants,
                last_arrival_unix_seconds=self.last_arrival,
            )

    @property
    def ready(self) -> int:
        """Replicas that have loaded."""
        return sum(1 for ready_at in self.loads if ready_at <= self.now)

    def decides(self) -> float:
        """Decide once and do it; when to look again."""
        unheard = sum(1 for view in self.views.values() if view.is_stale(self.now))
        demand = demand_of(KEY, self.views.values(), unheard, self.now)
        since = min(self.loads, default=inf)
        ready_since = since if since <= self.now else None
        step = self.state.decide(Observation(demand, self.ready, ready_since), self.now)
        self.state = step.state
        self.decided += 1
        if step.change:
            self.changes.append(step.change)
        del self.loads[self.state.replicas :]
        self.loads += [self.now + LOAD_SECONDS] * (self.state.replicas - len(self.loads))
        return step.check_unix if step.check_unix is not None else inf


def day(policy: ScalingPolicy, *, looks: float = inf, silent: tuple[float, float] = (inf, inf)) -> Pool:
    """A day of a route: decided when gateways write, replicas become ready or a look is due, and every ``looks`` s."""
    state = ScalingState.begun(MIDNIGHT, policy=policy).accept(policy, generation=1, now_unix=MIDNIGHT)
    pool = Pool(state, MIDNIGHT, silent=silent)
    line = look = MIDNIGHT
    while pool.now < MIDNIGHT + 24 * HOUR:
        if pool.now >= line:
            pool.hears()
            line += LINE_SECONDS
        check = pool.decides()
        look = pool.now + looks
        pool.now = min([line, check, look, *(ready_at for ready_at in pool.loads if ready_at > pool.now)])
    return pool


def told(pool: Pool) -> Iterator[tuple[str, int, Reason]]:
    """What has changed: time of day, number and reason."""
    for change in pool.changes:
        yield datetime.fromtimestamp(change.at_unix, UTC).strftime("%H:%M:%S"), change.after, change.reason


@pytest.fixture(scope="module")
def office_day() -> Pool:
    """A day of a route that is decided when something happens or is due: nobody changes it any more."""
    return day(office())


def test_a_day_of_a_route(office_day: Pool) -> None:
    """Windows, a rush, idleness, a first request: each change at its time and with its reason, in virtual time."""
    pool = office_day

    assert list(told(pool)) == [
        ("08:00:00", 1, Reason.WINDOW),
        ("10:00:00", 4, Reason.DEMAND),
        ("11:00:50", 1, Reason.LOW_DEMAND),
        ("18:00:00", 0, Reason.IDLE),
        ("19:30:00", 1, Reason.FIRST_REQUEST),
        ("20:09:50", 0, Reason.IDLE),
    ]
    assert pool.decided > 8000
    assert [entry["to"] for entry in pool.state.decisions][:5] == [0, 1, 0, 1, 4]
    assert len(pool.state.decisions) <= DECISIONS_MAX


def test_looking_when_it_is_due_decides_as_looking_all_the_time(office_day: Pool) -> None:
    """So a simulator may jump from one event to the next, and the operator need not poll.

    Only what was called for in the last minute ends up to a line's period earlier: it is known from looks.
    """
    often, seldom = day(office(), looks=4.0), office_day

    assert [(change.after, change.reason) for change in often.changes] == [
        (change.after, change.reason) for change in seldom.changes
    ]
    for one, other in zip(often.changes, seldom.changes, strict=True):
        assert 0.0 <= one.at_unix - other.at_unix < LINE_SECONDS
    assert seldom.decided < often.decided / 2


def test_the_same_day_is_decided_the_same_way(office_day: Pool) -> None:
    """Nothing but what is seen and the time has a say."""
    assert day(office()).changes == office_day.changes


def test_while_a_gateway_is_silent_nothing_goes_down() -> None:
    """What it serves is not known; what is called for still goes up."""
    silent = (MIDNIGHT + 10.5 * HOUR, MIDNIGHT + 11.5 * HOUR)

    changes = list(told(day(office(), silent=silent)))

    assert ("10:00:00", 4, Reason.DEMAND) in changes
    assert ("11:00:50", 1, Reason.LOW_DEMAND) not in changes
    assert ("11:30:00", 1, Reason.LOW_DEMAND) in changes


def test_a_fixed_number_overrules_demand_and_windows() -> None:
    """kubectl scale: from the moment at which it is accepted until it is taken away again."""
    policy = office()
    state = ScalingState.begun(MIDNIGHT, policy=policy).accept(policy, generation=1, now_unix=MIDNIGHT)
    fixed = ScalingPolicy(policy.scaling.model_copy(update={"replicas": 2}))
    busy = Observation(Demand(Coverage.COMPLETE, in_flight=40))

    step = state.accept(fixed, generation=2, now_unix=MIDNIGHT + 1).decide(busy, MIDNIGHT + 1)

    assert step.change is not None
    assert (step.change.before, step.change.after, step.change.reason) == (0, 2, Reason.FIXED)
    assert step.check_unix is None
    after = step.state.accept(policy, generation=3, now_unix=MIDNIGHT + 2).decide(busy, MIDNIGHT + 2)
    assert (after.state.replicas, after.change and after.change.reason) == (0, Reason.WINDOW)


def paused(**scaling: object) -> ScalingPolicy:
    """Scaling of at most four that is paused."""
    return ScalingPolicy(Scaling.model_validate({"maxReplicas": 4, "paused": True, **scaling}))


@pytest.mark.parametrize("there_are", [0, 1, 3])
def test_a_pause_keeps_what_there_is(there_are: int) -> None:
    """Neither demand nor idleness nor the least nor a window changes it, and at zero nothing wakes it."""
    window = {"name": "day", "from": "00:00", "to": "00:00", "minReplicas": 2}
    policy = paused(minReplicas=2, idleAfter="1s", windows=[window])
    state = ScalingState.begun(MIDNIGHT, known=[there_are]).accept(policy, generation=1, now_unix=MIDNIGHT)
    idle = Demand(Coverage.COMPLETE, quiet_since_unix=MIDNIGHT - 9999.0)
    busy = Demand(Coverage.COMPLETE, held=99, wants_replica=True, last_arrival_unix=MIDNIGHT + 1)

    for demand in (busy, idle):
        step = state.decide(Observation(demand, ready=there_are), MIDNIGHT + 2)
        assert step.change is None
        assert step.check_unix is None
    assert state.may_wake(MIDNIGHT) is (there_are > 0)


def test_a_cap_cuts_also_in_a_pause() -> None:
    """maxReplicas is a person's word on what may be spent."""
    policy = paused(maxReplicas=2)
    state = ScalingState.begun(MIDNIGHT, known=[3]).accept(policy, generation=1, now_unix=MIDNIGHT)

    step = state.decide(Observation(Demand(Coverage.NONE)), MIDNIGHT)

    assert step.change is not None
    assert (step.change.after, step.change.reason) == (2, Reason.PAUSED)


def test_kubectl_scale_holds_in_a_pause_and_another_autoscaler_does_not() -> None:
    """Who pauses wants to set the number himself, and nobody else to."""
    nothing = Observation(Demand(Coverage.COMPLETE))
    state = ScalingState.begun(MIDNIGHT, known=[1])

    person = state.accept(paused(replicas=3), generation=1, now_unix=MIDNIGHT).decide(nothing, MIDNIGHT)
    other = state.accept(paused(replicas=3, autoscaler="External"), generation=1, now_unix=MIDNIGHT)

    assert person.change is not None
    assert (person.change.after, person.change.reason) == (3, Reason.FIXED)
    assert other.decide(nothing, MIDNIGHT).change is None


@pytest.mark.parametrize("held_at_zero", [{"paused": True}, {"replicas": 0}])
def test_who_came_while_it_was_held_at_zero_wakes_nothing_afterwards(held_at_zero: dict[str, object]) -> None:
    """A gateway keeps its wish until a replica serves; the request was served elsewhere, or refused, long ago."""
    policy = ScalingPolicy(Scaling.model_validate({"maxReplicas": 4, **held_at_zero}))
    wish = Observation(Demand(Coverage.COMPLETE, wants_replica=True, last_arrival_unix=MIDNIGHT))
    state = ScalingState.begun(MIDNIGHT).accept(policy, generation=1, now_unix=MIDNIGHT).decide(wish, MIDNIGHT).state

    free = ScalingPolicy(Scaling(max_replicas=4))
    after = state.accept(free, generation=2, now_unix=MIDNIGHT + 60).decide(wish, MIDNIGHT + 60)
    assert after.state.replicas == 0
    new = Observation(replace(wish.demand, last_arrival_unix=MIDNIGHT + 61))
    assert after.state.decide(new, MIDNIGHT + 61).state.replicas == 1


def test_reasons_are_there_also_where_nothing_changes() -> None:
    """For a simulator that asks why not."""
    policy = ScalingPolicy(Scaling(max_replicas=2))
    state = ScalingState.begun(MIDNIGHT, known=[1]).accept(policy, generation=1, now_unix=MIDNIGHT)

    step = state.decide(Observation(Demand(Coverage.COMPLETE, in_flight=3), ready=1), MIDNIGHT)

    assert step.change is None
    assert step.decision is not None
    assert (step.decision.reason, step.decision.message) == (
        Reason.UNCHANGED,
        "3 in flight, 0 spilled, 0 held; one replica serves 32 at a time.",
    )


@pytest.mark.parametrize(
    ("known", "policy", "replicas"),
    [
        ((), None, 0),
        ((), ScalingPolicy(Scaling(min_replicas=1)), 1),
        ((), ScalingPolicy(Scaling(replicas=0, min_replicas=1)), 0),
        ((), office(), 0),
        ((2, 3), ScalingPolicy(Scaling(min_replicas=1)), 3),
        ((0,), ScalingPolicy(Scaling(min_replicas=1)), 0),
    ],
)
def test_a_new_route_begins_with_its_least_and_a_known_one_with_what_it_had(
    known: tuple[int, ...], policy: ScalingPolicy | None, replicas: int
) -> None:
    """Of several numbers that a former process has left, with the highest."""
    assert ScalingState.begun(MIDNIGHT, known=known, policy=policy).replicas == replicas


def test_nothing_is_decided_without_a_policy_or_an_engine() -> None:
    """Which spec is in force is not known at first; a route of hosted APIs alone has nothing to scale."""
    busy = Observation(Demand(Coverage.COMPLETE, in_flight=3))
    state = ScalingState.begun(MIDNIGHT, known=[2])
    assert state.decide(busy, MIDNIGHT).state == state

    hosted = replace(office(), has_engine=False)
    state = state.accept(hosted, generation=1, now_unix=MIDNIGHT)
    assert state.replicas == 0
    assert state.decide(busy, MIDNIGHT).decision is None
    assert not state.may_wake(MIDNIGHT)


@pytest.mark.parametrize(
    ("of_profile", "of_route", "most"),
    [
        (["--max-num-seqs=64"], [], 64),
        (["--max-num-seqs=64"], ["--max_num_seqs", "16"], 16),
        ([], [], None),
        (["--max-num-seqs=many"], [], None),
    ],
)
def test_the_fullest_batch_is_that_of_the_engines_arguments(
    of_profile: list[str], of_route: list[str], most: int | None
) -> None:
    """The route's own follow the profile's and win; while no profile is known, what was known holds."""
    spec = ModelRouteSpec.model_validate(
        {"selfHosted": {"source": "hf://org/model", "profile": "x", "args": of_route}, "scaling": {}}
    )
    policy = policy_of(spec, Profile(image="i", args=of_profile))
    assert policy.batch_most == most
    assert policy_of(spec, None, policy).batch_most == most
