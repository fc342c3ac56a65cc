"""What /readyz and /healthz say of an operator."""

from dataclasses import dataclass

import pytest

from overspill_operator.app.health import STALE_SECONDS, Health


@dataclass
class Watched:
    """Objects of one kind."""

    trouble: str = ""


@dataclass
class Queue:
    """What waits."""

    longest_run_seconds: float = 0.0
    oldest_wait_seconds: float = 0.0


def leading(*watched: Watched, queue: Queue | None = None) -> Health:
    """One that leads since second 0, and sees everything."""
    health = Health()
    health.leads(0.0, queue or Queue(), watched)
    health.has_heard = health.sees_all = True
    return health


def test_everything_that_is_not_seen_is_told() -> None:
    """First what people write, then what is made: one missing right hides no other."""
    services, secrets = Watched("services"), Watched("secrets")
    health = leading(services, secrets)
    health.note("watch", "modelroutes can't be watched")
    health.note("list", "modelroutes can't be listed")
    expected = ["modelroutes can't be listed", "modelroutes can't be watched", "services", "secrets"]
    assert health.unready().splitlines() == expected

    services.trouble = secrets.trouble = ""
    health.note("watch", "")
    health.note("list", "")
    assert health.unready() == ""


def test_what_keeps_it_from_leading_comes_first() -> None:
    """Nothing is seen before it leads."""
    health = leading()
    health.note("list", "modelroutes can't be listed")
    health.hindrance = "the release in namespace first has all namespaces"
    assert health.unready() == "not leading: the release in namespace first has all namespaces"


def test_it_is_ready_once_it_has_heard_and_seen() -> None:
    """Who stands by is ready, since nothing more is asked of it."""
    health = Health()
    assert health.unready() == "the API server has not been reached yet"
    health.has_heard = True
    assert health.unready() == ""
    health.leads(0.0, Queue(), ())
    assert health.unready() == "objects are being read"
    health.sees_all = True
    assert health.unready() == ""


@pytest.mark.parametrize(
    ("queue", "sees_all", "says"),
    [
        (Queue(), True, ""),
        (Queue(), False, "leading for two minutes without having seen every object"),
        (Queue(longest_run_seconds=STALE_SECONDS + 1), True, "a reconcile has been running for 121 s"),
        (Queue(oldest_wait_seconds=STALE_SECONDS * 5 + 1), True, "an object has been waiting for 601 s"),
        (Queue(oldest_wait_seconds=STALE_SECONDS * 5), True, ""),
    ],
)
def test_what_hangs_is_told_and_restarted(queue: Queue, says: str, *, sees_all: bool) -> None:
    """A process that stands by never hangs."""
    health = leading(queue=queue)
    health.sees_all = sees_all
    assert health.unhealthy(STALE_SECONDS).startswith(says if sees_all else "")
    told = health.unhealthy(STALE_SECONDS + 1)
    assert told.startswith(says)
    assert bool(told) == bool(says)
    assert Health().unhealthy(1e9) == ""
