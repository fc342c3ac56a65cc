"""What is generated from the types is what stands in the repository."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from api.generate.files import as_files
from overspill_api.consumer import ConsumerSpec
from overspill_api.modelroute import ModelRouteSpec

CHECKOUT = Path(__file__).resolve().parents[3]


def test_generated_files_have_not_drifted() -> None:
    """A change of a type comes with `make generate`."""
    files = as_files()
    assert files
    drifted = [path for path, text in files.items() if (CHECKOUT / path).read_text() != text]
    assert drifted == [], "these have drifted from the types: run `make generate`"


@pytest.mark.parametrize(
    "sample", sorted((CHECKOUT / "manifests" / "samples").glob("*.yaml")), ids=lambda path: path.name
)
def test_samples_are_good_specs(sample: Path) -> None:
    """Every sample is what the types take."""
    models: dict[str, type[BaseModel]] = {"ModelRoute": ModelRouteSpec, "Consumer": ConsumerSpec}
    for document in yaml.safe_load_all(sample.read_text()):
        assert document["apiVersion"] == "overspill.dev/v1alpha1"
        models[document["kind"]].model_validate(document["spec"])
