"""Limits and money as requests meet them: consumers, hosted APIs, budgets over periods, documents that change."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overspill_api.compiled import (
    BudgetRules,
    CompiledRoute,
    ConsumerLimitRules,
    HostedBackend,
    OverflowRules,
)
from overspill_gateway.clock import Clock
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.counters import CONSUMERS_COUNTED, OTHER_CONSUMERS, BackendCounters
from overspill_gateway.core.flow.flow_actions import NotSent
from overspill_gateway.core.http.errors import ApiError
from overspill_gateway.core.money.budget import Hold
from overspill_gateway.core.requests.access import Grant
from overspill_gateway.core.requests.ask import Ask
from overspill_gateway.money.metering import Admission, HostedMeter, Metering, RouteMeter
from overspill_gateway.money.sqlite_ledger import SqliteLedger
from unit.gateway.ledgers import Told, all_written, ledger_at

NOON = 1_800_000_000.0
"""15 January 2027, 08:00 UTC."""
DAY = 86_400
CALL = 1000 * 150 + 500 * 600
"""Held for ``ASK``: its longest prompt and its longest answer."""
ASK = Ask(250, 100, 500, 1, prompt_tokens_max=1000)
USAGE = Usage(200, 0, 50)
COST = 200 * 150 + 50 * 600


def hosted(name: str = "api", **changes: Any) -> HostedBackend:
    """A hosted API at 0.15 and 0.60 USD per million tokens."""
    prices = {"input_nano_usd_per_million": 150_000_000, "output_nano_usd_per_million": 600_000_000}
    return HostedBackend(**{"name": name, "base_url": f"http://{name}.test/v1", "model": "m", **prices, **changes})


def route(limit: int | None = None, *backends: HostedBackend, **changes: Any) -> CompiledRoute:
    """A route with a budget, if a limit is given."""
    fields: dict[str, Any] = {
        "namespace": "ns", "name": "tiny", "uid": "u", "generation": 1, "model": "tiny",
        "hosted": backends or (hosted(),), "overflow": OverflowRules(on_cold_start="Hosted"),
        "budget": None if limit is None else BudgetRules(limit_nano_usd=limit),
    }  # fmt: skip
    return CompiledRoute(**{**fields, **changes})


@dataclass
class Metered:
    """Something with a meter, as routes and hosted APIs are."""

    meter: Any


class World:
    """Metering with clocks that tests move, over one ledger."""

    def __init__(self, path: Path | None = None) -> None:
        self.now = 1000.0
        self.unix = NOON
        self.told = Told()
        self.ledger = ledger_at(path, self.told)
        self.metering = Metering(self.ledger, Clock(lambda: self.now, lambda: self.unix))
        if path is not None:
            self.metering.begin()
            self.written()
        self.counters: dict[str, BackendCounters] = {}

    def written(self) -> None:
        """Wait until the ledger has written all that it was given, and hear what it has to say."""
        all_written(self.ledger, self.told)

    def route(self, compiled: CompiledRoute) -> RouteMeter:
        """The meter of a route's newest document."""
        return self.metering.route(compiled)

    def api(self, compiled: CompiledRoute, which: int = 0) -> HostedMeter:
        """The meter of one of its hosted APIs."""
        backend = compiled.hosted[which]
        return self.route(compiled).meter_of(backend, self.counters.setdefault(backend.name, BackendCounters()))

    def admit(self, grant: Grant, at: RouteMeter, ask: Ask = ASK) -> Admission | ApiError:
        """Let a request in, or not."""
        return self.metering.admit(grant, Metered(at), ask, self.now)

    def ready(self, meter: HostedMeter) -> HostedMeter:
        """The meter, when its first lease is there: a disk may take its time."""
        answered(meter)
        return meter

    def settle(self, admission: Admission | ApiError, usage: Usage | None, *, served: bool = True) -> None:
        """A request is over."""
        assert isinstance(admission, Admission)
        self.metering.settle(admission, usage, self.now, served=served)


@pytest.fixture
def world() -> Iterator[World]:
    """In memory."""
    made = World()
    yield made
    assert made.metering.close()


def grant(name: str = "ns/me", **limits: int) -> Grant:
    """What a consumer may do."""
    return Grant(name, frozenset(), frozenset(), ConsumerLimitRules(**limits))


