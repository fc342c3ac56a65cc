"""How fast a replica is, learned from counts: what is believed when, and of whom."""

import re
from dataclasses import replace
from math import nan

import pytest

from overspill_operator.adapters.telemetry import LEARNED
from overspill_operator.core.demand.recent_work import SeenWork
from overspill_operator.core.demand.traffic import Coverage, Demand
from overspill_operator.core.demand.work import Work
from overspill_operator.core.scaling.service_model import BATCH_DEFAULT, Pace, ServiceModel
from unit.operator_.core.scaling.routes_seen import (
    ANSWER,
    BEGIN,
    OUTPUT_TOKENS,
    PROMPT,
    PROMPT_TOKENS,
    STEP,
    Minute,
    learned,
    watched,
)

QUIET = Demand(Coverage.COMPLETE)


def pace_of(model: ServiceModel) -> Pace:
    """It has one."""
    assert model.has_learned
    assert model.pace is not None
    return model.pace


def true_work() -> float:
    """Replica-seconds of a request, in the fullest batch."""
    return PROMPT_TOKENS * PROMPT + OUTPUT_TOKENS * (STEP / BATCH_DEFAULT + ANSWER)


def test_the_pace_of_a_replica_is_learned_from_streams() -> None:
    """The step by itself; what makes it longer, answers or prompts, as far as requests that are all alike can tell."""
    pace = pace_of(learned())
    assert pace.step_seconds == pytest.approx(STEP, rel=0.1)
    assert pace.work(PROMPT_TOKENS, OUTPUT_TOKENS) == pytest.approx(true_work(), rel=0.15)


def test_plain_answers_teach_as_well() -> None:
    """Without a stream only the whole time of requests is known."""
    route = watched()
    for rate in (0.5, 2.0, 5.0, 4.0):
        route.see(Minute(rate, streams=False), seconds=600.0)
    pace = pace_of(route.model)
    assert pace.work(PROMPT_TOKENS, OUTPUT_TOKENS) == pytest.approx(true_work(), rel=0.25)


def test_what_is_known_is_told() -> None:
    """In words, with figures; before that, how far it is."""
    assert ServiceModel.begun(BEGIN).words == "its pace is not known yet (0 of 20 answers)"
    assert re.fullmatch(r"it reads [\d,]+ tokens a second and writes [\d,]+ with 256 answers at once", learned().words)


def test_what_is_known_is_for_metrics_as_well() -> None:
    """Each by the name of its gauge; nothing before it is believed."""
    model = learned()
    assert ServiceModel.begun(BEGIN).figures == {}
    assert model.figures.keys() == LEARNED.keys()
    assert 1.0 / model.figures["written_tokens_per_second"] == pytest.approx(pace_of(model).output_token_work)
    assert model.figures["offered_replicas"] == model.offered_replicas


def test_a_strange_minute_counts_little() -> None:
    """Tokens that take five times as long as is known, once: a hiccup, such as of a node."""
    route = watched()
    for rate in (0.5, 2.0, 4.0):
        route.see(Minute(rate), seconds=300.0)
    before = route.model.request_work
    minute = Minute(4.0)
    route.see(minute, work=replace_local_seconds(minute.work, 5.0))
    assert route.model.request_work == pytest.approx(before, rel=0.1)


def test_nothing_is_believed_of_few_answers() -> None:
    """Twenty of them, whatever they took; then at once, without waiting for a whole minute."""
    route = watched()
    route.see(Minute(0.1))
    assert not route.model.has_learned
    route.see(Minute(1.0), seconds=30.0)
    assert route.model.has_learned


def test_offered_work_is_all_that_came() -> None:
    """Served and spilled alike, in replicas at the most that one does."""
    route = watched()
    route.see(Minute(2.0), seconds=180.0)
    route.see(Minute(2.0, spilled=6.0), seconds=60.0)
    work = pace_of(route.model).work(PROMPT_TOKENS, OUTPUT_TOKENS)
    assert route.model.offered_replicas == pytest.approx(8.0 * work, rel=0.01)


