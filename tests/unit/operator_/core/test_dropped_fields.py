"""What of a manifest is not in the API server's answer."""

from typing import Any

from overspill_operator.core.dropped_fields import dropped_fields, explanation

POD: dict[str, Any] = {
    "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "model", "image": {"reference": "r"}}],
    "containers": [{"name": "engine", "args": ["a"], "env": [{"name": "EMPTY", "value": ""}], "tty": False}],
    "nodeSelector": {},
}


def test_what_is_kept_or_written_in_another_way_is_not_dropped() -> None:
    """Defaults, other values, and what stores nothing."""
    answer = {
        "volumes": [*POD["volumes"], {"name": "more"}],
        "containers": [{"name": "engine", "args": ["b"], "env": [{"name": "EMPTY"}], "image": "x"}],
    }
    assert dropped_fields(POD, answer) == []


def test_what_is_dropped_is_named_by_its_path() -> None:
    """In maps, in lists that Kubernetes keys, and in others."""
    answer = {"volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "model", "emptyDir": {}}], "containers": []}
    assert dropped_fields(POD, answer) == ["volumes[model].image", "containers[engine]"]
    assert dropped_fields({"list": [{"a": 1, "b": 2}]}, {"list": [{"a": 1}]}) == ["list[0].b"]


def test_what_is_needed_is_said() -> None:
    """The gate for image volumes by name; for the rest where to look. Many paths are not all named."""
    for path in ("spec.template.spec.volumes[model].image", "spec.template.spec.volumes[model]"):
        assert "ImageVolume" in explanation(["spec.template.spec.containers[engine].volumeMounts[/model]", path])
    assert "upgrade Kubernetes" in explanation(["spec.template.spec.hostUsers"])
    assert explanation([f"spec.a{number}" for number in range(20)]).count("spec.a") == 8