def answered(meter: HostedMeter) -> None:
    """Wait for what the ledger has been asked for, as the event loop does by being told."""
    spending = meter.budget.current()
    while spending is not None and spending.account.waits:
        told = meter.budget.ledger.tell  # type: ignore[attr-defined]
        assert isinstance(told, Told)
        told.take()


def try_hold(meter: HostedMeter, now: float = 0.0, ask: Ask = ASK) -> Hold | None:
    """A hold, if it is granted; the ledger's answer is waited for, as requests do."""
    while (found := meter.hold(ask, now)) is NotSent.WAIT:
        answered(meter)
    return found if isinstance(found, Hold) else None


def held(meter: HostedMeter, now: float = 0.0, ask: Ask = ASK) -> Hold:
    """A hold that has to be granted."""
    hold = try_hold(meter, now, ask)
    assert hold is not None
    return hold


# -- consumers -----------------------------------------------------------------------------------------------------


def test_a_consumer_s_limit_holds_over_all_routes(world: World) -> None:
    """Two routes share the requests of spec.limits, and Retry-After says when the first one is forgotten."""
    one, two = world.route(route()), world.route(route(name="other"))
    me = grant(requests_per_minute=2)
    assert isinstance(world.admit(me, one), Admission)
    world.now += 20.5
    assert isinstance(world.admit(me, two), Admission)

    refused = world.admit(me, two)

    assert isinstance(refused, ApiError)
    assert (refused.status, refused.code, refused.retry_after_seconds) == (429, "rate_limit_exceeded", 40)
    assert "2 requests a minute" in refused.message
    world.now += 39.5
    assert isinstance(world.admit(me, one), Admission)


def test_a_route_s_limit_holds_for_each_consumer_on_its_own(world: World) -> None:
    """rateLimit.perConsumer: one consumer's requests take nothing from another's, nor from another route."""
    limited = world.route(route(per_consumer=ConsumerLimitRules(requests_per_minute=1)))
    free = world.route(route(name="other"))
    assert isinstance(world.admit(grant("ns/a"), limited), Admission)

    refused = world.admit(grant("ns/a"), limited)

    assert isinstance(refused, ApiError)
    assert "at tiny" in refused.message
    assert isinstance(world.admit(grant("ns/b"), limited), Admission)
    assert isinstance(world.admit(grant("ns/a"), free), Admission)


def test_a_request_that_one_limit_refuses_counts_at_no_other(world: World) -> None:
    """A refused request uses up nothing."""
    limited = world.route(route(per_consumer=ConsumerLimitRules(requests_per_minute=1)))
    free = world.route(route(name="other"))
    me = grant(requests_per_minute=3)
    world.admit(me, limited)
    for _ in range(10):
        assert isinstance(world.admit(me, limited), ApiError)

    assert [isinstance(world.admit(me, free), Admission) for _ in range(3)] == [True, True, False]


def test_the_longest_wait_of_all_limits_is_told(world: World) -> None:
    """Who comes back then is let in, whichever limit it was."""
    at = world.route(route(per_consumer=ConsumerLimitRules(tokens_per_minute=1000)))
    me = grant(requests_per_minute=1)
    world.settle(world.admit(me, at, Ask(500, 0)), Usage(500, 0, 0))
    world.now += 30
    other = world.metering.admit(grant(), Metered(at), Ask(500, 0), world.now)
    assert isinstance(other, Admission)

    refused = world.admit(me, at, Ask(900, 0))

    assert isinstance(refused, ApiError)
    assert refused.retry_after_seconds == 60
    assert "tokens at tiny" in refused.message
    world.now += 60
    assert isinstance(world.admit(me, at, Ask(900, 0)), Admission)


def test_tokens_are_counted_as_estimated_and_corrected_by_what_was_used(world: World) -> None:
    """An answer that was shorter than expected leaves room for the next one."""
    at = world.route(route())
    me = grant(tokens_per_minute=1000)
    first = world.admit(me, at, Ask(250, 600))
    assert isinstance(world.admit(me, at, Ask(250, 600)), ApiError)

    world.settle(first, Usage(200, 0, 50))

    assert isinstance(world.admit(me, at, Ask(150, 600)), Admission)
    assert isinstance(world.admit(me, at, Ask(1, 0)), ApiError)


