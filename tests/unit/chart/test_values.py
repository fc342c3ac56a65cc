"""The chart's values and metadata, checked without Helm; what Helm makes of them is in tests/integration."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from overspill_api.chart_values import ChartValues, values_schema
from overspill_api.profile import LocalRun, Profile

CHECKOUT = Path(__file__).resolve().parents[3]
CHART = CHECKOUT / "charts" / "overspill"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_defaults_fit_the_types() -> None:
    """Every value that values.yaml has is one that the schema knows, and none is missing."""
    ChartValues.model_validate(VALUES)


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


def test_the_chart_asks_for_an_image_and_a_file_for_one_machine_does_not() -> None:
    """A pod can't do without; what overspill serve reads is the same otherwise."""
    schema = values_schema()["definitions"]["Profile"]
    assert schema["required"] == ["image"]
    assert "default" not in schema["properties"]["image"]
    values = {**VALUES["profiles"]["cpu"], "local": {"command": ["engine", "--port={port}"], "memory": "2Gi"}}
    assert Profile.model_validate(values).local.memory == "2Gi"
    assert Profile.model_validate({}).local == LocalRun()


@pytest.mark.parametrize(
    "local",
    [
        {"memory": "20"}, {"asleepMemory": "1 Gi"}, {"healthPath": "health"}, {"command": [""]}, {"command": "engine"},
        {"group": ""}, {"comand": []},
    ],
)  # fmt: skip
def test_what_a_profile_cannot_say_of_one_machine_is_refused(local: dict[str, Any]) -> None:
    """Sizes have units, paths begin with a slash, a command is a list."""
    with pytest.raises(ValidationError):
        Profile.model_validate({"local": local})


def test_the_charts_version_is_the_projects() -> None:
    """The images' default tag is the version that is built from this checkout."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]
    assert VALUES["profiles"]["cpu"]["image"].endswith(f":{project['version']}")
