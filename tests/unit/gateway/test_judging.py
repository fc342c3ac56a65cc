"""Of each spill, whether it was needed, from what the replica then did; and which streams should have spilled."""

from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.admission.request_state import NOBODY, RequestState
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.counters import RouteCounters
from overspill_gateway.core.flow.attempt_state import AttemptState, Ending
from overspill_gateway.core.flow.judging import Judging
from overspill_gateway.core.flow.learning import Learning
from overspill_gateway.core.prediction.foregone import FOREGONE_MAX, Foregone
from overspill_gateway.core.prediction.prediction import ServiceRates
from overspill_gateway.core.prediction.target import FirstTokenTarget
from overspill_gateway.core.requests.ask import Ask

TARGET = 1.0

Way = tuple[RequestState, AttemptState[BackendState]]


class Route:
    """A route with one replica and a hosted API, of whose speed nothing is known, and a target of a second."""

    def __init__(self) -> None:
        self.tally = RouteCounters()
        self.rates = ServiceRates()
        self.hosted: list[HostedState] = [HostedState("hosted/a")]
        self.replica = ReplicaState("local/a", self.rates)
        target = FirstTokenTarget(TARGET)
        self.learning = Learning(self.rates, Judging(target, self.rates, lambda: self.hosted, self.tally))

    @property
    def judged(self) -> tuple[int, int, int]:
        """Needed, regretted, unknown."""
        return self.tally.spills_needed, self.tally.spills_regretted, self.tally.spills_unknown

    def serve(self, now: float, tokens: int = 100, *, streams: bool = True, started_at: float | None = None) -> Way:
        """A request goes to the replica."""
        ask = Ask(prompt_tokens=tokens)
        request = RequestState(NOBODY, ask, now if started_at is None else started_at, streams=streams)
        snapshot = self.rates.snapshot(self.replica.rates, self.replica.load, ask, now)
        attempt: AttemptState[BackendState] = AttemptState(
            self.replica, ServedReason.PREFERRED, now, is_retry=False, snapshot=snapshot
        )
        attempt.sent_at = now
        self.replica.sent(ask, now)
        self.learning.began(request, attempt, now)
        return request, attempt

    def spill(self, now: float, tokens: int = 100, *, streams: bool = True, places_short: float = 0.0) -> Foregone:
        """A request goes to the hosted API since the replica would be late."""
        ask = Ask(prompt_tokens=tokens)
        request = RequestState(NOBODY, ask, now, streams=streams)
        request.foregone = self.rates.snapshot(self.replica.rates, self.replica.load, ask, now)
        request.foregone.places_short = places_short
        attempt: AttemptState[BackendState] = AttemptState(
            self.hosted[0], ServedReason.LATENCY, now, is_retry=False, snapshot=None
        )
        attempt.spills = True
        self.learning.began(request, attempt, now)
        assert attempt.foregone is not None
        return attempt.foregone

    def begin(self, way: Way, now: float) -> None:
        """The replica's answer begins."""
        request, attempt = way
        attempt.first_token_at = now
        self.replica.first_token(request.ask)
        self.learning.first_token(request, attempt, now)

    def end(self, way: Way, now: float) -> None:
        """It is over."""
        request, attempt = way
        attempt.status, attempt.usage = 200, Usage(request.ask.prompt_tokens, 0, 10)
        self.replica.done(request.ask, first_token_came=attempt.has_begun)
        self.learning.settled(request, attempt, Ending.WHOLE, None, now)


def test_a_spill_is_regretted_where_its_turn_would_have_come_in_time() -> None:
    """Who was before it in the line begins after half a second: it had begun soon after."""
    route = Route()
    before = route.serve(0.0)
    route.spill(0.1)
    assert route.judged == (0, 0, 0)
    route.begin(before, 0.5)

    assert route.judged == (0, 1, 0)
    assert route.rates.caution.times < 1.0, "thresholds learn from it"


def test_a_spill_was_needed_where_its_turn_would_have_come_too_late() -> None:
    """Who was before it begins after two seconds, with a target of one."""
    route = Route()
    before = route.serve(0.0)
    route.spill(0.1)
    route.begin(before, 2.0)

    assert route.judged == (1, 0, 0)
    assert route.rates.caution.times == 1.0


def test_all_who_are_before_it_have_to_have_begun_and_nobody_behind() -> None:
    """Of three in the line it stands behind the second."""
    route = Route()
    first, second = route.serve(0.0), route.serve(0.0)
    route.spill(0.1)
    third = route.serve(0.2)
    route.begin(first, 0.3)
    assert route.judged == (0, 0, 0)
    route.begin(second, 0.5)

    assert route.judged == (0, 1, 0)
    route.begin(third, 5.0)
    assert route.judged == (0, 1, 0)


