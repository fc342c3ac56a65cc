"""What the gateways say together."""

from typing import Any

from overspill_api.demand import GatewayDemand, RouteDemand
from overspill_operator.core.demand.demand_lines import read_line
from overspill_operator.core.demand.traffic import (
    Coverage,
    GatewayView,
    costs,
    demand_of,
    doubts_of,
    key_senders,
    served_by,
)
from overspill_operator.core.engine_access import KeySenders

NOW = 1_000_000.0
ROUTE = "chat/tiny"


def view(*, identity: str = "g1", first: float = NOW - 500, last: float = NOW, **figures: Any) -> GatewayView:
    """A gateway that spoke of the route, or of nothing where no figures are given."""
    made = GatewayView(first, last, identity)
    if figures:
        made.routes[ROUTE] = RouteDemand(route=ROUTE, **figures)
    return made


def test_figures_of_gateways_add_up() -> None:
    """Requests are summed, one wish is enough, the last arrival counts."""
    views = [
        view(in_flight_local=1, held=2, last_arrival_unix_seconds=NOW - 50),
        view(identity="g2", in_flight_spilled=4, wants_replica=True, last_arrival_unix_seconds=NOW - 5),
    ]
    demand = demand_of(ROUTE, views, 0, NOW)
    assert (demand.coverage, demand.concurrency, demand.wants_replica) == (Coverage.COMPLETE, 7, True)
    assert demand.quiet_since_unix == demand.last_arrival_unix == NOW - 5


def test_a_silent_gateway_makes_it_partial() -> None:
    """Its last word is not counted; none heard at all is nothing known."""
    fresh, stale = view(held=1), view(identity="g2", last=NOW - 30, held=9)
    demand = demand_of(ROUTE, [fresh, stale], 1, NOW)
    assert (demand.coverage, demand.held) == (Coverage.PARTIAL, 1)
    assert demand_of(ROUTE, [stale], 1, NOW).coverage is Coverage.NONE
    assert demand_of(ROUTE, [], 0, NOW).coverage is Coverage.NONE


def test_a_gateway_without_arrivals_is_quiet_since_it_was_heard() -> None:
    """A new process cannot know of the hour before it."""
    old = view(last_arrival_unix_seconds=NOW - 3600)
    new = view(identity="g2", first=NOW - 60)
    assert demand_of(ROUTE, [old, new], 0, NOW).quiet_since_unix == NOW - 60


def test_a_gateways_clock_may_be_wrong() -> None:
    """Arrivals are taken relative to the time its own line says."""
    ahead = GatewayView(NOW, NOW)
    said = GatewayDemand(
        gateway="g",
        now_unix_seconds=NOW + 3600,
        routes=(RouteDemand(route=ROUTE, last_arrival_unix_seconds=NOW + 3590),),
    )
    line = read_line(said.model_dump_json().encode(), NOW)
    assert ahead.take(line, NOW).keys == [ROUTE]
    assert demand_of(ROUTE, [ahead], 0, NOW).last_arrival_unix == NOW - 10


def test_another_process_at_the_same_address_starts_anew() -> None:
    """Its counters are its own, and what the former one knew is gone."""
    one = view(held=5)
    one.take(read_line(b'{"gateway": "g2", "now_unix_seconds": 1}', NOW), NOW)
    assert (one.identity, one.first_seen_unix, one.routes) == ("g2", NOW, {})


def test_who_sends_engines_their_keys() -> None:
    """A gateway that does not say is of a version from before keys; one that is not heard may be."""

    def gateway(says: str, heard: float = NOW) -> GatewayView:
        made = GatewayView(heard, heard)
        made.take(read_line(b'{"gateway":"g","now_unix_seconds":1%b}' % says.encode(), NOW), heard)
        return made

    new, old = gateway(',"sends_engine_keys":true'), gateway("")
    assert key_senders([new, new], 0, NOW) is KeySenders.ALL
    assert key_senders([new, old], 0, NOW) is KeySenders.NOT_ALL
    assert key_senders([new, gateway(',"sends_engine_keys":"much"')], 0, NOW) is KeySenders.NOT_ALL
    assert key_senders([new], 1, NOW) is KeySenders.UNKNOWN
    assert key_senders([], 0, NOW) is KeySenders.UNKNOWN
    assert key_senders([gateway(',"sends_engine_keys":true', NOW - 60)], 1, NOW) is KeySenders.UNKNOWN