def test_an_answer_that_was_longer_than_expected_is_paid_later(world: World) -> None:
    """The window is overdrawn: the next request waits until it has room again."""
    at = world.route(route())
    me = grant(tokens_per_minute=1000)
    first = world.admit(me, at, Ask(100, 100))
    world.now += 10
    world.settle(first, Usage(100, 0, 5000))

    refused = world.admit(me, at, Ask(1, 1))

    assert isinstance(refused, ApiError)
    assert refused.retry_after_seconds == 60


def test_who_goes_away_in_the_middle_gets_no_tokens_back(world: World) -> None:
    """Served and nothing reported: the estimate stays, so that nobody dodges a limit by hanging up."""
    at = world.route(route())
    me = grant(tokens_per_minute=1000)
    world.settle(world.admit(me, at, Ask(250, 600)), None)

    assert isinstance(world.admit(me, at, Ask(250, 600)), ApiError)
    row = world.metering.records.rows["ns/me"]
    assert (row.prompt_tokens_estimated, row.output_tokens_estimated) == (250, 600)


def test_who_was_served_by_nobody_gets_all_tokens_back(world: World) -> None:
    """A 503 costs a request of the limit, and no tokens."""
    at = world.route(route())
    me = grant(tokens_per_minute=1000)
    world.settle(world.admit(me, at, Ask(250, 600)), None, served=False)

    assert isinstance(world.admit(me, at, Ask(250, 600)), Admission)


def test_a_request_larger_than_the_limit_is_told_not_to_come_again(world: World) -> None:
    """No Retry-After that leads to the same refusal."""
    refused = world.admit(grant(tokens_per_minute=1000), world.route(route()), Ask(2000, 0))

    assert isinstance(refused, ApiError)
    assert (refused.status, refused.retry_after_seconds, refused.should_retry) == (400, None, False)
    assert "2000 tokens" in refused.message


def test_a_consumer_s_changed_limit_keeps_what_was_counted(world: World) -> None:
    """A new document makes a new grant, and no new minute."""
    at = world.route(route())
    for _ in range(5):
        world.admit(grant(requests_per_minute=10), at)

    assert isinstance(world.admit(grant(requests_per_minute=5), at), ApiError)
    assert isinstance(world.admit(grant(requests_per_minute=6), at), Admission)
    assert isinstance(world.admit(grant(), at), Admission)


def test_a_route_s_changed_limit_keeps_what_was_counted(world: World) -> None:
    """The same for rateLimit.perConsumer."""
    for _ in range(5):
        world.admit(grant(), world.route(route(per_consumer=ConsumerLimitRules(requests_per_minute=10))))

    lower = world.route(route(per_consumer=ConsumerLimitRules(requests_per_minute=5)))

    assert isinstance(world.admit(grant(), lower), ApiError)


def test_consumers_that_were_here_once_are_forgotten(world: World) -> None:
    """What is kept for consumers at a route is bounded by those of the last minute."""
    at = world.route(route(per_consumer=ConsumerLimitRules(requests_per_minute=10)))
    for number in range(5000):
        world.now += 1
        world.admit(grant(f"ns/{number}"), at)

    assert len(at.limiters) <= 1024


def test_metrics_of_consumers_are_bounded(world: World) -> None:
    """A thousand consumers have rows of their own, the rest share one."""
    at = world.route(route())
    for number in range(CONSUMERS_COUNTED + 50):
        world.settle(world.admit(grant(f"ns/{number}"), at), USAGE)

    rows = world.metering.records.rows
    assert len(rows) == CONSUMERS_COUNTED + 1
    assert rows[OTHER_CONSUMERS].requests == 50
    assert rows[OTHER_CONSUMERS].output_tokens == 50 * 50


# -- hosted APIs ---------------------------------------------------------------------------------------------------


def test_a_provider_s_limits_keep_requests_away(world: World) -> None:
    """Requests and tokens a minute, and requests at a time: the next API in order is asked then."""
    by_place = world.api(route(None, hosted(concurrency=1)))
    hold = held(by_place)
    assert not by_place.may_take(ASK, 0.0)
    assert by_place.hold(ASK, 0.0) is NotSent.NO
    by_place.settle(hold, 1.0, USAGE, may_have_cost=True)
    assert by_place.may_take(ASK, 1.0)

    by_rate = world.api(route(None, hosted(requests_per_minute=1), name="rate"))
    held(by_rate)
    assert not by_rate.may_take(ASK, 59.0)
    assert by_rate.may_take(ASK, 60.0)

    by_tokens = world.api(route(None, hosted(tokens_per_minute=800), name="tokens"))
    hold = held(by_tokens)
    assert not by_tokens.may_take(ASK, 1.0)
    by_tokens.settle(hold, 1.0, Usage(20, 0, 10), may_have_cost=True)
    assert by_tokens.may_take(ASK, 1.0)


