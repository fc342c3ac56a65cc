"""Which replicas are in rotation and how often each is asked: a table."""

import pytest

from overspill_gateway.core.backends.rotation import EndpointFact, Health, gives_up_running, probe_delay, usable

READY = EndpointFact("a", 1, "pod", "uid", ready=True, terminating=False)
LOADING = EndpointFact("a", 1, "pod", "uid", ready=False, terminating=False)
GOING = EndpointFact("a", 1, "pod", "uid", ready=False, terminating=True)


@pytest.mark.parametrize(
    ("fact", "health", "expected"),
    [
        (READY, Health.UNKNOWN, True),
        (READY, Health.ANSWERS, True),
        (READY, Health.BROKEN, False),
        (LOADING, Health.UNKNOWN, False),
        (LOADING, Health.ANSWERS, True),
        (LOADING, Health.BROKEN, False),
        (GOING, Health.ANSWERS, False),
        (None, Health.ANSWERS, False),
    ],
)
def test_usable(fact: EndpointFact | None, health: Health, expected: bool) -> None:  # noqa: FBT001
    """Ready or answering, and neither broken, going nor gone."""
    assert usable(fact, health) is expected


@pytest.mark.parametrize(
    ("fact", "health", "failures", "in_flight", "held", "spilling", "expected"),
    [
        # in rotation: nobody asks
        (READY, Health.UNKNOWN, 0, 5, 9, True, None),
        (LOADING, Health.ANSWERS, 0, 5, 9, True, None),
        # somebody waits: at once, then every 10 ms, however often it failed
        (LOADING, Health.UNKNOWN, 0, 0, 1, False, 0.0),
        (LOADING, Health.UNKNOWN, 50, 0, 1, False, 0.01),
        (READY, Health.BROKEN, 3, 0, 1, False, 0.01),
        # broken: at once, then 0.1, 0.2, 0.4, 0.5 s
        (READY, Health.BROKEN, 0, 0, 0, False, 0.0),
        (READY, Health.BROKEN, 1, 0, 0, False, 0.1),
        (READY, Health.BROKEN, 30, 0, 0, False, 0.5),
        # requests go to a hosted API meanwhile
        (LOADING, Health.UNKNOWN, 0, 0, 0, True, 0.0),
        (LOADING, Health.UNKNOWN, 9, 0, 0, True, 0.25),
        # nobody asks for it
        (LOADING, Health.UNKNOWN, 0, 0, 0, False, 0.25),
        (LOADING, Health.UNKNOWN, 30, 0, 0, False, 2.0),
        # going: never; gone: only while requests run on it
        (GOING, Health.UNKNOWN, 0, 3, 1, True, None),
        (None, Health.UNKNOWN, 0, 0, 1, True, None),
        (None, Health.UNKNOWN, 0, 1, 0, False, 0.0),
        (None, Health.UNKNOWN, 1, 1, 0, False, 1.0),
    ],
)
def test_probe_delay(
    fact: EndpointFact | None,
    health: Health,
    failures: int,
    in_flight: int,
    held: int,
    spilling: bool,  # noqa: FBT001
    expected: float | None,
) -> None:
    """The pace follows who needs the answer."""
    delay = probe_delay(fact, health, failures=failures, in_flight=in_flight, held=held, spilling=spilling)

    assert delay == expected


def test_running_requests_are_given_up_late_on_a_listed_replica() -> None:
    """Unlisted and unreachable once is dead; listed takes three, since a full backlog refuses too."""
    assert gives_up_running(None, 1)
    assert not gives_up_running(None, 0)
    assert not gives_up_running(READY, 2)
    assert gives_up_running(READY, 3)
