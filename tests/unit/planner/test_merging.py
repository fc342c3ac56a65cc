"""Merge patches, as RFC 7396 has them."""

from typing import Any

import pytest

from overspill_planner.merging import merged, patch_of, value_at


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": "foo"}, {"a": {"b": "c"}}, {"a": {"b": "c"}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_of_the_standard(target: Any, patch: Any, result: Any) -> None:
    """Examples of its appendix; what was there is not changed."""
    before = repr(target)

    assert merged(target, patch) == result
    assert repr(target) == before


def test_a_patch_by_paths_sets_what_stands_there() -> None:
    """Several of one object go into one."""
    patch = patch_of({"scaling.minReplicas": 1, "scaling.targets.concurrency": 8, "overflow.timeToFirstToken": "2s"})

    assert patch == {
        "scaling": {"minReplicas": 1, "targets": {"concurrency": 8}},
        "overflow": {"timeToFirstToken": "2s"},
    }
    changed = merged({"scaling": {"maxReplicas": 3}}, patch)
    assert value_at(changed, "scaling.targets.concurrency") == 8
    assert value_at(changed, "scaling.maxReplicas") == 3
    assert value_at(changed, "scaling.targets.queueDepth") is None
    assert value_at(changed, "hosted.name") is None
