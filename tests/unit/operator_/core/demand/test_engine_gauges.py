"""What engines say of themselves through gateways: the newest word of each replica, and nothing that cannot be."""

from typing import Any

import pytest

from overspill_api.demand import EngineDemand
from overspill_operator.core.demand.engine_gauges import (
    FRESH_SECONDS,
    MISSED_TOLD,
    REPLICAS_MAX,
    EngineReading,
    believed,
    gauges_of,
)

NOW = 1_800_000_000.0


def told(pod: str = "a", **figures: Any) -> EngineDemand:
    """What a gateway says of a replica."""
    usual = {"served_by": f"local/{pod}", "running": 6, "waiting": 2, "kv_cache_usage": 0.5, "age_seconds": 1.0}
    return EngineDemand.model_validate(usual | figures)


def readings(*said: EngineDemand) -> tuple[EngineReading, ...]:
    """What is believed of it."""
    return believed(said, NOW)[0]


def test_replicas_add_up() -> None:
    """Their queues, as they were read."""
    gauges = gauges_of([readings(told("a"), told("b", waiting=7))], NOW)

    assert gauges.waiting == 9
    assert gauges.readings[0] == EngineReading("local/a", 6, 2, 0.5, NOW - 1.0)
    assert not gauges.unread


def test_of_several_readings_of_one_replica_the_newest_counts() -> None:
    """Its gauges show the requests of all gateways: two readings are not two queues."""
    one, other = readings(told(waiting=2, age_seconds=4.0)), readings(told(waiting=5, age_seconds=0.5))

    assert gauges_of([one, other], NOW).waiting == gauges_of([other, one], NOW).waiting == 5


def test_an_old_reading_says_nothing_about_now() -> None:
    """Nothing is not zero."""
    assert gauges_of([readings(told())], NOW + FRESH_SECONDS).waiting is None
    assert gauges_of([], NOW).waiting is None
    assert not gauges_of([], NOW).unread


def test_engines_that_do_not_say_are_told_once_none_does() -> None:
    """After some questions in vain, and not while another gateway or another replica has an answer."""
    silent: dict[str, Any] = {"running": None, "waiting": None, "kv_cache_usage": None}
    often, seldom = readings(told(missed=MISSED_TOLD, **silent)), readings(told(missed=MISSED_TOLD - 1, **silent))

    assert gauges_of([often], NOW).unread
    assert gauges_of([often], NOW).waiting is None
    assert not gauges_of([seldom], NOW).unread
    assert not gauges_of([often, readings(told("b"))], NOW).unread


@pytest.mark.parametrize(
    "figures",
    [
        {"waiting": -1},
        {"waiting": 10**9},
        {"running": 10**9},
        {"kv_cache_usage": 1.5},
        {"kv_cache_usage": float("nan")},
        {"age_seconds": float("nan")},
        {"age_seconds": float("inf")},
        {"age_seconds": -5.0},
        {"served_by": "hosted/x"},
        {"served_by": "local/a\n"},
    ],
)
def test_gauges_that_cannot_be_are_left_out(figures: dict[str, Any]) -> None:
    """Of that engine alone: no number below zero or beyond any, none of the future."""
    taken, words = believed([told(**figures), told("b", waiting=3)], NOW)

    assert [reading.served_by for reading in taken] == ["local/b"]
    assert words == "gauges of 1 engines cannot be"


def test_a_gateway_speaks_of_so_many_replicas_at_most() -> None:
    """Nobody has more of one route."""
    assert len(readings(*(told(str(number)) for number in range(REPLICAS_MAX + 9)))) == REPLICAS_MAX