def test_a_provider_s_limits_outlive_a_change_of_the_document(world: World) -> None:
    """The places that are taken stay taken."""
    before = route(None, hosted(concurrency=2))
    held(world.api(before))
    held(world.api(before))

    after = world.api(route(None, hosted(concurrency=3)))

    assert after.may_take(ASK, 0.0)
    held(after)
    assert not after.may_take(ASK, 0.0)


def test_the_wait_for_hosted_apis_is_the_shortest_of_them(world: World) -> None:
    """What a refused client is told."""
    compiled = route(None, hosted("a", requests_per_minute=1), hosted("b", requests_per_minute=1))
    held(world.api(compiled, 0), 0.0)
    held(world.api(compiled, 1), 10.0)

    assert world.route(compiled).hosted_wait_seconds(ASK, 20.0) == pytest.approx(40.0)


# -- money ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "may_have_cost", "charged"),
    [
        (USAGE, True, COST),
        (Usage(200, 100, 50), True, COST),
        (Usage(200, 0, 50, reported=False), True, COST),
        (Usage(10**9, 0, 10**9, reported=False), True, CALL),
        (Usage(1000, 0, 600), True, 1000 * 150 + 600 * 600),
        (None, True, CALL),
        (None, False, 0),
        (USAGE, False, 0),
    ],
    ids=["reported", "cached without a price", "estimated", "estimated too high", "above the hold", "uncertain",
         "not sent", "refused by status"],
)  # fmt: skip
def test_how_a_call_is_charged(world: World, *, usage: Usage | None, may_have_cost: bool, charged: int) -> None:
    """By usage where there is any; in full where nobody knows; nothing where nothing was done."""
    meter = world.api(route(10**9))
    hold = held(meter)
    assert hold.nano_usd == CALL

    assert meter.settle(hold, 1.0, usage, may_have_cost=may_have_cost) == charged

    spending = world.route(route(10**9)).budget.current()
    assert spending is not None
    assert (spending.account.spent, spending.account.held) == (charged, 0)
    assert world.counters["api"].cost_nano_usd == charged
    assert world.counters["api"].charged_in_full == (usage is None and may_have_cost)


def test_a_hold_is_settled_once(world: World) -> None:
    """A timeout and an end that cross do not charge twice."""
    meter = world.api(route(10**9))
    hold = held(meter)
    meter.settle(hold, 1.0, USAGE, may_have_cost=True)

    assert meter.settle(hold, 1.0, None, may_have_cost=True) == 0
    assert world.counters["api"].cost_nano_usd == COST
    assert meter.holds == 0
    assert meter.limiter.in_flight == 0


def test_without_a_budget_uncertain_calls_have_their_cost_as_well(world: World) -> None:
    """The metrics tell the same story with and without a cap; the request stays as it is."""
    meter = world.api(route())
    hold = held(meter, ask=Ask(250, 100, prompt_tokens_max=1000))

    assert hold.output_tokens_max is None
    assert meter.settle(hold, 1.0, None, may_have_cost=True) == 1000 * 150 + 16_384 * 600


def test_an_unknown_price_fails_closed_under_a_budget(world: World) -> None:
    """What can't be held can't be bought; without a budget it may."""
    unknown = hosted(output_nano_usd_per_million=None)
    assert not world.api(route(10**9, unknown)).may_take(ASK, 0.0)
    assert world.api(route(10**9, unknown)).hold(ASK, 0.0) is NotSent.NO

    free = world.api(route(None, unknown, name="free"))
    assert free.may_take(ASK, 0.0)
    assert free.settle(held(free), 0.0, USAGE, may_have_cost=True) == 0


