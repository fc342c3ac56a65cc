"""The main job on real parts: the demo's steps as tests, in their order, with real vLLM."""

import pytest

from e2e import installation, scenario
from e2e.kubernetes_cli import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> scenario.World:
    """One installation that the steps hand on to each other."""
    installation.remove(cluster, scenario.NAMESPACE)
    return scenario.World(cluster, say=print)


@pytest.fixture(scope="module")
def failed_steps() -> list[str]:
    """Steps that failed so far: those after them have nothing to stand on."""
    return []


@pytest.mark.parametrize(("name", "step"), scenario.STEPS, ids=[name for name, _ in scenario.STEPS])
def test_step_of_the_main_job(name: str, step: scenario.Step, world: scenario.World, failed_steps: list[str]) -> None:
    """Each step of the main job happens; what was seen is printed."""
    if failed_steps:
        pytest.fail(f"not tried: an earlier step failed ({failed_steps[0]})")
    failed_steps.append(name)
    print(step(world))
    failed_steps.remove(name)
