"""The recipe for kind, run with commands that only write down how they were called. Docker is not needed."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.images import IMAGES
from cluster.places import CHECKOUT

RECIPE = CHECKOUT / "tests" / "cluster" / "kind.sh"
PLAYED = ("docker", "kind", "kubectl", "helm")


@pytest.fixture
def played(tmp_path: Path) -> Path:
    """A folder with the four commands; each call adds a line to `calls` there."""
    for name in PLAYED:
        path = tmp_path / name
        clusters = '[ "$1 $2" = "get clusters" ] && cat "$0.clusters" 2>/dev/null\n' if name == "kind" else ""
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{tmp_path}/calls"\n{clusters}exit 0\n')
        path.chmod(0o755)
    return tmp_path


def run_recipe(played: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """The recipe with the played commands first on the PATH."""
    environment = {**os.environ, "PATH": path or f"{played}:{os.environ['PATH']}"}
    command = ["/bin/sh", str(RECIPE), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def calls(played: Path) -> list[str]:
    """What was called, in order."""
    return (played / "calls").read_text().splitlines()


def test_a_dry_run_calls_nothing_and_names_only_files_that_exist(played: Path) -> None:
    """Each path that a command would read is in the checkout."""
    ran = run_recipe(played, "--dry-run")
    assert ran.returncode == 0, ran.stderr
    assert not (played / "calls").exists()
    named = re.findall(r"(?:-f|--config|--values|--install overspill) (\S+)", ran.stdout)
    assert len(named) >= 8
    assert [path for path in named if not (CHECKOUT / path).exists()] == []


def test_the_images_of_the_chart_values_are_built_loaded_and_then_installed(played: Path) -> None:
    """Given no cluster, then all images are there before helm asks for them, under the names of the values file."""
    assert run_recipe(played).returncode == 0
    made = calls(played)
    built = {call.split(" -t ")[1].split()[0] for call in made if call.startswith("docker build")}
    loaded = {call.split()[3] for call in made if call.startswith("kind load")}
    assert built == loaded == {f"localhost/{image.name}:dev" for image in IMAGES}
    values = yaml.safe_load((CHECKOUT / "charts/overspill/values-local.yaml").read_text())
    wanted = {f"{image['repository']}:{image['tag']}" for image in values["images"].values()}
    wanted |= {profile["image"] for profile in values["profiles"].values()}
    assert wanted <= built
    install = next(number for number, call in enumerate(made) if call.startswith("helm"))
    assert max(number for number, call in enumerate(made) if call.startswith("kind load")) < install
    assert made[-1].endswith("manifests/samples/cpu-tiny.yaml")


def test_the_dockerfiles_are_the_ones_that_the_local_cluster_builds(played: Path) -> None:
    """Both ways to a cluster run the same images."""
    assert run_recipe(played).returncode == 0
    built = {call.split()[3] for call in calls(played) if call.startswith("docker build")}
    assert built == {image.dockerfile for image in IMAGES}


def test_a_running_cluster_is_kept(played: Path) -> None:
    """Given the cluster, when the recipe runs again, then it is brought up to date, not created."""
    (played / "kind.clusters").write_text("other\noverspill\n")
    assert run_recipe(played).returncode == 0
    assert not [call for call in calls(played) if call.startswith("kind create")]
    assert [call for call in calls(played) if call.startswith("helm upgrade --install")]


@pytest.mark.parametrize("missing", PLAYED)
def test_a_missing_command_is_named_before_anything_is_started(played: Path, missing: str) -> None:
    """One sentence, with the way out."""
    (played / missing).unlink()
    (played / "dirname").symlink_to("/usr/bin/dirname")
    ran = run_recipe(played, path=str(played))
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"error: {missing} is not on the PATH")
    assert "make cluster-up" in ran.stderr
    assert not (played / "calls").exists()


def test_a_docker_that_does_not_answer_is_said(played: Path) -> None:
    """A daemon that is down or out of bounds is the usual trouble."""
    (played / "docker").write_text("#!/bin/sh\nexit 1\n")
    ran = run_recipe(played)
    assert ran.returncode == 1
    assert "docker is installed but does not answer" in ran.stderr
