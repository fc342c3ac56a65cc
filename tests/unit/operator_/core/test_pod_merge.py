"""The pod template that a person writes, over the generated one, as a strategic merge patch."""

from typing import Any

import pytest

from overspill_operator.core.pod_merge import MergeError, merge

BASE: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000},
    "containers": [
        {
            "name": "engine",
            "args": ["m", "--a", "--b"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "livenessProbe": {"httpGet": {"path": "/health"}},
        }
    ],
    "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "cache", "persistentVolumeClaim": {"claimName": "c"}}],
    "tolerations": [{"key": "gpu"}],
}


def merged(patch: dict[str, Any]) -> dict[str, Any]:
    """The base with a patch over it."""
    return merge(BASE, patch, "podTemplate")


def test_one_field_of_a_map_is_taken_away_by_naming_those_that_stay() -> None:
    """``kubectl apply`` drops nulls; it keeps directives."""
    only = merged({"securityContext": {"$retainKeys": ["runAsNonRoot"]}})
    assert only["securityContext"] == {"runAsNonRoot": True}
    more = merged({"securityContext": {"$retainKeys": ["runAsNonRoot", "runAsGroup"], "runAsGroup": 5}})
    assert more["securityContext"] == {"runAsNonRoot": True, "runAsGroup": 5}


def test_a_null_that_arrives_removes_as_well() -> None:
    """Server-side apply keeps it."""
    assert merged({"securityContext": {"runAsUser": None}})["securityContext"] == {
        "runAsNonRoot": True,
        "fsGroup": 1000,
    }
    assert merged({"new": {"a": None, "b": 1}})["new"] == {"b": 1}


def test_a_map_is_replaced_or_deleted() -> None:
    """Whole."""
    assert merged({"securityContext": {"$patch": "replace", "fsGroup": 1}})["securityContext"] == {"fsGroup": 1}
    assert "securityContext" not in merged({"securityContext": {"$patch": "delete"}})
    probe = merged({"containers": [{"name": "engine", "livenessProbe": {"$patch": "delete"}}]})
    assert "livenessProbe" not in probe["containers"][0]


def test_an_item_of_a_keyed_list_is_deleted_or_replaced() -> None:
    """By its key; the others stay."""
    patch = {"containers": [{"name": "engine", "env": [{"name": "A", "$patch": "delete"}]}]}
    assert merged(patch)["containers"][0]["env"] == [{"name": "B", "value": "2"}]
    volume = {"name": "cache", "$patch": "replace", "emptyDir": {}}
    assert merged({"volumes": [volume]})["volumes"][1] == {"name": "cache", "emptyDir": {}}
    retained = {"name": "cache", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}
    assert merged({"volumes": [retained]})["volumes"][1] == {"name": "cache", "emptyDir": {}}
    assert len(merged({"volumes": [{"name": "none", "$patch": "delete"}]})["volumes"]) == 2


def test_a_list_is_replaced() -> None:
    """A keyed one by a directive, another one always; an empty one takes all away."""
    assert merged({"volumes": [{"$patch": "replace"}, {"name": "x"}]})["volumes"] == [{"name": "x"}]
    assert merged({"volumes": [{"$patch": "replace"}]})["volumes"] == []
    assert merged({"tolerations": []})["tolerations"] == []


def test_values_are_taken_out_of_a_list_and_lists_are_ordered() -> None:
    """The two directives that speak of a field beside them."""
    engine = {"name": "engine", "$deleteFromPrimitiveList/args": ["--a"]}
    assert merged({"containers": [engine]})["containers"][0]["args"] == ["m", "--b"]
    order = {"$setElementOrder/volumes": [{"name": "cache"}, {"name": "scratch"}]}
    assert [volume["name"] for volume in merged(order)["volumes"]] == ["cache", "scratch"]
    added = {"initContainers": [{"name": "b"}, {"name": "a"}], "$setElementOrder/initContainers": [{"name": "a"}]}
    assert [item["name"] for item in merged(added)["initContainers"]] == ["a", "b"]


def test_directives_never_reach_the_pod() -> None:
    """Also those in what is new."""
    new = {"affinity": {"$retainKeys": ["a"], "a": {"$patch": "replace", "b": [{"$patch": "merge", "c": 1}]}}}
    assert merged(new)["affinity"] == {"a": {"b": [{"c": 1}]}}


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        (
            {"securityContext": {"$patch": "remove"}},
            r"podTemplate.securityContext.\$patch must be merge",
        ),
        ({"$keep": ["a"]}, r"podTemplate.\$keep is no directive"),
        ({"$retainKeys": "a"}, r"podTemplate.\$retainKeys must be a list"),
        ({"$deleteFromPrimitiveList/securityContext": ["a"]}, "speaks of a field that is no list"),
        ({"securityContext": []}, "podTemplate.securityContext must be a map"),
        ({"volumes": {}}, "podTemplate.volumes must be a list"),
        ({"volumes": [{"emptyDir": {}}]}, "must be a list of maps that each have name"),
    ],
)
def test_what_is_no_patch_is_named_by_its_place(patch: dict[str, Any], words: str) -> None:
    """A person finds it in his own file."""
    with pytest.raises(MergeError, match=words):
        merged(patch)
