"""Following a collection: when it is listed, what events mean, and how long to wait."""

from overspill_api.list_watch import FORGOTTEN, Change, ListWatch, Pauses

PAUSES = Pauses(first_seconds=1.0, most_seconds=8.0, healthy_seconds=10.0)
MOST = 1.0
"""The draw that makes a pause as long as it may be."""


def followed() -> ListWatch:
    """A collection of a and b, watched from version 5 since time 100."""
    state = ListWatch(PAUSES)
    assert not state.version
    state.begin(99.0)
    state.listed("5")
    state.begin(100.0)
    return state


def test_a_watch_goes_on_from_what_it_has_told() -> None:
    """Bookmarks included, which are no change of anything."""
    state = followed()
    assert state.happened("MODIFIED", "6") is Change.PUT
    assert state.happened("ADDED", "7") is Change.PUT
    assert state.happened("DELETED", "8") is Change.GONE
    assert state.happened("BOOKMARK", "20") is Change.NOTHING
    assert state.version == "20"
    assert state.ended(110.0, MOST) == 0.0


def test_a_server_that_has_forgotten_is_listed_anew() -> None:
    """And watched from the version of that list."""
    state = followed()
    assert state.failed(100.0, MOST, status=FORGOTTEN) == 1.0
    assert not state.version
    state.begin(101.0)
    state.listed("30")
    assert state.version == "30"


def test_a_server_that_forgets_again_and_again_is_listed_ever_more_seldom() -> None:
    """A list is dear, and that it went well says nothing of the watch."""
    state, pauses = followed(), []
    for _ in range(5):
        pauses.append(state.failed(100.0, MOST, status=FORGOTTEN))
        state.begin(100.0)
        state.listed("30")
        state.begin(100.0)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_news_before_it_forgets_make_no_list_cheaper() -> None:
    """A server that tells one thing and forgets, again and again."""
    state, pauses = followed(), []
    for version in range(6, 10):
        state.happened("MODIFIED", str(version))
        pauses.append(state.failed(100.1, MOST, status=FORGOTTEN))
        state.begin(100.0)
        state.listed("30")
        state.begin(100.0)
    assert pauses == [1.0, 2.0, 4.0, 8.0]


def test_a_watch_that_brings_news_and_ends_at_once_is_asked_again_soon_and_not_at_once() -> None:
    """Time that passes is no news, nor is an event that was told already: those are asked for ever more seldom."""
    state = followed()
    for version in range(6, 9):
        state.begin(100.0)
        state.happened("MODIFIED", str(version))
        assert state.ended(100.0, MOST) == 1.0
    for kind, told, pause in (("BOOKMARK", "9", 2.0), ("MODIFIED", "9", 4.0), ("ADDED", "", 8.0)):
        state.begin(100.0)
        state.happened(kind, told)
        assert state.ended(100.0, MOST) == pause


def test_a_connection_that_breaks_after_news_resumes_soon() -> None:
    """It costs no list, and what has happened meanwhile is wanted."""
    state = followed()
    for version in range(6, 9):
        state.begin(100.0)
        state.happened("MODIFIED", str(version))
        assert state.failed(100.1, MOST) == 1.0


def test_a_failure_resumes_unless_a_list_is_asked_for() -> None:
    """A connection that breaks costs no list."""
    state = followed()
    state.failed(101.0, MOST)
    assert state.version == "5"
    state.failed(101.0, MOST, lists_anew=True)
    assert not state.version


def test_a_watch_that_ends_at_once_and_says_nothing_is_no_watch() -> None:
    """One that lasted, or told something, was in order."""
    state, pauses = followed(), []
    for _ in range(3):
        state.begin(100.0)
        pauses.append(state.ended(100.5, MOST))
    assert pauses == [1.0, 2.0, 4.0]
    state.begin(200.0)
    assert state.ended(210.0, MOST) == 0.0
    assert state.failures == 0
    state.begin(210.0)
    assert state.ended(210.1, MOST) == 1.0


def test_what_broke_after_it_had_lasted_begins_with_a_short_pause() -> None:
    """However often it had failed before."""
    state = followed()
    for _ in range(4):
        state.failed(100.0, MOST)
    state.begin(200.0)
    assert state.failed(211.0, MOST) == 1.0
