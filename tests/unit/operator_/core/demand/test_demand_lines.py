"""What is believed of a gateway's line: no number that cannot be, and nothing of one route for the fault of another."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_api.demand import RouteDemand
from overspill_operator.core.demand.demand_lines import (
    BACKENDS_MAX,
    REQUESTS_MAX,
    ROUTES_MAX,
    WHOLE_BYTES_MAX,
    Line,
    read_line,
    reading,
)
from overspill_operator.core.demand.line_pieces import (
    REST_BYTES_MAX,
    ROUTE_BYTES_MAX,
    ROUTE_OBJECTS_MAX,
    STEP_BYTES,
    LineError,
)
from overspill_operator.core.demand.traffic import Coverage, GatewayView, demand_of, engines_of
from overspill_operator.core.demand.work import TOTAL_MAX, Work

VERSION_1 = Path(__file__).parents[3] / "api" / "data" / "demand-version-1.jsonl"
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


@pytest.mark.parametrize(
    "said",
    [
        {"uid": "u" * 1_000_000},
        {"work": {f"kind-{number}": {"answers_total": 1} for number in range(10_000)}},
        {"work": {"local": {"first_token": {"counts": {str(number): 1 for number in range(10_000)}}}}},
        {"refused_total": {f"Reason{number}": 1 for number in range(10_000)}},
        {"engines": [{"served_by": f"local/pod-{number}"} for number in range(10_000)]},
        {"backends": {"hosted/" + "b" * 1_000_000: {"served_total": 1}}},
    ],
    ids=["uid", "kinds", "bounds", "refusals", "engines", "backend"],
)
def test_what_is_kept_of_a_route_is_bounded(said: dict[str, Any]) -> None:
    """A gateway's last word on each route is kept, so that 10,000 of them must fit; what is left out may be demand."""
    view = GatewayView(NOW, NOW)
    view.take(line({"route": "a/b", "held": 1} | said, version=2), NOW)
    kept = "".join(map(repr, (view.routes, view.work, view.engines, view.doubts)))
    assert len(kept) < 50_000
    demand = demand_of("a/b", [view], 0, NOW)
    assert demand.held == 1 or demand.coverage is Coverage.PARTIAL


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


def test_lines_of_version_1_say_nothing_of_work_and_of_engines() -> None:
    """What they say of requests counts as ever; that the rest is missing is no doubt, and not zero."""
    view = GatewayView(NOW, NOW)
    held = []
    for content in VERSION_1.read_bytes().splitlines():
        taken = read_line(content, NOW)
        assert (taken.work, taken.engines, taken.doubts) == ({}, {}, ())
        assert view.take(taken, NOW).growth == []
        held.append(demand_of("ns/tiny", [view], 0, NOW).held)

    assert held == [0, 1, 0, 0, 0, 0]
    assert view.routes["ns/tiny"].backends["local"].served_total == 4
    assert engines_of("ns/tiny", [view], NOW).waiting is None


def test_a_line_of_version_2_leaves_out_what_is_zero() -> None:
    """There it is zero and known."""
    taken = line({"route": "a/b"}, version=2, uptime_seconds=5.0)

    assert taken.work["a/b"] == Work()
    assert (taken.engines, taken.uptime_seconds, taken.doubts) == ({"a/b": ()}, 5.0, ())


@pytest.mark.parametrize("version", [3, 99])
def test_a_newer_gateway_is_read_as_far_as_it_is_known(version: int) -> None:
    """Fields do not change what they mean."""
    taken = line({"route": "a/b", "arrivals_total": 7, "work": {"local": {"joy": 1}}}, version=version)

    assert taken.work["a/b"].arrivals == 7
    assert not taken.doubts


@pytest.mark.parametrize("uptime", [-1.0, "NaN", "-Infinity"])
def test_a_process_that_does_not_know_its_age_is_taken_for_old(uptime: object) -> None:
    """What it counted before it was heard may be from any time."""
    content = f'{{"gateway":"g","now_unix_seconds":{NOW},"version":2,"uptime_seconds":{uptime}}}'
    assert read_line(content.encode(), NOW).uptime_seconds == float("inf")


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"work": "much"}, "work cannot be read"),
        ({"work": {"local": {"first_token": {"counts": {"0.1": 1.5}}}}}, "work cannot be read"),
        ({"refused_total": {"QueueFull": "many"}}, "refused_total cannot be read"),
        ({"refused_total": {"QueueFull": HUGE}}, "counts of work are not all within"),
        ({"arrivals_total": -3}, "counts of work are not all within"),
        ({"spilled": {"prompt_tokens_total": 10**19}}, "counts of work are not all within"),
        ({"work": {"local": {"inter_token": {"counts": {"often": 1}}}}}, "a bound that is no number"),
    ],
)
def test_counts_that_cannot_be_leave_the_rest_of_their_route(figures: dict[str, Any], words: str) -> None:
    """Its requests are known, so that its replicas go down as ever; the other routes' counts are believed."""
    taken = line({"route": "a/b", "held": 2} | figures, {"route": "c/d", "arrivals_total": 4}, version=2)

    assert [route.held for route in taken.routes] == [2, 0]
    assert set(taken.work) == {"c/d"}
    (doubt,) = taken.doubts
    assert words in doubt.message
    assert (doubt.route, doubt.is_unknown) == ("a/b", False)