def test_the_cap_holds_under_thousands_of_requests_at_once(world: World) -> None:
    """All are sent before any is answered, and every one costs its worst case."""
    meter = world.api(route(1000 * CALL + 5))
    holds = [hold for _ in range(5000) if (hold := try_hold(meter, world.now)) is not None]
    charged = [meter.settle(hold, world.now, None, may_have_cost=True) for hold in holds]

    assert len(holds) >= 1000
    assert sum(charged) <= 1000 * CALL + 5
    assert sum(charged) > 999 * CALL
    assert not meter.may_take(ASK, world.now)


def test_near_the_cap_requests_are_clamped_and_then_none_are_sent(world: World) -> None:
    """The limit that is written into the request is what the money allows."""
    compiled = route(CALL + 1000 * 150 + 70 * 600)
    meter = world.api(compiled)
    assert held(meter).output_tokens_max is None

    assert held(meter).output_tokens_max == 70
    assert not meter.may_take(ASK, 0.0)
    assert not world.route(compiled).is_affordable(ASK)
    assert world.route(compiled).hosted_wait_seconds(ASK, 0.0) == 0.0


def test_a_refused_call_gives_its_money_back(world: World) -> None:
    """A 429 of the hosted API costs nothing: the next request may have it."""
    meter = world.api(route(CALL))
    hold = held(meter)
    assert not meter.may_take(ASK, 0.0)

    meter.settle(hold, 0.0, None, may_have_cost=False)

    assert meter.may_take(ASK, 0.0)


def test_all_hosted_apis_of_a_route_spend_from_one_budget(world: World) -> None:
    """And routes do not spend from each other's."""
    compiled = route(CALL, hosted("a"), hosted("b"))
    held(world.api(compiled, 0))

    assert not world.api(compiled, 1).may_take(ASK, 0.0)
    assert world.api(route(CALL, name="other")).may_take(ASK, 0.0)


def test_a_changed_document_keeps_what_was_spent(world: World) -> None:
    """Limit raised, lowered, price changed: the money is gone all the same."""
    meter = world.api(route(3 * CALL))
    for _ in range(2):
        meter.settle(held(meter), 0.0, None, may_have_cost=True)

    assert not world.api(route(2 * CALL)).may_take(ASK, 0.0)
    assert world.api(route(3 * CALL)).may_take(ASK, 0.0)
    dearer = world.api(route(3 * CALL, hosted(output_nano_usd_per_million=10**12)))
    assert not dearer.may_take(ASK, 0.0)


def test_a_price_change_does_not_touch_calls_under_way(world: World) -> None:
    """They are charged by the price that they were held with."""
    meter = world.api(route(10**9))
    hold = held(meter)
    world.api(route(10**9, hosted(input_nano_usd_per_million=0, output_nano_usd_per_million=0)))

    assert meter.settle(hold, 0.0, USAGE, may_have_cost=True) == COST


def test_a_budget_that_is_taken_away_and_given_back_has_spent_what_it_had(world: World) -> None:
    """The ledger knows it, whatever the document says meanwhile."""
    meter = world.api(route(2 * CALL))
    meter.settle(held(meter), 0.0, None, may_have_cost=True)
    assert world.api(route()).may_take(ASK, 0.0)

    again = world.api(route(2 * CALL))

    held(again)
    assert not again.may_take(ASK, 0.0)


def test_a_route_that_is_deleted_and_made_anew_has_spent_what_it_had(world: World) -> None:
    """Deleting a ModelRoute is no way around its budget."""
    meter = world.api(route(2 * CALL))
    meter.settle(held(meter), 0.0, None, may_have_cost=True)
    world.metering.forget_route("ns/tiny")

    again = world.api(route(2 * CALL))

    held(again)
    assert try_hold(again) is None


def test_a_new_period_has_new_money_and_old_calls_settle_into_their_own(world: World) -> None:
    """Held before midnight, answered after it."""
    compiled = route(budget=BudgetRules(limit_nano_usd=CALL, period="Day"))
    meter = world.api(compiled)
    hold = held(meter)
    assert not meter.may_take(ASK, 0.0)

    world.unix += DAY
    today = held(meter)
    meter.settle(hold, 0.0, None, may_have_cost=True)

    spending = world.route(compiled).budget.current()
    assert spending is not None
    assert (spending.account.spent, spending.account.held) == (0, CALL)
    meter.settle(today, 0.0, USAGE, may_have_cost=True)
    assert spending.account.spent == COST


