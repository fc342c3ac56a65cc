"""What is believed of a gateway's line: no number that cannot be, and nothing of one route for the fault of another."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_operator.core.demand_lines import (
    BACKENDS_MAX,
    REQUESTS_MAX,
    ROUTES_MAX,
    TOTAL_MAX,
    Line,
    LineError,
    read_line,
)
from overspill_operator.core.traffic import GatewayView, demand_of

NOW = 1_790_000_000.0
HUGE = int("1" + "0" * 400)


def line(*routes: object, **fields: Any) -> Line:
    """What is believed of a line."""
    content = json.dumps({"gateway": "g", "now_unix_seconds": NOW, "routes": routes} | fields)
    return read_line(content.encode(), NOW)


def test_an_honest_line_is_taken_as_it_is() -> None:
    """With fields of a newer gateway, which say nothing here."""
    taken = line({"route": "a/b", "uid": "u", "held": 2, "mood": {"x": 1}, "last_arrival_unix_seconds": NOW - 5}, new=1)
    (route,) = taken.routes
    assert (route.uid, route.held, route.last_arrival_unix_seconds, taken.doubts) == ("u", 2, NOW - 5, ())


def test_a_line_of_an_older_gateway_is_taken() -> None:
    """It knows neither identities of routes nor refused documents."""
    taken = line({"route": "a/b", "held": 1})
    assert (taken.routes[0].uid, taken.refused) == ("", None)


@pytest.mark.parametrize("value", [HUGE, REQUESTS_MAX + 1, "many", [], {}, 1.5, None])
def test_a_figure_that_cannot_be_harms_no_other(value: object) -> None:
    """Neither the other figures of its route nor the other routes; demand of its route is then a lower bound."""
    taken = line({"route": "a/b", "held": value, "wants_replica": True}, {"route": "c/d", "held": 3})
    assert [(route.route, route.held, route.wants_replica) for route in taken.routes] == [
        ("a/b", 0, True),
        ("c/d", 3, False),
    ]
    (doubt,) = taken.doubts
    assert (doubt.route, doubt.is_unknown) == ("a/b", True)
    assert "held" in doubt.message


def test_a_count_below_zero_is_none() -> None:
    """It hides no demand, so that the route may still go to zero."""
    taken = line({"route": "a/b", "in_flight_local": -3})
    assert taken.routes[0].in_flight_local == 0
    assert [(doubt.message, doubt.is_unknown) for doubt in taken.doubts] == [("in_flight_local is below 0", False)]


@pytest.mark.parametrize(
    ("arrival", "believed"),
    [
        ("NaN", None),
        ("Infinity", None),
        (1e300, NOW),
        (NOW + 9e8, NOW),
        (-1e300, None),
        (0, None),
        (NOW - 60, NOW - 60),
    ],
)
def test_no_request_came_in_the_future(arrival: object, believed: float | None) -> None:
    """Else the route would never be idle again; a time of long ago is none."""
    content = (
        f'{{"gateway":"g","now_unix_seconds":{NOW},"routes":[{{"route":"a/b","last_arrival_unix_seconds":{arrival}}}]}}'
    )
    assert read_line(content.encode(), NOW).routes[0].last_arrival_unix_seconds == believed


@pytest.mark.parametrize("clock", ["NaN", "-Infinity", "1e308", "null", '"late"', "[]", "1"])
def test_a_clock_that_is_none_leaves_what_is_said(clock: str) -> None:
    """Requests that wait are counted whatever time a gateway believes it is."""
    content = f'{{"gateway":"g","now_unix_seconds":{clock},"routes":[{{"route":"a/b","held":2}}]}}'
    assert read_line(content.encode(), NOW).routes[0].held == 2


@pytest.mark.parametrize(
    "content",
    [
        b"what?",
        b"[]",
        b"{}",
        b'{"gateway":""}',
        b'{"gateway":7,"now_unix_seconds":1}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"1" * 9999,
    ],
    ids=["text", "list", "nobody", "no name", "number", "deep", "no utf-8", "digits"],
)
def test_a_line_of_which_nothing_can_be_used_is_named(content: bytes) -> None:
    """And raises nothing else."""
    with pytest.raises(LineError):
        read_line(content, NOW)


def test_what_a_gateway_may_speak_of_is_bounded() -> None:
    """Routes, their names, and backends of one route; backends of no kind are none."""
    assert len(line(*({"route": f"a/r{number}"} for number in range(ROUTES_MAX + 5))).routes) == ROUTES_MAX
    assert line({"route": "no-slash"}, {"route": "a/" + "b" * 400}, {"route": "a/b\n"}).routes == ()
    backends = {f"hosted/h{number}": {"served_total": 1} for number in range(99)}
    assert len(line({"route": "a/b", "backends": backends}).routes[0].backends) == BACKENDS_MAX
    assert line({"route": "a/b", "backends": {"<b>": {"served_total": 1}}}).routes[0].backends == {}


def test_a_view_remembers_no_more_routes_than_it_may() -> None:
    """Also over many lines; those it knows already go on being heard."""
    view = GatewayView(NOW, NOW)
    view.take(line(*({"route": f"a/r{number}"} for number in range(ROUTES_MAX))), NOW)
    view.take(line({"route": "z/new", "held": 1}, {"route": "a/r1", "held": 4}), NOW)
    assert (len(view.routes), view.routes["a/r1"].held) == (ROUTES_MAX, 4)
    view.forget("a/r2")
    view.take(line({"route": "z/new", "held": 1}), NOW)
    assert view.routes["z/new"].held == 1


def test_a_bad_backend_leaves_the_others() -> None:
    """Counters out of bounds say nothing, and so does one that is no object."""
    taken = line({"route": "a/b", "held": 1, "backends": {"local": 5, "hosted/a": {"cost_nano_usd_total": HUGE}}})
    (route,) = taken.routes
    assert (route.held, set(route.backends), route.backends["hosted/a"].cost_nano_usd_total) == (1, {"hosted/a"}, 0)


def test_a_problem_of_a_backend_is_bounded() -> None:
    """Its time is never in the future, its count at least one."""
    problem = {"reason": "Failing", "message": "x", "since_unix_seconds": NOW * 2, "failures": -1}
    kept = line({"route": "a/b", "backends": {"hosted/a": {"problem": problem}}}).routes[0].backends["hosted/a"].problem
    assert kept is not None
    assert (kept.since_unix_seconds, kept.failures) == (NOW, 1)


def test_refused_documents_are_taken_one_by_one() -> None:
    """One that cannot be read leaves the others."""
    good = {"kind": "route", "key": "a/b", "generation": 3, "message": "no"}
    taken = line(refused=[good, {"kind": "mood"}, 7, {"kind": "route", "key": "x"}])
    assert taken.refused is not None
    assert [document.key for document in taken.refused] == ["a/b"]


numbers = st.one_of(
    st.integers(), st.integers(min_value=-(10**40), max_value=10**40), st.floats(), st.booleans(), st.none(), st.text()
)
values = st.recursive(
    numbers, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
FIELDS = (
    *("in_flight_local", "in_flight_spilled", "held", "uid", "wants_replica", "backends", "last_arrival_unix_seconds"),
)


@given(
    gateway=values,
    clock=values,
    routes=st.one_of(
        values, st.lists(st.dictionaries(st.sampled_from(FIELDS), values).map(lambda entry: {"route": "a/b", **entry}))
    ),
    refused=values,
)
def test_any_line_is_within_bounds_or_none(gateway: object, clock: object, routes: object, refused: object) -> None:
    """Whatever JSON comes: nothing is raised but ``LineError``, and sums over gateways can be made of the rest."""
    content = {"gateway": gateway, "now_unix_seconds": clock, "routes": routes, "refused": refused}
    try:
        taken = read_line(json.dumps(content).encode(), NOW)
    except LineError:
        assert not isinstance(gateway, str) or not gateway or len(gateway) > 300 or not gateway.isprintable()
        return
    view = GatewayView(NOW, NOW)
    view.take(taken, NOW)
    demand = demand_of("a/b", [view, view], 0, NOW)
    assert 0 <= demand.concurrency <= 6 * REQUESTS_MAX
    assert demand.quiet_since_unix is not None
    assert NOW - 4e8 < demand.quiet_since_unix <= NOW
    assert all(0 <= route.held <= REQUESTS_MAX for route in taken.routes)
    figures = [backend for route in taken.routes for backend in route.backends.values()]
    assert all(0 <= backend.served_total <= TOTAL_MAX for backend in figures)
