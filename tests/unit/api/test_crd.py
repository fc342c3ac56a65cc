"""The generated CRDs: forms that Kubernetes asks for, promises that ``kubectl explain`` and ``get`` rely on."""

from collections.abc import Iterator
from typing import Any

import pytest

from overspill_api.crd import consumer_crd, modelroute_crd, unwrap

Schema = dict[str, Any]
CRDS = [modelroute_crd(), consumer_crd()]
IDS = ["ModelRoute", "Consumer"]


def root(crd: Schema) -> Schema:
    """The schema of the one version."""
    schema: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """All schemas below one, with their paths."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from fields(field, f"{path}.{name}")
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")


@pytest.mark.parametrize("crd", CRDS, ids=IDS)
def test_schemas_are_structural(crd: Schema) -> None:
    """Every field has a type; no references, no alternatives, no keyword that Kubernetes forbids."""
    forbidden = {"$ref", "$defs", "anyOf", "allOf", "oneOf", "title", "additionalProperties", "const"}
    for path, schema in fields(root(crd)):
        assert "type" in schema, path
        assert not forbidden & schema.keys(), path


@pytest.mark.parametrize("crd", CRDS, ids=IDS)
def test_every_field_is_described_in_one_piece(crd: Schema) -> None:
    """``kubectl explain`` wraps lines itself, so descriptions hold none."""
    for path, schema in fields(root(crd)):
        if path and "metadata" not in path and not path.endswith("[]"):
            assert schema.get("description"), path
        description = schema.get("description", "").replace("\n\n", " ")
        assert "\n" not in description, path
        assert "``" not in description, path


@pytest.mark.parametrize("crd", CRDS, ids=IDS)
def test_nothing_in_a_spec_hides_other_mistakes(crd: Schema) -> None:
    """Neither ``required`` nor ``enum`` stands in a spec: either would keep the API server from checking the rules."""
    for path, schema in fields(root(crd)["properties"]["spec"]):
        assert not {"required", "enum", "pattern"} & schema.keys(), path
    assert "required" not in root(crd)


@pytest.mark.parametrize("crd", CRDS, ids=IDS)
def test_all_texts_and_lists_in_a_spec_are_bounded(crd: Schema) -> None:
    """Rules have a budget that the API server computes from the bounds."""
    for path, schema in fields(root(crd)["properties"]["spec"]):
        if schema["type"] == "array":
            assert "maxItems" in schema, path
        rules = schema.get("x-kubernetes-validations", [])
        if schema["type"] == "string" and any("matches" in rule["rule"] for rule in rules):
            assert "maxLength" in schema, path


@pytest.mark.parametrize("crd", CRDS, ids=IDS)
def test_conditions_merge_by_type(crd: Schema) -> None:
    """Conditions are a list-map, as in Kubernetes' own objects."""
    conditions = root(crd)["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert set(conditions["items"]["required"]) >= {"type", "status", "reason", "lastTransitionTime"}


def test_a_fields_own_words_win_over_those_of_its_type() -> None:
    """``spec.rateLimit`` of a Consumer says what it means there, not what the type means elsewhere."""
    spec = root(consumer_crd())["properties"]["spec"]["properties"]
    assert spec["rateLimit"]["description"] == "Limits over all routes together."


def test_static_defaults_stand_in_the_schema_and_empty_ones_do_not() -> None:
    """``kubectl get -o yaml`` shows what holds, without a clutter of empty lists."""
    spec = root(modelroute_crd())["properties"]["spec"]["properties"]
    assert spec["scaling"]["default"] == {}
    assert spec["scaling"]["properties"]["maxReplicas"]["default"] == 1
    assert spec["timeouts"]["properties"]["connect"]["default"] == "2s"
    assert "default" not in spec["aliases"]
    assert "default" not in spec["selfHosted"]["properties"]["podTemplate"]
    assert "default" not in spec["hosted"]["items"]["properties"]["limits"]


def test_scale_and_columns() -> None:
    """What kubectl scale, autoscalers and ``kubectl get mr`` read."""
    version = modelroute_crd()["spec"]["versions"][0]
    assert version["subresources"]["scale"] == {
        "specReplicasPath": ".spec.scaling.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    columns = version["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == [
        "Model", "Ready", "Reason", "Replicas", "Desired", "Spend", "Age",
    ]  # fmt: skip
    assert [column["name"] for column in columns if column.get("priority")] == [
        "Rolled-out",
        "Load",
        "URL",
        "Served-by",
    ]


def test_lines_are_joined_and_paragraphs_kept() -> None:
    """Docstrings are wrapped for the source, not for the terminal."""
    assert unwrap("One\n    two ``three``.\n\n    Four.") == "One two three.\n\nFour."
