"""Metrics of limits, budgets, the ledger and consumers."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from overspill_api.compiled import BudgetRules, CompiledRoute, ConsumerLimitRules, HostedBackend, OverflowRules
from overspill_gateway.admin.metrics import Metrics
from overspill_gateway.clock import Clock
from overspill_gateway.core.answers.usage import Usage
from overspill_gateway.core.counters import BackendCounters
from overspill_gateway.core.money.budget import Hold
from overspill_gateway.core.requests.access import Grant
from overspill_gateway.core.requests.ask import Ask
from overspill_gateway.money.metering import Admission, HostedMeter, Metering, RouteMeter
from unit.gateway.ledgers import Told, all_written, ledger_at

NOW = 1_800_000_000.0
HOSTED = HostedBackend(
    name="api", base_url="http://api.test/v1", model="m", input_nano_usd_per_million=150_000_000,
    output_nano_usd_per_million=600_000_000, price_version="v1",
)  # fmt: skip
ROUTE = CompiledRoute(
    namespace="ns", name="tiny", uid="u", generation=1, model="tiny", hosted=(HOSTED,),
    overflow=OverflowRules(on_cold_start="Hosted"), budget=BudgetRules(limit_nano_usd=1_000_000),
    per_consumer=ConsumerLimitRules(requests_per_minute=1),
)  # fmt: skip
ASK = Ask(250, 100, 500, 1, prompt_tokens_max=1000)


class Metered:
    """A route, as far as metering looks at it."""

    def __init__(self, meter: RouteMeter) -> None:
        self.meter = meter


@pytest.fixture
def told() -> Told:
    """What the ledger has answered."""
    return Told()


@pytest.fixture
def metering(told: Told) -> Metering:
    """One budget, in memory, at one moment."""
    made = Metering(ledger_at(None, told), Clock(lambda: 0.0, lambda: NOW))
    made.route(ROUTE)
    return made


async def samples(metering: Metering) -> dict[str, float]:
    """What /metrics says, by name and labels; the text has to be one that Prometheus reads."""
    text = (await Metrics({}, list, metering).text()).decode()
    assert text.endswith("\n")
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for one in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(one.labels.items()))
            key = f"{one.name}{{{labels}}}" if labels else one.name
            assert key not in found, f"{key} came twice"
            found[key] = one.value
    return found


def granted(meter: HostedMeter, told: Told) -> Hold:
    """A hold, once the ledger has answered."""
    while not isinstance(hold := meter.hold(ASK, 0.0), Hold):
        told.take()
    return hold


async def test_what_was_charged_is_absent_until_the_ledger_has_said_it(metering: Metering, told: Told) -> None:
    """0 would say that nothing was spent, and nobody knows yet."""
    assert metering.route(ROUTE).budget.current() is not None

    before = await samples(metering)
    told.take()

    assert not [name for name in before if "charged_nano_usd{" in name and "budget" in name]
    assert (await samples(metering))["overspill_budget_charged_nano_usd{route=ns/tiny}"] == 0


async def test_a_budget_is_seen_from_limit_to_holds(metering: Metering, told: Told) -> None:
    """What is charged, what is held, what was charged without knowing, and how far it is to the cap."""
    route = metering.route(ROUTE)
    meter = route.meter_of(HOSTED, BackendCounters())
    first, second = granted(meter, told), granted(meter, told)
    meter.settle(first, 0.0, None, may_have_cost=True)
    assert route.count_passed_over(Ask(250, 100, 100_000, 1, prompt_tokens_max=1000))

    seen = await samples(metering)

    assert seen["overspill_budget_limit_nano_usd{route=ns/tiny}"] == 1_000_000
    assert seen["overspill_budget_charged_nano_usd{route=ns/tiny}"] == 450_000
    assert seen["overspill_budget_held_nano_usd{route=ns/tiny}"] == 450_000
    assert seen["overspill_budget_up{route=ns/tiny}"] == 1
    assert seen["overspill_budget_refusals_total{route=ns/tiny}"] == 1
    assert seen["overspill_budget_overshoots_total{route=ns/tiny}"] == 0
    assert seen["overspill_holds_outstanding{backend=hosted/api,route=ns/tiny}"] == 1
    assert seen["overspill_charged_in_full_total{backend=hosted/api,route=ns/tiny}"] == 1
    assert seen["overspill_hosted_price{backend=hosted/api,price_version=v1,route=ns/tiny}"] == 1
    meter.settle(second, 0.0, Usage(1000, 0, 600), may_have_cost=True)
    all_written(metering.ledger, told)
    seen = await samples(metering)
    assert seen["overspill_budget_overshoot_nano_usd_total{route=ns/tiny}"] == 100 * 600
    assert seen["overspill_budget_alerts_total{percent=75,route=ns/tiny}"] == 1


async def test_it_is_said_whether_the_ledger_works_and_lasts(metering: Metering) -> None:
    """In memory, of one process: what an operator has to know before trusting a cap."""
    seen = await samples(metering)

    assert (seen["overspill_ledger_up"], seen["overspill_ledger_durable"]) == (1, 0)


async def test_consumers_are_counted_by_who_counted_their_tokens(metering: Metering) -> None:
    """Reported and estimated tokens apart, refused requests, and what they cost."""
    at = Metered(metering.route(ROUTE))
    me = Grant("ns/me", frozenset(), frozenset())
    first = metering.admit(me, at, ASK, 0.0)
    assert isinstance(first, Admission)
    metering.settle(first, Usage(200, 0, 50), 0.0, served=True, nano_usd=60_000)
    assert not isinstance(metering.admit(me, at, ASK, 1.0), Admission)
    later = metering.admit(me, at, ASK, 100.0)
    assert isinstance(later, Admission)
    metering.settle(later, Usage(210, 0, 40, reported=False), 100.0, served=True)

    seen = await samples(metering)

    assert seen["overspill_consumer_requests_total{consumer=ns/me}"] == 2
    assert seen["overspill_consumer_limited_requests_total{consumer=ns/me}"] == 1
    assert seen["overspill_limited_requests_total{route=ns/tiny}"] == 1
    assert seen["overspill_consumer_cost_nano_usd_total{consumer=ns/me}"] == 60_000
    tokens = "overspill_consumer_tokens_total{{consumer=ns/me,token_type={},usage_source={}}}"
    assert seen[tokens.format("input", "reported")] == 200
    assert seen[tokens.format("output", "reported")] == 50
    assert seen[tokens.format("input", "estimated")] == 210
    assert seen[tokens.format("output", "estimated")] == 40


async def test_a_strange_name_does_not_break_the_page(metering: Metering) -> None:
    """Labels are escaped."""
    metering.records.of('a"b\\c\nd').requests += 1

    assert (await samples(metering))['overspill_consumer_requests_total{consumer=a"b\\c\nd}'] == 1
