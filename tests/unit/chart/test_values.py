"""The chart's values and metadata, checked without Helm; what Helm makes of them is in tests/integration."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from overspill_api.chart_values import ChartValues
from overspill_api.profile import Profile

CHECKOUT = Path(__file__).resolve().parents[3]
CHART = CHECKOUT / "charts" / "overspill"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
TEMPLATES = "\n".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all values that are not maps with fixed names."""
    for name, value in values.items():
        if isinstance(value, dict) and value and name not in ("profiles", "resources"):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def test_the_defaults_fit_the_types() -> None:
    """Every value that values.yaml has is one that the schema knows, and none is missing."""
    ChartValues.model_validate(VALUES)


@pytest.mark.parametrize("path", list(leaves(VALUES)), ids=".".join)
def test_every_value_is_used(path: tuple[str, ...]) -> None:
    """A value that no template reads would be a promise that nothing keeps."""
    # A part of the templates may get the value's parent: the name and its parent's name stand there.
    assert re.search(rf"\.{path[-1]}\b", TEMPLATES), path
    assert len(path) == 1 or re.search(rf"\b{path[0]}\b", TEMPLATES), path


@pytest.mark.parametrize("name", VALUES["profiles"])
def test_profiles_are_whole(name: str) -> None:
    """Each profile that ships has an image of a fixed version, bounds for memory, and a price where it has GPUs."""
    profile = Profile.model_validate(VALUES["profiles"][name])
    assert re.search(r":v?\d+\.\d+\.\d+$", profile.image)
    assert "memory" in profile.resources["limits"]
    assert (profile.usd_per_replica_hour is not None) == (profile.gpus is not None)


def test_a_profile_with_a_misspelt_field_is_refused() -> None:
    """The types behind the schema take no unknown field on any level."""
    values = {**VALUES, "profiles": {"cpu": {**VALUES["profiles"]["cpu"], "imgae": "x"}}}
    with pytest.raises(ValidationError, match="imgae"):
        ChartValues.model_validate(values)


def test_the_charts_version_is_the_projects() -> None:
    """The images' default tag is the version that is built from this checkout."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]
    assert VALUES["profiles"]["cpu"]["image"].endswith(f":{project['version']}")
