"""The fault matrix, row by row: what a client sees of a backend's fault, what is counted, what is charged."""

from dataclasses import replace

import pytest

from unit.gateway import faults
from unit.gateway.fault_observer import Observation, Pool, observe_all
from unit.gateway.faults import CONTINUABLE, FAULTS, Fault, Mode, Outcome

STREAMED_STATUSES = {"answers 400", "answers 401", "answers 404, as a hosted API", "answers 429", "answers 500"}
"""Statuses that the quick tier tries of streamed requests: as of plain ones, where it tries all."""


def case(fault: Fault, mode: Mode, outcome: Outcome) -> object:
    """A row and how the request asks; in which tier."""
    repeats = fault in faults.STATUSES and mode is Mode.STREAM and fault.name not in STREAMED_STATUSES
    marks = [pytest.mark.exhaustive] if repeats else []
    return pytest.param(fault, mode, outcome, id=f"{fault.name}-{mode}", marks=marks)


CASES = [case(fault, mode, outcome) for fault in FAULTS for mode, outcome in fault.outcomes()]


@pytest.mark.parametrize(("fault", "mode", "outcome"), CASES)
async def test_a_fault_ends_as_the_matrix_says(fault: Fault, mode: Mode, outcome: Outcome) -> None:
    """With each kind of backend, alone and with another that can take over."""
    seen = await observe_all(fault, mode)

    assert_as_expected(seen, outcome)


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", [one for one in FAULTS if one.stream is not None], ids=lambda fault: fault.name)
async def test_so_it_does_among_many_streams(fault: Fault) -> None:
    """Where chunks are so many that streams are read together, no fault ends otherwise."""
    assert fault.stream is not None
    assert_as_expected(await observe_all(fault, Mode.STREAM, together=True), fault.stream)


@pytest.mark.parametrize("fault", CONTINUABLE, ids=lambda fault: fault.name)
async def test_where_the_route_says_so_another_backend_goes_on(fault: Fault) -> None:
    """With onStreamFailure: Continue the stream ends properly and is marked; the failed attempt counts as before."""
    seen = await observe_all(fault, Mode.STREAM, on_stream_failure="Continue")

    assert fault.stream is not None
    assert_as_expected(seen, replace(fault.stream, other=faults.CONTINUED))


def assert_as_expected(seen: dict[Pool, Observation], outcome: Outcome) -> None:
    """Each pool shows what the matrix says."""
    # Two replicas are counted together: the other's tokens say nothing of the first one's.
    wanted = {pool: expected(outcome, pool) for pool in seen}
    seen = {
        pool: replace(one, tokens=wanted[pool].tokens) if pool.other == "replica" else one for pool, one in seen.items()
    }
    wrong = [f"{pool}: {one}, NOT {wanted[pool]}" for pool, one in seen.items() if one != wanted[pool]]
    if wrong:
        pytest.fail("\n".join(wrong))


def expected(outcome: Outcome, pool: Pool) -> Observation:
    """What is to be seen in a pool."""
    alone = (outcome.alone_replica if pool.first == "replica" else "") or outcome.alone
    charged = outcome.charged if pool.first == "hosted API" else faults.NOTHING
    other = (outcome.other_replica if pool.first == pool.other == "replica" else "") or outcome.other
    return Observation(other if pool.other else alone, outcome.counted, outcome.tokens, charged)
