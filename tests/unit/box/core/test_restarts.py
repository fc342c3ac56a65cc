"""When an engine that ended by itself is started again."""

from overspill_box.core.restarts import LONGEST_SECONDS, SERVED_SECONDS, Restarts

NOW = 1000.0


def test_the_pause_doubles_up_to_a_minute() -> None:
    """And stays there: it is tried for ever, since somebody may mend what is wrong."""
    restarts, pauses = Restarts(), []
    for _ in range(2000):
        restarts = restarts.ended(NOW, None)
        pauses.append(restarts.seconds_left(NOW))
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses[-1] == LONGEST_SECONDS


def test_one_that_has_served_for_a_while_starts_at_one_second_again() -> None:
    """Being ready for a moment is not enough."""
    failing = Restarts().ended(NOW, None).ended(NOW, None)
    assert failing.ended(NOW, NOW - SERVED_SECONDS).endings == 1
    assert failing.ended(NOW, NOW - SERVED_SECONDS + 1).endings == 3
    assert failing.changed().seconds_left(NOW) == 0


def test_it_is_said_when_it_is_started_again() -> None:
    """Never for ever in silence."""
    assert Restarts().sentence(NOW) == ""
    first = Restarts().ended(NOW, None)
    assert first.sentence(NOW) == "It is started again in 1 s."
    third = first.ended(NOW, None).ended(NOW, None)
    assert third.sentence(NOW) == "It is started again in 4 s, after it ended 3 times in a row."
    assert third.sentence(NOW + 4) == "It is started again now, after it ended 3 times in a row."
