"""A spill is wrong if a replica would have been in time; a hold is late if a hosted API would have been."""

import pytest

from overspill_gateway.core.admission.plan import ServedReason, UseHosted, UseReplica
from overspill_gateway.core.admission.route_pool import RoutePool
from overspill_gateway.core.backends.hosted_state import HostedState
from overspill_gateway.core.backends.replica_state import ReplicaState
from overspill_gateway.core.requests.ask import Ask
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Speed
from overspill_planner.simulator.gateway import Gateway, Request
from overspill_planner.simulator.hosted import HostedModel
from overspill_planner.simulator.judging import Judged, Judging

pytestmark = pytest.mark.interpreted  # plans of tests are subclasses of what is compiled

SPEED = Speed(step_seconds=0.01, prompt_token_seconds=0.001, batched_tokens_max=100, running_max=4)


class Obedient(RoutePool[ReplicaState, HostedState]):
    """A pool that sends requests where the test says, by priority: 1 is the replica."""

    def next_step(self, history, ask, now):  # type: ignore[no-untyped-def]  # noqa: ANN001, ARG002
        """To the replica or to the hosted API."""
        if ask.priority:
            return UseReplica(self.replicas[0], ServedReason.PREFERRED)
        return UseHosted(self.hosted[0], ServedReason.LATENCY)


def judged(prompts: list[tuple[int, bool]], *, hosted_seconds: float = 0.2, all_judged: int = 256) -> Judged:
    """Requests at once, each of so many tokens and sent to the replica or not, with a target of half a second."""
    clock = Clock()
    judging = Judging(0.5, lambda _, request: request.prompt_tokens / 1000.0, all_judged=all_judged)
    hosted = [(HostedState("hosted/a"), HostedModel(hosted_seconds))]
    judging.gateway = Gateway(
        clock, [Engine(clock, SPEED)], hosted, target=0.5, observers=(judging.observer,), pool_of=Obedient
    )
    for prompt, local in prompts:
        judging.gateway.arrive(Request(Ask(prompt_tokens=prompt, priority=int(local)), prompt, 5, clock.now))
    clock.run(100.0)
    return judging.found()


def test_a_spill_that_a_replica_had_begun_in_time_is_wrong_and_costs_what_was_paid() -> None:
    """Behind 200 tokens there is time for 200 more, and none for 400."""
    found = judged([(200, True), (200, False), (400, False)])

    assert (found.spills, found.wrong_spills, found.wrong_usd) == (2, 1, pytest.approx(0.2))
    assert found.wrong_spill_share == 0.5


def test_a_request_that_a_replica_began_late_is_a_late_hold_where_a_hosted_api_was_in_time() -> None:
    """Not so where that would have been late as well."""
    late = [(400, True), (200, True)]

    assert (judged(late).late_holds, judged(late).served) == (1, 2)
    assert judged(late).late_hold_share == 0.5
    assert judged(late, hosted_seconds=0.6).late_holds == 0


def test_a_spill_that_would_have_made_another_late_was_not_wrong() -> None:
    """430 tokens take 480 ms: with 30 before them they would not be in time any more, and with 5 they are."""
    found = judged([(30, False), (5, False), (430, True)])

    assert (found.spills, found.in_time, found.wrong_spills) == (2, 2, 1)


def test_of_many_spills_one_counts_for_those_that_were_not_tried() -> None:
    """The sum is what it would be if all were judged."""
    found = judged([(20, False)] * 80, all_judged=16)

    assert (found.spills, found.wrong_spills) == (80, 80)
    assert found.wrong_usd == pytest.approx(80 * 0.02)
