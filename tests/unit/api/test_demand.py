"""Contract 2: either side may be the newer one while an update rolls, and a line says no more than it has to."""

import json
from itertools import pairwise
from math import inf
from pathlib import Path

import pytest

from overspill_api.demand import (
    DEMAND_VERSION,
    FIRST_TOKEN_BOUNDS,
    INTER_TOKEN_BOUNDS,
    EngineDemand,
    GatewayDemand,
    HistogramDemand,
    RouteDemand,
    SpilledDemand,
    WorkDemand,
    bound_name,
)
from unit.demand_version_1 import OldLine, OldRoute

VERSION_1 = (Path(__file__).parent / "data" / "demand-version-1.jsonl").read_bytes().splitlines()
"""What a gateway of version 1 wrote: all routes, a first request that is held, a replica that came, three answers."""


NEW = GatewayDemand(
    gateway="g/1",
    now_unix_seconds=5.0,
    version=DEMAND_VERSION,
    uptime_seconds=3.0,
    sends_engine_keys=True,
    refused=(),
    routes=(
        RouteDemand(
            route="ns/a",
            uid="u",
            held=2,
            in_flight_spilled=1,
            last_arrival_unix_seconds=4.0,
            arrivals_total=9,
            work={
                "local": WorkDemand(answers_total=6, first_token=HistogramDemand(counts={"0.1": 6}, seconds_sum=0.5))
            },
            spilled=SpilledDemand(requests_total=1, prompt_tokens_total=40),
            refused_total={"QueueFull": 3},
            engines=(EngineDemand(served_by="local/a-0", running=6, waiting=0, kv_cache_usage=0.5, age_seconds=0.4),),
        ),
        RouteDemand(route="ns/idle"),
    ),
)


def test_an_operator_of_version_1_reads_a_newer_gateway() -> None:
    """What it knows is where it was; what it does not know it does not see."""
    line = OldLine.model_validate_json(NEW.model_dump_json(exclude_defaults=True))

    assert (line.gateway, line.sends_engine_keys, line.refused) == ("g/1", True, ())
    busy, idle = line.routes
    assert (busy.uid, busy.held, busy.in_flight_spilled, busy.last_arrival_unix_seconds) == ("u", 2, 1, 4.0)
    assert (idle.route, idle.held, idle.wants_replica, idle.backends) == ("ns/idle", 0, False, {})


@pytest.mark.parametrize("line", VERSION_1)
def test_lines_of_version_1_read_as_they_did(line: bytes) -> None:
    """All that they say, and that they are of version 1: what they do not say nobody knows."""
    said = GatewayDemand.model_validate_json(line)

    assert said.version == 1
    told = OldLine.model_validate_json(line).model_dump()
    again = said.model_dump(include=set(told))
    known = [{name: route[name] for name in OldRoute.model_fields} for route in again["routes"]]
    assert again | {"routes": tuple(known)} == told


def test_a_line_reads_back_as_it_was_written() -> None:
    """What is left out is what it would be anyway."""
    assert GatewayDemand.model_validate_json(NEW.model_dump_json(exclude_defaults=True)) == NEW


def test_a_route_that_nobody_asks_costs_its_name() -> None:
    """A thousand of them are in the first line of every reader."""
    text = RouteDemand(route="ns/idle", uid="u").model_dump_json(exclude_defaults=True)

    assert json.loads(text) == {"route": "ns/idle", "uid": "u"}


@pytest.mark.parametrize("bounds", [FIRST_TOKEN_BOUNDS, INTER_TOKEN_BOUNDS])
def test_bounds_rise_to_no_end_and_have_names_of_their_own(bounds: tuple[float, ...]) -> None:
    """So that each value has one place, and each place one name."""
    assert all(before < after for before, after in pairwise(bounds))
    assert bounds[-1] == inf
    names = [bound_name(bound) for bound in bounds]
    assert len(set(names)) == len(bounds)
    assert [float(name) for name in names] == list(bounds)