def test_gauges_that_cannot_be_leave_the_others() -> None:
    """Of the same route."""
    good = {"served_by": "local/a", "running": 1, "waiting": 2, "kv_cache_usage": 0.1}
    taken = line({"route": "a/b", "engines": [good, good | {"served_by": "local/b", "waiting": -2}]}, version=2)

    assert [reading.waiting for reading in taken.engines["a/b"]] == [2]
    assert [(doubt.message, doubt.is_unknown) for doubt in taken.doubts] == [("gauges of 1 engines cannot be", False)]


def test_what_is_no_list_of_engines_is_none() -> None:
    """And hides no demand either."""
    taken = line({"route": "a/b", "engines": 7, "held": 1}, version=2)

    assert taken.routes[0].held == 1
    assert [(doubt.message, doubt.is_unknown) for doubt in taken.doubts] == [("engines cannot be read", False)]


# -- long lines --------------------------------------------------------------------------------------------------------

MANY = [{"route": f"a/r{number}", "uid": f"u{number}", "held": number, "x": '},{"route":'} for number in range(2000)]
REFUSED = [{"kind": "consumer", "key": "a/b", "message": 'in it is "routes":['}]


def steps_of(content: bytes) -> tuple[int, Line | None]:
    """In how many steps a line is read, and what is believed of it; None: nothing can be used."""
    reads, count = reading(content, NOW), 0
    while True:
        count += 1
        try:
            next(reads)
        except StopIteration as over:
            return count, over.value
        except LineError:
            return count, None


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("behind", [False, True])
def test_a_long_line_says_what_a_short_one_does(separators: tuple[str, str], *, behind: bool) -> None:
    """Whether other things stand before its routes or behind them, and however it is spaced."""
    said: dict[str, Any] = {"gateway": "g", "now_unix_seconds": NOW, "version": 2}
    more = {"refused": REFUSED, "sends_engine_keys": True}
    document = said | {"routes": MANY} | more if behind else said | more | {"routes": MANY}
    content = json.dumps(document, separators=separators).encode()
    assert len(content) > 2 * WHOLE_BYTES_MAX
    count, taken = steps_of(content)
    assert count > len(content) / STEP_BYTES
    assert taken is not None
    assert [(route.route, route.uid, route.held) for route in taken.routes] == [
        (route["route"], route["uid"], route["held"]) for route in MANY
    ]
    assert (taken.gateway, taken.sends_engine_keys, taken.version, taken.doubts) == ("g", True, 2, ())
    assert taken.refused is not None
    assert [document.key for document in taken.refused] == ["a/b"]


def test_a_route_begins_with_its_name() -> None:
    """By that a long line is taken apart, so the contract may not change it."""
    assert next(iter(RouteDemand.model_fields)) == "route"
    assert RouteDemand(route="a/b", held=1).model_dump_json(exclude_defaults=True).startswith('{"route":"a/b"')


def test_a_long_line_with_a_bad_route_loses_no_other() -> None:
    """A figure that cannot be, a text that is none, one that is longer than any: demand of each is a lower bound."""
    bad: list[dict[str, Any]] = [
        {"route": "b/figure", "held": "x"},
        {"route": "b/long", "x": "y" * ROUTE_BYTES_MAX},
        {"route": "b/parts", "backends": {str(number): {} for number in range(ROUTE_OBJECTS_MAX)}},
        {"route": "b/engines", "engines": [1] * 500},
        {"route": "b/torn", "x": "tear"},
    ]
    content = json.dumps({"gateway": "g", "now_unix_seconds": NOW, "routes": [*MANY[:1000], *bad, *MANY[1000:]]})
    taken = read_line(content.replace('"tear"', "}").encode(), NOW)
    assert len(taken.routes) == len(MANY) + len(bad)
    assert {doubt.route: doubt.is_unknown for doubt in taken.doubts} == {route["route"]: True for route in bad}


def test_of_a_long_line_the_first_routes_count() -> None:
    """As of a short one."""
    routes = [{"route": f"a/r{number}"} for number in range(ROUTES_MAX + 5)]
    taken = line(*routes, refused=REFUSED)
    assert len(taken.routes) == ROUTES_MAX
    assert taken.refused is not None


@pytest.mark.parametrize(
    "unit", ["{", "[", '"', "},", '},{"route":', '{"route":1},', "[],", '"routes":[', "\\", " ", "1,"]
)
@pytest.mark.parametrize(
    "before", ['{"gateway":"g","routes":[', '{"gateway":"g","routes":[{"route":"a/b","x":', "", "["]
)
def test_no_long_line_is_read_at_one_stretch(before: str, unit: str) -> None:
    """Whatever is in it: it is looked at in steps, or nothing of it is used."""
    content = (before + unit * (2**20 // len(unit)))[: 2**20].encode()
    count, taken = steps_of(content)
    assert count > len(content) / STEP_BYTES / 2 or taken is None


def test_what_a_long_line_says_beside_routes_is_bounded() -> None:
    """It is read as one."""
    with pytest.raises(LineError, match="beside its routes"):
        line(*MANY, refused=REFUSED * (REST_BYTES_MAX // 40))