def test_the_fullest_batch_is_seen_where_others_wait() -> None:
    """The same largest batch again and again; a smaller one that lets wait is reading prompts."""
    route = watched()
    route.see(Minute(4.0), seconds=60.0)
    assert pace_of(route.model).batch == BATCH_DEFAULT
    route.see(Minute(4.0), seconds=2.0, running=17, waiting=3)
    route.see(Minute(4.0), seconds=60.0, running=64, waiting=3)
    assert pace_of(route.model).batch == 64


def test_the_fullest_batch_is_what_the_engines_arguments_say() -> None:
    """A replica of two answers at a time does a small part of what one of vLLM's default does, from the beginning."""
    route = watched(batch_most=2)
    route.see(Minute(4.0), seconds=60.0)
    pace = pace_of(route.model)
    assert pace.batch == 2
    assert pace.output_token_work == pytest.approx(pace.step_seconds / 2.0 + pace.answer_seconds)


def test_another_engine_is_learned_anew() -> None:
    """Twice as fast: within some twenty minutes it is known to be."""
    route = watched()
    for rate in (0.5, 2.0, 4.0):
        route.see(Minute(rate))
    before = pace_of(route.model).step_seconds
    faster = Minute(2.0)
    route.see(faster, seconds=3600.0, work=halved(faster.work))
    assert pace_of(route.model).step_seconds < 0.75 * before


def halved(work: Work) -> Work:
    """The same, of which each token takes half as long: one row of numbers, of which the last of a kind are seconds."""
    local = work.local
    told = replace_local_seconds(work, 0.5)
    assert told.local.inter_token.seconds_sum == pytest.approx(0.5 * local.inter_token.seconds_sum)
    return told


def replace_local_seconds(work: Work, factor: float) -> Work:
    """With other sums of seconds for what replicas did."""
    seconds = {work.local.inter_token.seconds_sum, work.local.first_token_since_sent.seconds_sum}
    return Work(tuple(number * factor if number in seconds else number for number in work.numbers))


@pytest.mark.parametrize("factor", [0.0, nan, 1e12, 1e-12, 1e-200])
def test_a_lie_of_a_minute_does_not_go_far(factor: float) -> None:
    """Sums that cannot be are left out."""
    route = watched()
    for rate in (0.5, 2.0, 4.0):
        route.see(Minute(rate))
    before = pace_of(route.model)
    minute = Minute(4.0)
    route.see(minute, work=replace_local_seconds(minute.work, factor))
    assert pace_of(route.model).step_seconds == pytest.approx(before.step_seconds, rel=0.1)


def test_an_engine_that_takes_no_time_breaks_nothing() -> None:
    """Tokens of less than a microsecond from the first minute on, as a gateway may count them: no pace."""
    route = watched()
    route.see(Minute(4.0), work=replace_local_seconds(Minute(4.0).work, 1e-200))
    assert route.model.pace is None


def test_a_clock_that_is_set_back_forgets_what_it_sampled_and_nothing_else() -> None:
    """What came meanwhile is not known; the pace is."""
    model = learned()
    seen = SeenWork(60.0, Minute(4.0).work, arrivals_so_far=1e6)
    back = model.heard(QUIET, 1, (), seen, BEGIN - 3600.0)
    assert back.offered_replicas is None
    assert back.pace == model.pace
    on = back.heard(QUIET, 1, (), replace(seen, arrivals_so_far=1e6), BEGIN - 3598.0)
    on = on.heard(QUIET, 1, (), replace(seen, arrivals_so_far=1e6 + 8.0), BEGIN - 3596.0)
    assert on.offered_replicas == pytest.approx(4.0 * model.request_work)


def test_counts_that_begin_anew_are_no_arrivals() -> None:
    """A route that is heard of anew counts from zero."""
    model = learned()
    fewer = SeenWork(60.0, Minute(4.0).work, arrivals_so_far=1.0)
    assert model.heard(QUIET, 1, (), fewer, model.heard_unix + 2.0).offered_replicas is None


def test_without_counts_nothing_is_offered() -> None:
    """Gateways of an older version: nobody knows what came."""
    model = learned()
    assert model.heard(QUIET, 1, (), None, model.heard_unix + 2.0).offered_replicas is None
