"""Contract 2: either side may be the newer one while an update rolls, and a line says no more than it has to."""

import json
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

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

VERSION_1 = (Path(__file__).parent / "data" / "demand-version-1.jsonl").read_bytes().splitlines()
"""What a gateway of version 1 wrote: all routes, a first request that is held, a replica that came, three answers."""


class OldBase(BaseModel):
    """The models of version 1, as they were."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class OldProblem(OldBase):
    """Why a backend fails."""

    reason: str
    message: str = ""
    since_unix_seconds: float = 0.0
    failures: int = 0


class OldBackend(OldBase):
    """Counters of a backend."""

    served_total: int = 0
    errors_total: int = 0
    cost_nano_usd_total: int = 0
    problem: OldProblem | None = None


class OldBudget(OldBase):
    """A budget."""

    period_start_unix_seconds: float
    limit_nano_usd: int
    charged_nano_usd: int = 0
    exhausted: bool = False


class OldRoute(OldBase):
    """A route."""

    route: str
    uid: str = ""
    in_flight_local: int = 0
    in_flight_spilled: int = 0
    held: int = 0
    wants_replica: bool = False
    last_arrival_unix_seconds: float | None = None
    backends: dict[str, OldBackend] = Field(default={})
    budget: OldBudget | None = None


class OldRefused(OldBase):
    """A document that can't be used."""

    kind: Literal["route", "consumer"]
    key: str
    generation: int = 0
    message: str = ""


class OldLine(OldBase):
    """A line."""

    gateway: str
    now_unix_seconds: float
    routes: tuple[OldRoute, ...] = ()
    refused: tuple[OldRefused, ...] | None = None
    sends_engine_keys: bool = False


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