def test_a_clock_that_is_put_back_finds_the_old_period_spent(world: World) -> None:
    """A step of the clock over midnight and back makes no money."""
    meter = world.api(route(budget=BudgetRules(limit_nano_usd=CALL, period="Day")))
    meter.settle(held(meter), 0.0, None, may_have_cost=True)
    world.unix += DAY
    assert meter.may_take(ASK, 0.0)
    world.unix -= DAY

    assert try_hold(meter) is None


def test_a_period_of_another_kind_makes_no_money(world: World) -> None:
    """Month to Day, Day to Month, another time zone: what overlaps is spent."""
    meter = world.api(route(budget=BudgetRules(limit_nano_usd=2 * CALL, period="Month")))
    meter.settle(held(meter), 0.0, None, may_have_cost=True)
    for period, zone in (("Day", "UTC"), ("Week", "UTC"), ("Month", "Asia/Tokyo"), ("Month", "UTC")):
        rules = BudgetRules(limit_nano_usd=CALL, period=period, time_zone=zone)

        assert try_hold(world.api(route(budget=rules))) is None


def test_an_unknown_time_zone_fails_closed(world: World) -> None:
    """When the period begins can't be said, so nothing is spent; the reason is kept."""
    compiled = route(budget=BudgetRules(limit_nano_usd=10**9, time_zone="Mars/Olympus"))

    assert not world.api(compiled).may_take(ASK, 0.0)
    assert world.api(compiled).hold(ASK, 0.0) is NotSent.NO
    assert "Mars/Olympus" in (world.route(compiled).budget.error or "")


