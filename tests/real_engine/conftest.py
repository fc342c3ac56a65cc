"""One world for all tests: starting vLLM takes longer than all that is done with it."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from client_leftovers import pytest_unconfigure
from real_engine.processes import Engine
from real_engine.world import KEY, World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway, and engines on their way: one that stays and two to be killed."""
    made = World(tmp_path_factory.mktemp("world"))
    try:
        made.start_engines(3)
        made.gateway.wait_for(f"{made.gateway.admin_url}/readyz")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def engine(world: World) -> Engine:
    """The engine that nobody kills."""
    return world.engine()


@pytest.fixture(scope="session")
def model(world: World, engine: Engine) -> str:
    """A route over that engine."""
    return world.route("tiny", [engine])


@pytest.fixture
def client(world: World) -> Iterator[openai.OpenAI]:
    """The openai SDK; it tries once, so that a failure is seen."""
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=KEY, max_retries=0, timeout=30) as made:
        yield made


__all__ = ["pytest_unconfigure"]