def test_shares_are_whole_per_cent_that_hide_nothing() -> None:
    """One spilled request among a thousand is still to be seen."""

    def share(**served: int) -> str | None:
        backends = {name.replace("_", "/"): {"served_total": total} for name, total in served.items()}
        return served_by(ROUTE, [view(backends=backends)])

    assert share(local=93, hosted_a=4, hosted_b=3) == "local 93%, hosted 7%"
    assert share(local=999, hosted_a=1) == "local 99%, hosted 1%"
    assert share(hosted_a=5, local=0) == "hosted 100%"
    assert share(local=0) is None
    assert served_by(ROUTE, [view()]) is None


def test_costs_are_by_gateway_process() -> None:
    """Summed over its backends."""
    backends = {"hosted/a": {"cost_nano_usd_total": 2}, "hosted/b": {"cost_nano_usd_total": 3}}
    assert costs(ROUTE, [view(backends=backends), view(identity="g2")]) == {"g1": 5}


def test_two_processes_under_one_name_do_not_hide_each_others_costs() -> None:
    """The higher counter counts, whichever is heard last."""
    dear, cheap = {"hosted/a": {"cost_nano_usd_total": 9}}, {"hosted/a": {"cost_nano_usd_total": 1}}
    assert costs(ROUTE, [view(backends=dear), view(backends=cheap)]) == {"g1": 9}


def test_no_gateway_cancels_what_another_says() -> None:
    """A count below zero is none: three in flight elsewhere stay three."""
    honest, odd = GatewayView(NOW, NOW), GatewayView(NOW, NOW)
    honest.take(read_line(b'{"gateway":"a","now_unix_seconds":1,"routes":[{"route":"chat/tiny","held":3}]}', NOW), NOW)
    odd.take(read_line(b'{"gateway":"b","now_unix_seconds":1,"routes":[{"route":"chat/tiny","held":-3}]}', NOW), NOW)
    demand = demand_of(ROUTE, [honest, odd], 0, NOW)
    assert (demand.concurrency, demand.coverage) == (3, Coverage.COMPLETE)
    assert doubts_of(ROUTE, [honest, odd]) == "b: held is below 0"


def test_what_cannot_be_read_makes_demand_a_lower_bound() -> None:
    """Until that gateway says something that can be: the number of replicas only goes up."""
    odd = GatewayView(NOW, NOW)
    odd.take(read_line(b'{"gateway":"b","routes":[{"route":"chat/tiny","held":"much"}]}', NOW), NOW)
    assert demand_of(ROUTE, [odd], 0, NOW).coverage is Coverage.PARTIAL
    odd.take(read_line(b'{"gateway":"b","routes":[{"route":"chat/tiny","held":0}]}', NOW), NOW)
    assert demand_of(ROUTE, [odd], 0, NOW).coverage is Coverage.COMPLETE
    assert doubts_of(ROUTE, [odd]) == ""


def test_what_was_said_of_a_former_route_is_not_demand_for_the_next() -> None:
    """A route that is made again under its name is another one; an older gateway does not tell them apart."""
    spoke = view(held=4, uid="first", backends={"hosted/a": {"cost_nano_usd_total": 9, "served_total": 1}})
    assert demand_of(ROUTE, [spoke], 0, NOW, "first").held == 4
    assert demand_of(ROUTE, [spoke], 0, NOW, "second").held == 0
    assert costs(ROUTE, [spoke], "second") == {}
    assert served_by(ROUTE, [spoke], "second") is None
    assert demand_of(ROUTE, [view(held=4)], 0, NOW, "second").held == 4
