"""Whether the target for the first token is kept: late, early enough to come back, and one that tries all the same."""

from itertools import pairwise

import pytest

from overspill_gateway.core.prediction.load import ReplicaLoad
from overspill_gateway.core.prediction.pace import ReplicaRates
from overspill_gateway.core.prediction.prediction import LoadSnapshot
from overspill_gateway.core.prediction.target import FirstTokenTarget
from overspill_gateway.core.prediction.tuning import TUNING, Tuning


def told(predicted: float | None, *, tail: float | None = None, alone: float = 0.1) -> LoadSnapshot:
    """What is expected of a request."""
    snapshot = LoadSnapshot()
    snapshot.own = ReplicaRates()
    snapshot.predicted_seconds = predicted
    snapshot.tail_seconds = tail if tail is not None else predicted or 0.0
    snapshot.alone_seconds = alone
    return snapshot


def kept(
    target: FirstTokenTarget,
    snapshot: LoadSnapshot,
    now: float,
    *,
    requests: int = 5,
) -> bool:
    """Whether it stays, at the only replica, with so many requests."""
    load = ReplicaLoad(in_flight=requests)
    if target.is_kept(snapshot, load, now) or target.is_tried(snapshot, load, now):
        return True
    target.missed(snapshot, now)
    return False


def test_the_tail_is_what_counts() -> None:
    """A request whose expected time is within the target, and whose worst in twenty is not, goes elsewhere."""
    target = FirstTokenTarget(2.0)

    assert kept(target, told(1.5, tail=1.9), 0.0)
    assert not kept(target, told(1.5, tail=2.1), 0.0)


def test_who_went_elsewhere_comes_back_below_the_lower_bound_only() -> None:
    """For five seconds after the last late one; then the target itself counts again."""
    target = FirstTokenTarget(2.0, tuning=Tuning(return_below=0.8))
    assert kept(target, told(1.7), 0.0)
    assert not kept(target, told(2.5), 0.0)
    assert kept(target, told(1.5), 1.0)
    assert not kept(target, told(1.7), 1.0)
    assert not kept(target, told(1.7), 1.0 + TUNING.spilling_seconds - 0.1)
    assert kept(target, told(1.7), 1.0 + 2 * TUNING.spilling_seconds)


def test_a_prompt_that_is_too_long_by_itself_says_nothing_of_the_load() -> None:
    """It goes elsewhere, and others stay as before."""
    target = FirstTokenTarget(2.0)

    assert not kept(target, told(5.0, alone=4.5), 0.0)
    assert kept(target, told(1.9), 0.1)


def test_while_nothing_is_learned_some_may_stay() -> None:
    """Enough to learn from, and no flood."""
    target = FirstTokenTarget(2.0)

    assert kept(target, told(None), 0.0, requests=TUNING.unlearned_requests_max - 1)
    assert not kept(target, told(None), 0.0, requests=TUNING.unlearned_requests_max)


def test_no_target_is_always_kept() -> None:
    """A route need not look at latency."""
    assert kept(FirstTokenTarget(None), told(1e9), 0.0, requests=10_000)


def test_now_and_then_one_tries_against_the_prediction() -> None:
    """Only at a replica with none of ours, and half as often each time that it changes nothing."""
    target, dark = FirstTokenTarget(2.0), told(100.0)
    assert not kept(target, dark, 0.0)
    tried = [at / 10.0 for at in range(6000) if kept(target, dark, at / 10.0, requests=0)]
    gaps = [round(later - earlier) for earlier, later in pairwise(tried)]

    assert gaps[:6] == [1, 2, 4, 8, 16, 32]
    assert set(gaps[6:]) == {int(TUNING.try_seconds_max)}


def test_a_try_that_was_worth_it_is_followed_by_another_soon() -> None:
    """A first token that came much earlier than predicted: the prediction is wrong, and is to learn."""
    target, dark = FirstTokenTarget(2.0), told(100.0)
    tried = []
    for at in range(200):
        if kept(target, dark, at / 10.0, requests=0):
            tried.append(at / 10.0)
            dark.own.brighter_at = at / 10.0 + 0.05

    assert len(tried) == pytest.approx(20.0 / TUNING.try_seconds_min, abs=2)


def test_each_replica_is_tried_for_itself() -> None:
    """One that keeps the target or was tried a moment ago says nothing of another."""
    target, dark, bright, other = FirstTokenTarget(2.0), told(100.0), told(1.0), told(100.0)

    assert target.is_tried(dark, ReplicaLoad(), 0.0)
    assert target.is_tried(other, ReplicaLoad(), 0.1)
    assert target.is_kept(bright, ReplicaLoad(), 0.2)
    assert not target.is_tried(dark, ReplicaLoad(), 0.9)
    assert target.is_tried(dark, ReplicaLoad(), 1.0)


def test_waiting_is_in_vain_for_what_is_late_by_itself() -> None:
    """A quarter more than alone is as good as it gets; an idle replica, or one of which nothing is known, as well."""
    target, busy = FirstTokenTarget(2.0), ReplicaLoad(in_flight=1)

    assert target.waits_in_vain(told(5.0, alone=4.1), busy)
    assert not target.waits_in_vain(told(5.0, alone=3.0), busy)
    assert target.waits_in_vain(told(5.0, alone=3.0), ReplicaLoad())
    assert target.waits_in_vain(told(None), busy)
