"""The image and the compose file for one machine: their forms, and that what they name is there.

``compose-spec.json`` is the Compose Specification's schema, as it is in compose-go 2.16.2 (Apache-2.0).
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from overspill_box.environments.recipes import VLLM_VERSION
from overspill_cli.main import parser

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "box" / "compose.yaml").read_text())
SERVICE: dict[str, Any] = COMPOSE["services"]["overspill"]
DOCKERFILE = (ROOT / "box" / "Dockerfile").read_text()


def test_the_compose_file_is_what_its_specification_says() -> None:
    """And a field that the specification does not know is found."""
    validator = jsonschema_rs.validator_for(SCHEMA)

    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    wrong = COMPOSE | {"services": {"overspill": SERVICE | {"comand": []}}}
    assert [error.message for error in validator.iter_errors(wrong)] != []


def test_what_it_mounts_and_builds_is_there() -> None:
    """Folders of the host, declared volumes, and the Dockerfile."""
    for volume in SERVICE["volumes"]:
        source = volume.partition(":")[0]
        assert (ROOT / "box" / source).is_dir() if source.startswith(".") else source in COMPOSE["volumes"]
    build = SERVICE["build"]
    assert (ROOT / "box" / build["context"] / build["dockerfile"]).is_file()


@pytest.mark.parametrize("words", [SERVICE["command"], ["serve", "--status"]], ids=["command", "health"])
def test_its_commands_can_be_typed(words: list[str]) -> None:
    """The options are those of `overspill serve`."""
    assert parser().parse_args(words).command == "serve"
    assert SERVICE["healthcheck"]["test"][1:] == ["overspill", "serve", "--status"]


def test_nobody_else_reaches_it_unless_somebody_wants_that() -> None:
    """Loopback of the host, no root, no capabilities; inside, keys are asked for."""
    assert all(port.startswith("127.0.0.1:") for port in SERVICE["ports"])
    assert SERVICE["cap_drop"] == ["ALL"]
    assert re.search(r"(?m)^USER 65534:65534$", DOCKERFILE)
    assert "--no-auth" not in " ".join([*SERVICE["command"], DOCKERFILE])


def test_the_image_copies_what_is_there_and_has_the_vllm_of_the_charts_profiles() -> None:
    """Everything that is copied lies in the checkout, and one version of vLLM is spoken of."""
    copied = [word for line in re.findall(r"(?m)^COPY (.*)$", DOCKERFILE) for word in shlex.split(line)[:-1]]

    assert copied
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert f"vllm/vllm-openai:v{VLLM_VERSION}" in DOCKERFILE
    assert f"vllm/vllm-openai:v{VLLM_VERSION}" in (ROOT / "charts/overspill/values.yaml").read_text()
