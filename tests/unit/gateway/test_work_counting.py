"""What is counted for the operator of how long answers take, and of what hosted APIs did in replicas' place."""

import pytest

from overspill_gateway.core.admission.plan import ServedReason
from overspill_gateway.core.admission.request_state import NOBODY, RequestState
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.backends.backend_state import BackendState
from overspill_gateway.core.backends.outcome import Failure, FailureKind
from overspill_gateway.core.counters import Histogram, KindCounters, RouteCounters
from overspill_gateway.core.flow.attempt_state import AttemptState, Ending
from overspill_gateway.core.flow.work_counting import WorkCounting
from overspill_gateway.core.requests.ask import Ask
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Speed
from overspill_planner.simulator.gateway import Request
from unit.gateway.engine_model import Gateway, Hosted

REPLICA = BackendState("local/a", is_local=True)
API = BackendState("hosted/a", is_local=False)


class Answer:
    """A streamed request that came at 100 s, was sent at 103 s and began at 104 s."""

    def __init__(
        self, backend: BackendState = REPLICA, reason: ServedReason = ServedReason.PREFERRED, *, answers: int = 1,
        streams: bool = True,
    ) -> None:  # fmt: skip
        self.tally = RouteCounters()
        self.request = RequestState(NOBODY, Ask(answers=answers), 100.0, streams=streams)
        self.attempt: AttemptState[BackendState] = AttemptState(backend, reason, 103.0, is_retry=False, snapshot=None)
        self.attempt.sent_at = 103.0

    def begin(self) -> None:
        """Its first token comes."""
        self.attempt.first_token_at = 104.0
        WorkCounting(self.tally).first_token(self.request, self.attempt, 104.0)

    def end(self, tokens: int | None = 11, ending: Ending = Ending.WHOLE) -> None:
        """It is over at 109 s."""
        self.attempt.usage = None if tokens is None else Usage(50, 0, tokens)
        WorkCounting(self.tally).settled(self.request, self.attempt, ending, None, 109.0)

    @property
    def local(self) -> KindCounters:
        """What is counted of replicas."""
        return self.tally.local


def values(histogram: Histogram) -> dict[str, int]:
    """Counts by bound."""
    return histogram.counted()


def test_waiting_and_the_backends_own_time_are_told_apart() -> None:
    """Four seconds after it came, one of which was the replica's."""
    answer = Answer()
    answer.begin()

    assert (values(answer.local.first_token), answer.local.first_token.sum) == ({"5": 1}, 4.0)
    assert (values(answer.local.first_token_since_sent), answer.local.first_token_since_sent.sum) == ({"1": 1}, 1.0)
    assert not values(answer.tally.hosted.first_token)


def test_the_mean_of_a_stream_is_one_value() -> None:
    """Ten tokens after the first in five seconds."""
    answer = Answer(API)
    answer.begin()
    answer.end(tokens=11)

    assert values(answer.tally.hosted.inter_token) == {"0.5": 1}
    assert answer.tally.hosted.request_seconds == 6.0
    assert not answer.tally.spilled_requests, "the route has no replicas that could have done it"


def test_several_answers_of_one_request_are_written_side_by_side() -> None:
    """Two answers of eleven tokens take as long as one."""
    answer = Answer(answers=2)
    answer.begin()
    answer.end(tokens=22)

    assert values(answer.local.inter_token) == {"0.5": 1}


@pytest.mark.parametrize("ending", [Ending.BROKEN, Ending.ABANDONED])
def test_what_broke_off_has_worked_and_says_nothing_of_its_pace(ending: Ending) -> None:
    """How many tokens there were is not known for sure."""
    answer = Answer()
    answer.begin()
    answer.end(tokens=11, ending=ending)

    assert answer.local.request_seconds == 6.0
    assert not values(answer.local.inter_token)


def test_what_its_client_was_slow_to_take_says_nothing_of_its_pace() -> None:
    """The backend waited as well."""
    answer = Answer()
    answer.attempt.was_paused = True
    answer.begin()
    answer.end()

    assert values(answer.local.first_token)
    assert not values(answer.local.inter_token)


@pytest.mark.parametrize("tokens", [None, 0, 1])
def test_an_answer_without_two_tokens_has_no_pace(tokens: int | None) -> None:
    """Or one of which nobody knows how many it has."""
    answer = Answer()
    answer.begin()
    answer.end(tokens)

    assert not values(answer.local.inter_token)


def test_no_first_token_is_seen_of_plain_answers_refusals_and_continuations() -> None:
    """Of the last the client has had it long ago."""
    refusal = Answer()
    refusal.attempt.status = 400
    for answer in (Answer(streams=False), refusal, Answer(reason=ServedReason.CONTINUED)):
        answer.begin()
        assert not values(answer.local.first_token)
        assert not values(answer.local.first_token_since_sent)


def test_who_did_not_begin_has_done_nothing() -> None:
    """A hedge that lost, a backend that failed."""
    answer = Answer()
    answer.end(tokens=None, ending=Ending.ABANDONED)

    assert answer.local.request_seconds == 0.0


def gateway(engines: int, *, has_local: bool = True) -> tuple[Clock, Gateway, RouteCounters]:
    """A gateway with a hosted API, and what is counted of its route."""
    clock, tally = Clock(), RouteCounters()
    made = Gateway(
        clock, [Engine(clock, Speed()) for _ in range(engines)], [Hosted()], cold_start_hosted=True, scrapes=False,
        observers=(WorkCounting(tally),),
    )  # fmt: skip
    made.pool.has_local = has_local
    return clock, made, tally


@pytest.mark.interpreted
@pytest.mark.parametrize(("has_local", "spilled"), [(True, 1), (False, 0)])
def test_work_is_spilled_where_replicas_would_have_done_it(has_local: bool, spilled: int) -> None:  # noqa: FBT001
    """On a route that has none of its own, a hosted API does what is its own."""
    clock, world, tally = gateway(0, has_local=has_local)
    world.arrive(Request(Ask(prompt_tokens=10), 10, 10, clock.now))
    clock.run(60.0)

    assert tally.spilled_requests == spilled
    assert tally.spilled_seconds == pytest.approx(3.0 * spilled)
    assert tally.hosted.request_seconds == pytest.approx(3.0)


@pytest.mark.interpreted
def test_what_no_replica_can_do_is_not_spilled() -> None:
    """A prompt that is too long for them would be too long for one more."""
    clock, world, tally = gateway(1)
    request = Request(Ask(prompt_tokens=10), 10, 10, clock.now)

    def too_long(_now: float) -> Failure:
        assert request.flow is not None
        request.flow.history.replicas_unable = True
        return Failure(FailureKind.UNABLE, "local/0", "it is too long", status=400)

    world.fails[world.replicas[0].served_by] = too_long
    world.arrive(request)
    clock.run(60.0)

    assert request.outcome == "hosted"
    assert tally.spilled_requests == 0
    assert world.pool.spilled == 1, "it has left the pool all the same"
