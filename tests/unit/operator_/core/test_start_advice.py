"""What is said to shorten a start: of its longest phase, and only what the route does not have yet."""

import pytest

from overspill_api.modelroute import SelfHosted
from overspill_operator.core.scaling.load_times import (
    ENGINE_START,
    FAILED_STARTS,
    IMAGE,
    PHASES,
    SCHEDULED,
    VOLUMES,
    WEIGHTS,
    Phase,
    Start,
)
from overspill_operator.core.start_advice import advice


def start(*phases: tuple[tuple[str, ...], float]) -> Start:
    """A start of these phases."""
    return Start("r", 0.0, tuple(Phase(parts, seconds) for parts, seconds in phases))


def engine(source: str = "hf://a/b", **more: object) -> SelfHosted:
    """An engine."""
    return SelfHosted.model_validate({"source": source, "profile": "p", **more})


def test_it_speaks_of_the_longest_phase() -> None:
    """With its share."""
    told = advice(start(((SCHEDULED,), 1.0), ((IMAGE,), 60.0), ((WEIGHTS, ENGINE_START), 39.0)), engine())
    assert told.startswith("The longest part was image (60 %). Have it on the nodes before")


def test_a_short_start_is_left_alone() -> None:
    """Nobody needs advice on nine seconds."""
    assert advice(start(((IMAGE,), 9.0)), engine()) == ""


def test_a_cache_is_advised_to_whom_it_would_help() -> None:
    """Not to one who has it."""
    loading = start(((IMAGE,), 1.0), ((WEIGHTS, ENGINE_START), 60.0))
    assert "Set spec.selfHosted.cache: it keeps weights" in advice(loading, engine())
    assert "quicker storage" in advice(loading, engine(cache={"size": "10Gi"}))
    assert "spec.selfHosted.cache keeps compiled kernels" in advice(loading, engine("pvc://claim/m"))


def test_an_engine_that_fails_is_what_matters() -> None:
    """A look at its log comes first."""
    assert "kubectl logs --previous" in advice(start(((IMAGE, FAILED_STARTS), 60.0)), engine())


@pytest.mark.parametrize("first", PHASES)
@pytest.mark.parametrize("last", PHASES)
def test_there_is_a_word_on_whatever_is_told_together(first: str, last: str) -> None:
    """And status takes it."""
    told = advice(start(((first, last), 60.0)), None)
    assert told.endswith(".")
    assert len(told) <= 512


def test_of_phases_told_together_the_last_one_is_spoken_of() -> None:
    """An image takes longer than volumes."""
    assert "Have it on the nodes" in advice(start(((VOLUMES, IMAGE), 60.0)), engine())