def test_one_who_left_the_line_is_waited_for_no_more() -> None:
    """A request that is given up before its first token holds nobody up."""
    route = Route()
    first, second = route.serve(0.0), route.serve(0.0)
    route.spill(0.1)
    route.end(first, 0.2)
    route.begin(second, 0.4)

    assert route.judged == (0, 1, 0)


def test_who_waits_for_a_place_has_to_see_a_request_end() -> None:
    """All prompts are read, and the batch is full: its turn comes when one of it ends."""
    route = Route()
    one, other = route.serve(0.0), route.serve(0.0)
    route.begin(one, 0.1)
    route.spill(0.2, places_short=1.0)
    route.begin(other, 0.3)
    assert route.judged == (0, 0, 0)
    route.end(one, 0.6)

    assert route.judged == (0, 1, 0)


def test_one_that_begins_behind_it_shows_that_there_was_a_place() -> None:
    """However many places were thought to be missing."""
    route = Route()
    one = route.serve(0.0)
    route.begin(one, 0.1)
    route.spill(0.2, places_short=7.0)
    later = route.serve(0.3)
    route.begin(later, 0.5)

    assert route.judged == (0, 1, 0)


def test_what_nothing_shows_is_unknown() -> None:
    """With nobody before it, and of plain answers, whose first token nobody sees."""
    route = Route()
    route.spill(0.0)
    route.serve(0.1)
    route.spill(0.2, streams=False)

    assert route.judged == (0, 0, 2)


def test_the_money_of_regretted_spills_is_counted_whenever_it_is_charged() -> None:
    """Before the verdict or after it; of others none."""
    route = Route()
    before = route.serve(0.0)
    early, late = route.spill(0.1), route.spill(0.1)
    assert not early.charged(40)
    route.begin(before, 0.5)

    assert route.tally.regret_nano_usd == 40
    assert late.charged(2), "whoever charges adds it"


def test_a_late_stream_is_a_late_hold_where_a_hosted_api_would_have_been_in_time() -> None:
    """Counted from its arrival, waiting included; not where there is none that may take it, or that is in time."""
    route = Route()
    route.begin(route.serve(5.0, started_at=4.2), 5.3)
    assert route.tally.late_holds == 1
    route.begin(route.serve(6.0), 6.9)
    assert route.tally.late_holds == 1
    for _ in range(50):
        slow = RequestState(NOBODY, Ask(), 6.0, streams=True)
        api: AttemptState[BackendState] = AttemptState(
            route.hosted[0], ServedReason.LATENCY, 6.0, is_retry=False, snapshot=None
        )
        api.sent_at = 6.0
        route.learning.first_token(slow, api, 7.5)
    route.begin(route.serve(8.0), 9.5)
    assert route.tally.late_holds == 1, "the hosted API takes 1.5 seconds"
    route.hosted.clear()
    route.begin(route.serve(10.0), 12.0)

    assert route.tally.late_holds == 1


def test_what_waits_to_be_judged_is_bounded_and_does_not_wait_for_ever() -> None:
    """Of a replica that hangs; the rest is not known."""
    route = Route()
    route.serve(0.0)
    for number in range(FOREGONE_MAX + 100):
        route.spill(0.001 * number)
    assert route.judged == (0, 0, 100)
    route.spill(1000.0)

    assert route.judged == (0, 0, 100 + FOREGONE_MAX)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.0, 3.0), st.integers(0, 5000)), max_size=120))
def test_whatever_happens_each_spill_has_one_verdict_at_most(events: list[tuple[int, float, int]]) -> None:
    """Requests come, begin, end and go in any order: nothing fails, and no more is judged than was spilled."""
    route, now, spilled = Route(), 0.0, 0
    waiting: list[Way] = []
    running: list[Way] = []
    for kind, seconds, tokens in events:
        now += seconds
        if kind == 0:
            waiting.append(route.serve(now, tokens, streams=tokens % 5 > 0))
        elif kind == 1:
            route.spill(now, tokens, streams=tokens % 7 > 0, places_short=float(tokens % 4))
            spilled += 1
        elif kind == 2 and waiting:
            way = waiting.pop(tokens % len(waiting))
            route.begin(way, now)
            running.append(way)
        elif kind == 3 and running:
            route.end(running.pop(tokens % len(running)), now)
        elif kind == 4 and waiting:
            route.end(waiting.pop(tokens % len(waiting)), now)

    assert spilled - FOREGONE_MAX <= sum(route.judged) <= spilled
    assert 0.0 < route.rates.caution.times <= 1.0
    assert route.replica.rates.steps.unread >= 0
