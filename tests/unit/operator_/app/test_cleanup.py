"""Cleaning up deletes what this release has made, and nothing of another one."""

from typing import Any

import pytest

from overspill_operator.app.cleanup import is_own


@pytest.mark.parametrize(
    ("labels", "own"),
    [
        ({"overspill.dev/release": "mine", "overspill.dev/route": "a"}, True),
        ({"overspill.dev/release": "theirs", "overspill.dev/route": "a"}, False),
        ({"overspill.dev/release": "theirs", "overspill.dev/route": "compiled"}, False),
        ({"overspill.dev/route": "compiled"}, True),
        ({"overspill.dev/route": "a"}, False),
    ],
)
def test_whose_an_engine_is(labels: dict[str, str], *, own: bool) -> None:
    """The label says so; one from before there was a label belongs to whoever compiled its route."""
    item: dict[str, Any] = {"metadata": {"namespace": "chat", "name": "x", "labels": labels}}
    assert is_own(item, "mine", {("chat", "compiled")}) is own
