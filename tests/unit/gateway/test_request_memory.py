"""What requests leave behind for the garbage collector: nothing, however they end.

The gateway lets it look seldom, since requests are freed as soon as they are over: cycles would pile up until it looks.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from overspill_gateway.core.admission.request_state import RequestState
from overspill_gateway.proxy.attempt import Attempt, AttemptOwner
from overspill_gateway.proxy.relay import Relay
from overspill_gateway.proxy.request_context import RequestContext
from unit.gateway.harness import GatewayUnderTest, eventually
from unit.gateway.test_faults_of_ours import SCENES, scene

COUNTED = (AttemptOwner, Attempt, RequestState, Relay, RequestContext)
REQUESTS = 3


def left() -> Counter[str]:
    """Objects of requests that are still there."""
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, COUNTED))


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Nothing is freed but by its last reference."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.usefixtures("no_collector")
async def test_a_request_is_freed_when_it_is_over(name: str) -> None:
    """Served, refused, failed over, hedged, gone on with, held, left by its client: no object of it is left."""
    async with scene(name) as this:
        for _ in range(REQUESTS):
            await this.ask()

        await eventually(lambda: not left())


@pytest.mark.usefixtures("no_collector")
async def test_so_is_one_that_was_not_let_in(gateway: GatewayUnderTest) -> None:
    """Whoever is beyond a limit may ask as often as it likes."""
    gateway.route(
        per_consumer={"requests_per_minute": 1}, overflow={"on_cold_start": "Hold", "hold_timeout_seconds": 0.01}
    )
    await gateway.post()
    for _ in range(REQUESTS):
        assert (await gateway.post()).status == 429

    await eventually(lambda: not left())
