"""What status says of the signals: fresh with a decision or a sample, and no reason for a write by itself."""

from overspill_operator.core.needs_status import scaling_status
from overspill_operator.core.scaling.autoscaler import Need, Signal

NOW = 1_800_000_000.0
QUEUE = Need(Signal.QUEUE_DEPTH, 3, "12 wait.")
REQUESTS = Need(Signal.CONCURRENCY, 1, "5 in flight.")


def test_needs_are_shown_with_their_figures() -> None:
    """In the order in which they were given: the largest first."""
    shown = scaling_status((QUEUE, REQUESTS), {}, is_news=False, now_unix=NOW)
    assert shown == {
        "at": "2027-01-15T08:00:00Z",
        "needs": [
            {"signal": "QueueDepth", "replicas": 3, "message": "12 wait."},
            {"signal": "Concurrency", "replicas": 1, "message": "5 in flight."},
        ],
    }


def test_other_figures_alone_are_no_news() -> None:
    """They change with every beat; status has them when it is written for something else."""
    before = {"scaling": scaling_status((REQUESTS,), {}, is_news=True, now_unix=NOW)}
    assert scaling_status((QUEUE,), before, is_news=False, now_unix=NOW + 60) == before["scaling"]
    after = scaling_status((QUEUE,), before, is_news=True, now_unix=NOW + 60)
    assert after is not None
    assert (after["at"], after["needs"][0]["replicas"]) == ("2027-01-15T08:01:00Z", 3)


def test_the_same_figures_keep_their_time() -> None:
    """A route in which nothing changes is not written for ever."""
    before = {"scaling": scaling_status((REQUESTS,), {}, is_news=True, now_unix=NOW)}
    assert scaling_status((REQUESTS,), before, is_news=True, now_unix=NOW + 60) == before["scaling"]


def test_a_restart_keeps_what_was_known() -> None:
    """Until it has decided for the first time: else each restart would be two writes a route."""
    before = {"scaling": scaling_status((REQUESTS,), {}, is_news=True, now_unix=NOW)}
    assert scaling_status(None, before, is_news=True, now_unix=NOW + 60) == before["scaling"]


def test_a_fixed_number_has_no_needs() -> None:
    """Those of before are taken away."""
    before = {"scaling": scaling_status((REQUESTS,), {}, is_news=True, now_unix=NOW)}
    assert scaling_status((), before, is_news=True, now_unix=NOW) is None
