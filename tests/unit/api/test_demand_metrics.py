"""Contract 2 as metrics: what goes out as series comes back as the same line, and what cannot be stays what it is."""

import json
from math import inf, nan

import pytest

from overspill_api.demand import (
    EngineDemand,
    GatewayDemand,
    HistogramDemand,
    RouteDemand,
    SpilledDemand,
    WorkDemand,
)
from overspill_api.demand_metrics import PREFIX, Gathered, family_of, kind_of, process_samples, route_samples

WORK = WorkDemand(
    answers_total=7, prompt_tokens_total=900, output_tokens_total=80, request_seconds_total=12.25,
    first_token=HistogramDemand(counts={"0.1": 3, "0.5": 2, "+Inf": 1}, seconds_sum=90.5),
    first_token_since_sent=HistogramDemand(counts={"0.1": 6}, seconds_sum=0.5),
    inter_token=HistogramDemand(counts={"0.02": 5}, seconds_sum=0.1),
)  # fmt: skip
ROUTE = RouteDemand(
    route="ns/tiny", uid="u1", in_flight_local=3, in_flight_spilled=2, held=1, wants_replica=True,
    last_arrival_unix_seconds=1_790_000_000.25, arrivals_total=20, work={"local": WORK, "hosted": WORK},
    spilled=SpilledDemand(requests_total=2, prompt_tokens_total=5, output_tokens_total=6, request_seconds_total=1.5,
                          cost_nano_usd_total=77),
    refused_total={"QueueFull": 4},
    engines=(EngineDemand(served_by="local/a", running=8, waiting=2, kv_cache_usage=0.5, age_seconds=0.25, missed=1),
             EngineDemand(served_by="local/b", missed=3)),
)  # fmt: skip


def gathered(route: RouteDemand, changes: dict[str, float] | None = None) -> Gathered:
    """A scrape of a gateway with one route, in which some series have other values."""
    told = Gathered()
    samples = [*process_samples("g-1", 2, 1_790_000_001.5, 60.5), *route_samples(route)]
    for name, labels, value in samples:
        told.take(name, dict(labels), (changes or {}).get(name, value))
    return told


@pytest.mark.parametrize("route", [ROUTE, RouteDemand(route="ns/idle")], ids=["busy", "idle"])
def test_a_line_comes_back_as_it_was(route: RouteDemand) -> None:
    """Every figure that scaling goes by; hosted APIs' problems and budgets are no metrics."""
    line = GatewayDemand.model_validate_json(json.dumps(gathered(route).line()))
    assert line == GatewayDemand(
        gateway="g-1", now_unix_seconds=1_790_000_001.5, version=2, uptime_seconds=60.5, routes=(route,)
    )


def test_names_are_as_prometheus_has_them() -> None:
    """Counters end in _total, histograms have cumulative buckets up to +Inf and their sum."""
    samples = list(route_samples(ROUTE))
    assert all(name.startswith(PREFIX) for name, _, _ in samples)
    kinds = {family_of(name): kind_of(family_of(name)) for name, _, _ in samples}
    assert kinds[f"{PREFIX}first_token_seconds"] == "histogram"
    assert kinds[f"{PREFIX}arrivals_total"] == "counter"
    assert kinds[f"{PREFIX}held_requests"] == "gauge"
    buckets = [
        (dict(labels)["le"], value)
        for name, labels, value in samples
        if name == f"{PREFIX}first_token_seconds_bucket" and ("kind", "local") in labels
    ]
    assert buckets[-1] == ("+Inf", 6.0)
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)


@pytest.mark.parametrize("value", [nan, inf, -inf, 0.5])
def test_what_is_no_count_is_not_made_one(value: float) -> None:
    """It stays a text, which no reader takes for a number: zero would be a lie that scales down."""
    (route,) = gathered(ROUTE, {f"{PREFIX}held_requests": value}).line()["routes"]
    assert route["held"] == str(value)


def test_what_a_newer_version_says_is_left_out() -> None:
    """As in a line."""
    told = gathered(ROUTE)
    told.take(f"{PREFIX}dreams_total", {"route": "ns/tiny"}, 1.0)
    told.take(f"{PREFIX}first_token_seconds_bucket", {"route": "ns/tiny", "kind": "local", "le": "odd"}, 6.0)
    assert GatewayDemand.model_validate(told.line()).routes == (ROUTE,)
