"""Whether engines fit together on a machine."""

from overspill_box.core.local_engine import Claim
from overspill_box.core.room import Held, fit

GIB = 2**30


def awake(memory: int | None = None, group: str | None = None) -> Held:
    """An engine that is not asleep, of so many GiB."""
    return Held(Claim(None if memory is None else memory * GIB, group=group))


def asleep(memory: int | None, rest: int, group: str | None = None) -> Held:
    """One that sleeps and keeps so many GiB."""
    return Held(
        Claim(None if memory is None else memory * GIB, rest * GIB, group=group, can_sleep=True), is_asleep=True
    )


def test_engines_fit_whose_memory_is_no_more_than_there_is() -> None:
    """The sum counts, to the last byte."""
    assert fit([awake(12), awake(12)], 24 * GIB)
    assert not fit([awake(12), awake(13)], 24 * GIB)
    assert not fit([awake(25)], 24 * GIB)
    assert fit([], 0)


def test_one_that_says_no_memory_takes_all() -> None:
    """It runs alone."""
    assert fit([awake()], 24 * GIB)
    assert not fit([awake(), awake(1)], 24 * GIB)


def test_engines_of_one_group_fit_whatever_their_memory() -> None:
    """That they do is what the group says; anybody else beside them counts."""
    assert fit([awake(20, "g"), awake(20, "g")], 24 * GIB)
    assert not fit([awake(20, "g"), awake(20, "h")], 24 * GIB)
    assert not fit([awake(20, "g"), awake(20, "g"), awake(1)], 24 * GIB)
    assert fit([awake(2, "g"), awake(2, "g"), awake(1)], 24 * GIB)


def test_what_an_engine_keeps_in_its_sleep_counts() -> None:
    """No more than it takes awake, whatever is written."""
    assert fit([asleep(20, 2), awake(22)], 24 * GIB)
    assert not fit([asleep(20, 2), awake(23)], 24 * GIB)
    assert fit([asleep(2, 20), awake(22)], 24 * GIB)
    assert fit([asleep(None, 2), awake(22)], 24 * GIB)


def test_where_the_memory_is_not_known_one_is_awake_at_a_time() -> None:
    """Or those of one group; sleepers do not count."""
    assert fit([awake(12)], None)
    assert fit([awake(), asleep(None, 1), asleep(12, 1)], None)
    assert not fit([awake(1), awake(1)], None)
    assert fit([awake(20, "g"), awake(20, "g"), asleep(1, 1)], None)
    assert not fit([awake(1, "g"), awake(1)], None)
