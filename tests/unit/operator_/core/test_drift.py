"""Drift: what we set and find otherwise, and nothing else."""

from typing import Any

from overspill_operator.core.drift import has_drifted, project

DESIRED: dict[str, Any] = {
    "metadata": {"labels": {"a": "1"}},
    "spec": {
        "replicas": 1,
        "publish": False,
        "containers": [{"name": "engine", "args": ["x", "y"], "limits": {"memory": "2048Mi"}}],
    },
}
LIVE: dict[str, Any] = {
    "metadata": {"labels": {"a": "1", "b": "2"}, "uid": "u"},
    "spec": {
        "replicas": 1,
        "containers": [
            {"name": "sidecar", "image": "s"},
            {"name": "engine", "args": ["x", "y"], "limits": {"memory": "2048Mi"}, "image": "i"},
        ],
    },
    "status": {"replicas": 1},
}


def changed(**spec: Any) -> dict[str, Any]:
    """The live object with another spec."""
    return {**LIVE, "spec": {**LIVE["spec"], **spec}}


def test_what_others_add_is_theirs() -> None:
    """Labels, sidecars and defaults that are not ours are no drift; nor is a false that is not stored."""
    assert not has_drifted(DESIRED, LIVE, None)


def test_an_item_of_a_list_has_no_kind() -> None:
    """The API server leaves it out there; what is compared is what the object says."""
    assert not has_drifted({"apiVersion": "v1", "kind": "Service", **DESIRED}, LIVE, None)


def test_what_is_ours_and_differs_is_drift() -> None:
    """Another value, a missing field, another argument, a missing container."""
    assert has_drifted(DESIRED, changed(replicas=2), None)
    assert has_drifted(DESIRED, {**LIVE, "metadata": {"labels": {"b": "2"}}}, None)
    shorter = [{**LIVE["spec"]["containers"][1], "args": ["x"]}]
    assert has_drifted(DESIRED, changed(containers=shorter), None)
    assert has_drifted(DESIRED, changed(containers=[]), None)


def test_the_servers_own_way_of_writing_is_accepted() -> None:
    """What it answered to the last apply is as good as what was asked for, and nothing else is."""
    engine = {"name": "engine", "args": ["webhook", "x", "y"], "limits": {"memory": "2048Mi"}}
    written = changed(containers=[engine])
    assert has_drifted(DESIRED, written, None)
    accepted = project(DESIRED, written)
    assert not has_drifted(DESIRED, written, accepted)
    other = changed(containers=[{**engine, "args": ["other"]}])
    assert has_drifted(DESIRED, other, accepted)


def test_an_equal_amount_is_no_drift_whoever_remembers() -> None:
    """A process that has just begun knows no answers: it compares what values mean."""
    pairs = [("2048Mi", "2Gi"), ("500m", "0.5"), ("1000m", "1"), ("1", "1"), ("1e3", "1k"), ("0.5Gi", "512Mi")]
    for desired, live in pairs:
        assert not has_drifted({"limits": {"memory": desired}}, {"limits": {"memory": live}}, None), (desired, live)
        assert not has_drifted({"sizeLimit": desired}, {"sizeLimit": live}, None)
        if desired != live:
            assert has_drifted({"value": desired}, {"value": live}, None)
    for wanted, there in [("1Gi", "1G"), ("1", "2"), ("x", "y"), ("1Gi", None), ("1e99999", "1"), ("1.1.1", "1")]:
        assert has_drifted({"limits": {"memory": wanted}}, {"limits": {"memory": there}}, None), (wanted, there)


def test_what_stores_nothing_is_no_drift() -> None:
    """An empty text, list or map is left out by the API server."""
    desired = {"env": [{"name": "A", "value": ""}], "volumes": [], "nodeSelector": {}, "number": 0, "tty": False}
    assert not has_drifted(desired, {"env": [{"name": "A"}]}, None)