def test_a_backend_that_reports_more_than_was_held_is_charged_and_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Loudly; and the next holds have that much less."""
    compiled = route(3 * CALL)
    meter = world.api(compiled)
    meter.settle(held(meter), 0.0, Usage(1000, 0, 500 + 800), may_have_cost=True)

    counters = world.route(compiled).budget.counters
    assert (counters.overshoots, counters.overshoot_nano_usd) == (1, 800 * 600)
    assert "more than the most" in caplog.text
    spending = world.route(compiled).budget.current()
    assert spending is not None
    assert spending.account.left == 2 * CALL - 800 * 600
    held(meter)
    assert not meter.may_take(ASK, 0.0)
    assert try_hold(meter, 0.0) is None


def test_percentages_are_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """50, 75, and spent: one line each in the log, one count each in the metrics."""
    compiled = route(10 * CALL)
    meter = world.api(compiled)
    while (hold := try_hold(meter)) is not None:
        meter.settle(hold, 0.0, None, may_have_cost=True)
    for _ in range(3):
        assert world.route(compiled).count_passed_over(ASK)
    world.written()

    assert world.route(compiled).budget.counters.alerts == {50: 1, 75: 1, 100: 1}
    assert [line for line in caplog.messages if "has spent" in line] == [
        f"budget: ns/tiny has spent {percent} % of its limit in this period" for percent in (50, 75, 100)
    ]


def test_the_operator_is_told_nothing_before_the_ledger_has_been_read(world: World) -> None:
    """That nothing was spent would be believed."""
    compiled = route(10 * CALL)
    meter = world.api(compiled)
    assert world.route(compiled).budget.demand() is None
    meter.settle(held(meter), 0.0, None, may_have_cost=True)

    said = world.route(compiled).budget.demand()

    assert said is not None
    assert (said.limit_nano_usd, said.charged_nano_usd) == (10 * CALL, CALL)


def test_a_route_says_of_which_percentages_to_tell(world: World) -> None:
    """budget.alerts, changed in the middle of a period: of what was passed already only the highest is told."""
    quiet = route(budget=BudgetRules(limit_nano_usd=10 * CALL, alerts=(90,)))
    meter = world.api(quiet)
    for _ in range(6):
        meter.settle(held(meter), 0.0, None, may_have_cost=True)
    assert world.route(quiet).budget.counters.alerts == {}

    meter = world.api(route(budget=BudgetRules(limit_nano_usd=10 * CALL, alerts=(20, 40, 80))))
    meter.settle(held(meter), 0.0, USAGE, may_have_cost=True)
    world.written()

    assert world.route(quiet).budget.counters.alerts == {40: 1}


def test_a_hold_knows_the_version_of_its_price(world: World) -> None:
    """For whoever writes down what was charged."""
    assert held(world.api(route(10**9, hosted(price_version="abc")))).price_version == "abc"


# -- the ledger ----------------------------------------------------------------------------------------------------


def test_a_restart_has_spent_what_it_had(tmp_path: Path) -> None:
    """In order: to the nano-dollar."""
    compiled = route(3 * CALL)
    first = World(tmp_path / "ledger.db")
    meter = first.ready(first.api(compiled))
    meter.settle(held(meter), 0.0, USAGE, may_have_cost=True)
    assert first.metering.close()
    second = World(tmp_path / "ledger.db")
    held(second.ready(second.api(compiled)))
    spending = second.route(compiled).budget.current()
    assert spending is not None

    assert spending.account.charged_before == COST
    second.metering.close()


@pytest.mark.parametrize("killed", [True, False])
def test_limits_of_rates_survive_a_restart(tmp_path: Path, *, killed: bool) -> None:
    """Of consumers, of consumers at a route, of providers: a restart is no new minute, and the minute ends as ever."""
    compiled = route(None, hosted(requests_per_minute=1), per_consumer=ConsumerLimitRules(tokens_per_minute=700))
    me, other = grant(requests_per_minute=2), grant("ns/other")
    first = World(tmp_path / "ledger.db")
    at = first.route(compiled)
    first.settle(first.admit(me, at, Ask(100, 100, 100)), Usage(50, 0, 50))
    first.now, first.unix = first.now + 20.0, first.unix + 20.0
    first.admit(me, at, Ask(100, 100, 100))
    first.admit(other, at, Ask(100, 500, 500))
    held(first.api(compiled), first.now)
    first.metering.tick()
    first.written()
    if not killed:
        assert first.metering.close()
    second = World(tmp_path / "ledger.db")
    second.now, second.unix = 5.0, first.unix + 5.0
    again = second.route(compiled)

    refused = second.admit(me, again, Ask(1, 1, 1))
    assert isinstance(refused, ApiError)
    assert 30 <= (refused.retry_after_seconds or 0) <= 36
    assert isinstance(second.admit(other, again, Ask(100, 100, 100)), ApiError)
    assert isinstance(second.admit(other, again, Ask(50, 10, 10)), Admission)
    assert second.api(compiled).hold(ASK, second.now) is NotSent.NO
    second.now, second.unix = second.now + 60.0, second.unix + 60.0
    assert isinstance(second.admit(me, again, Ask(1, 1, 1)), Admission)
    held(second.api(compiled), second.now)
    second.metering.close()
    first.metering.close()


def test_calls_under_way_at_the_end_stay_charged(tmp_path: Path) -> None:
    """The process went away before their answers: never refunded."""
    compiled = route(3 * CALL)
    first = World(tmp_path / "ledger.db")
    held(first.ready(first.api(compiled)))
    assert first.metering.close()
    second = World(tmp_path / "ledger.db")
    held(second.ready(second.api(compiled)))
    spending = second.route(compiled).budget.current()
    assert spending is not None

    assert spending.account.charged_before == CALL
    second.metering.close()


def test_a_ledger_that_can_t_be_written_stops_spills_of_routes_with_a_budget(tmp_path: Path) -> None:
    """Only those: hosted APIs without a cap and replicas serve on. And it heals by itself."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no ledger " * 1000)
    world = World(path)
    capped, free = world.api(route(10**9)), world.api(route(name="free"))

    assert try_hold(capped, world.now) is None
    assert not capped.may_take(ASK, world.now)
    assert world.ledger.error is not None
    assert free.may_take(ASK, world.now)
    assert try_hold(free, world.now) is not None

    answered(capped)
    path.unlink()
    assert isinstance(world.ledger, SqliteLedger)
    world.ledger.failed_at = float("-inf")
    world.now += 10.0
    world.metering.tick()
    answered(capped)
    assert capped.may_take(ASK, world.now)
    held(capped, world.now)
    world.metering.close()


