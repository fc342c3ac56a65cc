"""Leader election: what to do about a Lease, by a clock that the test moves."""

from typing import Any

from overspill_operator.core.lease import (
    GIVE_UP_AFTER_SECONDS,
    LEASE_SECONDS,
    RENEW_EVERY_SECONDS,
    Observation,
    Step,
    lease_spec,
    observe,
    step,
)

ME = "pod-a_1234"


def lease(holder: str, renewed: str = "t0") -> dict[str, Any]:
    """A Lease."""
    return {"spec": {"holderIdentity": holder, "renewTime": renewed}}


def test_a_missing_lease_is_made_and_a_free_one_taken() -> None:
    """At once."""
    assert step(observe(None, None, 5.0), ME, 5.0) is Step.CREATE
    assert step(observe(lease(""), None, 5.0), ME, 5.0) is Step.TAKE


def test_ones_own_is_renewed() -> None:
    """For as long as it is."""
    assert step(observe(lease(ME), None, 5.0), ME, 500.0) is Step.RENEW


def test_another_process_of_the_same_name_is_another() -> None:
    """It may still run: a pod that is made again by force, two processes on a workstation."""
    seen = observe(lease("pod-a_9999"), None, 5.0)
    assert step(seen, ME, 5.0) is Step.WAIT
    assert step(seen, ME, 5.5 + LEASE_SECONDS) is Step.TAKE


def test_a_lease_that_is_deleted_is_not_free_at_once() -> None:
    """Its holder has yet to notice; its holder itself makes it again."""
    seen = observe(None, observe(lease("pod-b_1"), None, 100.0), 101.0)
    assert step(seen, ME, 101.0) is Step.WAIT
    assert step(seen, ME, 101.5 + LEASE_SECONDS) is Step.CREATE
    assert step(observe(None, observe(lease(ME), None, 100.0), 101.0), ME, 101.0, holds=True) is Step.CREATE
    assert step(observe(lease("pod-b_1"), seen, 102.0), ME, 102.0) is Step.WAIT


def test_another_holder_is_waited_for_until_it_is_silent_for_the_whole_duration() -> None:
    """By this process's own clock, counted from the last change that it saw."""
    seen = observe(lease("pod-b_1"), None, 100.0)
    assert step(seen, ME, 100.0 + LEASE_SECONDS) is Step.WAIT
    seen = observe(lease("pod-b_1", "t1"), seen, 109.0)
    assert step(seen, ME, 100.5 + LEASE_SECONDS) is Step.WAIT
    seen = observe(lease("pod-b_1", "t1"), seen, 118.0)
    assert seen == Observation(("pod-b_1", "t1"), 109.0)
    assert step(seen, ME, 109.5 + LEASE_SECONDS) is Step.TAKE


def test_a_leader_gives_up_before_another_may_take_over() -> None:
    """And several renewals fit before that."""
    assert GIVE_UP_AFTER_SECONDS < LEASE_SECONDS
    assert 2 * RENEW_EVERY_SECONDS < GIVE_UP_AFTER_SECONDS


def test_transitions_are_counted_when_the_holder_changes() -> None:
    """Not when it renews."""
    first = lease_spec(None, ME, "t0")
    assert (first["holderIdentity"], first["leaseTransitions"], first["acquireTime"]) == (ME, 0, "t0")
    renewed = lease_spec({"spec": first}, ME, "t1")
    assert (renewed["leaseTransitions"], renewed["acquireTime"], renewed["renewTime"]) == (0, "t0", "t1")
    freed = lease_spec({"spec": renewed}, "", "t2")
    assert (freed["holderIdentity"], freed["leaseDurationSeconds"]) == ("", 1)
