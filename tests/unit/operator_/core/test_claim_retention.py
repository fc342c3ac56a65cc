"""A claim that is not wanted any more stays for a day, unless a person says otherwise on it."""

from typing import Any

import pytest

from overspill_operator.core.claim_retention import ANNOTATION_DELETE_AFTER, RETENTION_SECONDS, retention
from overspill_operator.core.conditions import timestamp

NOW = 1_800_000_000.0


def claim(said: str | None = None) -> dict[str, Any]:
    """A claim with an annotation of when it goes."""
    annotations = {} if said is None else {ANNOTATION_DELETE_AFTER: said}
    meta = {"name": "r-cache", "namespace": "chat", "annotations": annotations}
    return {"metadata": meta, "spec": {"resources": {"requests": {"storage": "50Gi"}}}}


def test_it_is_marked_before_it_goes() -> None:
    """With the time, the size, and the commands for each other wish."""
    first = retention(claim(), NOW)
    assert not first.delete
    assert first.mark == timestamp(NOW + RETENTION_SECONDS)
    assert first.mark in first.note
    for part in ("50Gi", "pvc r-cache", "=never", "=now", "spec.selfHosted.cache"):
        assert part in first.note


def test_the_mark_is_what_counts() -> None:
    """Whoever reads it, and whenever he has begun: it is never moved."""
    due = timestamp(NOW + 100)
    waiting = retention(claim(due), NOW)
    assert (waiting.delete, waiting.mark, waiting.seconds_left) == (False, None, 100.0)
    assert retention(claim(due), NOW + 101).delete


def test_a_person_decides_otherwise() -> None:
    """At once, or never."""
    assert retention(claim("now"), NOW).delete
    never = retention(claim("never"), NOW + 1e9)
    assert (never.delete, never.seconds_left) == (False, None)


@pytest.mark.parametrize("said", ["tomorrow", "", "2020-01-01", "2020-01-01T00:00:00", "24h", "Never"])
def test_what_is_no_time_deletes_nothing(said: str) -> None:
    """And says what a time looks like."""
    kept = retention(claim(said), NOW)
    assert (kept.delete, kept.seconds_left) == (False, None)
    assert f"{said!r} is no time such as 20" in kept.note