def test_a_ledger_that_hangs_is_waited_for_by_nobody_s_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold says WAIT at once; who has waited long enough says so, and spills stop until the ledger answers."""
    gate = Event()
    write = SqliteLedger.write

    def slow(self: SqliteLedger, batch: list[Any], *, always: bool = False) -> None:
        gate.wait(20.0)
        write(self, batch, always=always)

    def waits(*_: object) -> bool:
        raise AssertionError("the thread of requests waits")

    world = World(tmp_path / "ledger.db")
    monkeypatch.setattr(SqliteLedger, "write", slow)
    meter = world.api(route(10**9))
    with monkeypatch.context() as forbidden:
        forbidden.setattr(Told, "take", waits)
        assert [meter.hold(ASK, world.now) for _ in range(50)] == [NotSent.WAIT] * 50
        spending = meter.budget.at_hand
        assert spending is not None
        spending.waited_in_vain()
        assert meter.hold(ASK, world.now) is NotSent.NO
        assert meter.budget.unusable, "it is not the money that is lacking"
        assert not meter.may_take(ASK, world.now)
        world.route(route(10**9, name="gone"))
        world.metering.forget_route("ns/gone")
    gate.set()
    answered(meter)
    assert meter.may_take(ASK, world.now)
    held(meter, world.now)
    world.metering.close()


def test_looking_changes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """However often a held request asks: nothing is counted, told, leased or begun."""
    compiled = route(budget=BudgetRules(limit_nano_usd=10 * CALL, period="Day", alerts=(100,)))
    meter = world.ready(world.api(compiled))
    at = world.route(compiled)
    for _ in range(10):
        meter.settle(held(meter), 0.0, None, may_have_cost=True)
    answered(meter)
    world.now += 1000.0
    leases, spending = world.ledger.leases, at.budget.at_hand
    caplog.clear()

    for _ in range(100):
        assert not meter.may_take(ASK, world.now)
        assert not at.is_affordable(ASK)
    world.unix += DAY
    assert meter.may_take(ASK, world.now), "a new day has new money"

    assert at.budget.counters.refused == 0
    assert (world.ledger.leases, at.budget.spending) == (leases, spending)
    assert not caplog.messages


def test_a_request_that_finds_no_money_counts_once(world: World) -> None:
    """And tells that the budget is spent."""
    compiled = route(10 * CALL)
    meter = world.api(compiled)
    while (hold := try_hold(meter)) is not None:
        meter.settle(hold, 0.0, None, may_have_cost=True)
    assert world.route(compiled).count_passed_over(ASK)
    world.written()

    assert world.route(compiled).budget.counters.refused == 1
    assert world.route(compiled).budget.counters.alerts[100] == 1
    assert not world.route(route(None, name="free")).count_passed_over(ASK)


def test_at_its_limit_an_account_looks_whether_others_have_given_back(tmp_path: Path) -> None:
    """Two processes with one file: what one gives back the other may spend, without a request that is refused first."""
    compiled = route(CALL)
    first, second = World(tmp_path / "ledger.db"), World(tmp_path / "ledger.db")
    hold = held(first.ready(first.api(compiled)))
    poor = second.ready(second.api(compiled))
    assert try_hold(poor) is None
    first.api(compiled).settle(hold, 0.0, None, may_have_cost=False)
    assert first.metering.close()

    second.now += 11.0
    second.metering.tick()
    answered(poor)

    held(poor)
    second.metering.close()


@settings(max_examples=settings().max_examples // 2)
@given(st.data())
def test_any_mix_of_calls_stays_within_the_cap(data: st.DataObject) -> None:
    """Over the real ledger's thread: what was charged and what is held are never above the limit."""
    world = World()
    limit = data.draw(st.integers(CALL, 30 * CALL))
    meter = world.api(route(limit))
    open_ones: list[tuple[Hold, int]] = []
    charged = 0
    for _ in range(data.draw(st.integers(1, 60))):
        settles: bool = data.draw(st.booleans()) if open_ones else False
        if settles:
            hold, longest = open_ones.pop()
            usage = data.draw(st.sampled_from([None, Usage(200, 0, min(50, longest)), Usage(1000, 0, longest)]))
            charged += meter.settle(hold, world.now, usage, may_have_cost=data.draw(st.booleans()))
        else:
            asked = data.draw(st.sampled_from([None, 10, 500, 10_000]))
            found = try_hold(meter, world.now, Ask(250, 100, asked, 1, prompt_tokens_max=1000))
            if found is not None:
                open_ones.append((found, found.output_tokens_max or asked or 0))
        assert charged + sum(hold.nano_usd for hold, _ in open_ones) <= limit
    world.metering.close()
