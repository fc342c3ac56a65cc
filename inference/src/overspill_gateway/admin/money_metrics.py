"""Metrics of limits, budgets, the ledger, and what each consumer used."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from overspill_gateway.core.counters import ConsumerCounters
from overspill_gateway.money.ledger_store import LedgerStore
from overspill_gateway.money.metering import RouteMeter


def money_metrics(routes: Mapping[str, RouteMeter], ledger: LedgerStore) -> Iterator[Metric]:
    """Budgets and limits of these routes."""
    yield from _budgets(routes, ledger)
    yield from _calls(routes)
    limited = CounterMetricFamily(
        "overspill_limited_requests", "Requests refused by limits of their consumers.", labels=["route"]
    )
    for key, route in routes.items():
        limited.add_metric([key], route.limited_requests)
    yield limited


def ledger_metrics(ledger: LedgerStore) -> Iterator[Metric]:
    """Where money is written down."""
    yield GaugeMetricFamily(
        "overspill_ledger_up", "1 while the budgets' ledger can be written.", value=int(ledger.error is None)
    )
    yield GaugeMetricFamily(
        "overspill_ledger_durable", "1: what was spent outlives this process.", value=int(ledger.durable)
    )
    yield CounterMetricFamily("overspill_ledger_errors", "Writes of the ledger that failed.", value=ledger.errors)
    yield CounterMetricFamily(
        "overspill_ledger_dropped", "Changes that can never be written, and were left out.", value=ledger.dropped
    )
    yield CounterMetricFamily(
        "overspill_ledger_losses", "How often the file vanished while it was used.", value=ledger.losses
    )
    yield CounterMetricFamily("overspill_ledger_leases", "Blocks of money written down.", value=ledger.leases)


def _budgets(routes: Mapping[str, RouteMeter], ledger: LedgerStore) -> Iterator[Metric]:
    route_label = ["route"]
    limit = GaugeMetricFamily("overspill_budget_limit_nano_usd", "Cap of the period.", labels=route_label)
    charged = GaugeMetricFamily(
        "overspill_budget_charged_nano_usd", "Charged in this period, crashed leases included.", labels=route_label
    )
    held = GaugeMetricFamily("overspill_budget_held_nano_usd", "Held for calls under way.", labels=route_label)
    leased = GaugeMetricFamily(
        "overspill_budget_leased_nano_usd", "Written down as charged and neither spent nor held.", labels=route_label
    )
    kept = GaugeMetricFamily(
        "overspill_budget_up", "1 while the budget can be kept and spent from.", labels=route_label
    )
    alerts = CounterMetricFamily(
        "overspill_budget_alerts", "Percentages of the limit that were reached.", labels=["route", "percent"]
    )
    refused = CounterMetricFamily(
        "overspill_budget_refusals",
        "Requests kept from hosted APIs by lack of money, or of a price.",
        labels=route_label,
    )
    overshoots = CounterMetricFamily(
        "overspill_budget_overshoots", "Calls that cost more than was held for them.", labels=route_label
    )
    overshoot = CounterMetricFamily(
        "overspill_budget_overshoot_nano_usd", "What calls cost beyond their holds.", labels=route_label
    )
    for key, route in routes.items():
        budget = route.budget
        if budget.rules is None:
            continue
        spending = budget.at_hand
        limit.add_metric([key], budget.rules.limit_nano_usd)
        kept.add_metric([key], int(spending is not None and ledger.error is None))
        if spending is not None and spending.account.is_known:  # before that nobody knows, and 0 would be a lie
            account = spending.account
            charged.add_metric([key], account.charged)
            held.add_metric([key], account.held)
            leased.add_metric([key], max(account.lease_left, 0))
        for percent, count in budget.counters.alerts.items():
            alerts.add_metric([key, str(percent)], count)
        refused.add_metric([key], budget.counters.refused)
        overshoots.add_metric([key], budget.counters.overshoots)
        overshoot.add_metric([key], budget.counters.overshoot_nano_usd)
    yield from (limit, charged, held, leased, kept, alerts, refused, overshoots, overshoot)


def _calls(routes: Mapping[str, RouteMeter]) -> Iterator[Metric]:
    both = ["route", "backend"]
    holds = GaugeMetricFamily("overspill_holds_outstanding", "Calls of hosted APIs that are not settled.", labels=both)
    uncertain = CounterMetricFamily(
        "overspill_charged_in_full", "Calls whose cost nobody knows: charged their worst case.", labels=both
    )
    prices = GaugeMetricFamily(
        "overspill_hosted_price", "1: by which price calls are charged now.", labels=[*both, "price_version"]
    )
    charged = CounterMetricFamily(
        "overspill_charged_nano_usd", "Charged, by the price that was charged.", labels=[*both, "price_version"]
    )
    doubted = CounterMetricFamily(
        "overspill_reports_doubted", "Answers that report more tokens than any call has: charged in full.", labels=both
    )
    for key, route in routes.items():
        for name, hosted in route.hosted.items():
            labels = [key, f"hosted/{name}"]
            for version, nano_usd in hosted.counters.cost_by_price_version.items():
                charged.add_metric([*labels, version], nano_usd)
            doubted.add_metric(labels, hosted.counters.reports_doubted)
            if hosted.price is not None:
                prices.add_metric([*labels, hosted.backend.price_version], 1)
            holds.add_metric(labels, hosted.holds)
            uncertain.add_metric(labels, hosted.counters.charged_in_full)
    yield from (holds, uncertain, prices, charged, doubted)


CONSUMER_FAMILIES = [
    ("overspill_consumer_requests_total", "Requests that were let in."),
    ("overspill_consumer_limited_requests_total", "Requests refused by its limits."),
    ("overspill_consumer_cost_nano_usd_total", "Nano-dollars of the hosted APIs."),
    ("overspill_consumer_tokens_total", "Tokens, by type and by who counted them."),
]
"""Names and words of the families that ``consumer_lines`` has lines of, in its order."""


def consumer_lines(name: str, row: ConsumerCounters) -> list[list[str]]:
    """One consumer's lines, by family. As text: there may be thousands, of which objects would be dear."""
    shown = _escaped(name)
    return [
        [f'overspill_consumer_requests_total{{consumer="{shown}"}} {row.requests}'],
        [f'overspill_consumer_limited_requests_total{{consumer="{shown}"}} {row.limited}'],
        [f'overspill_consumer_cost_nano_usd_total{{consumer="{shown}"}} {row.cost_nano_usd}'],
        _tokens(shown, row),
    ]


def _tokens(name: str, row: ConsumerCounters) -> list[str]:
    counts = [("input", "reported", row.prompt_tokens), ("output", "reported", row.output_tokens)]
    if row.prompt_tokens_estimated or row.output_tokens_estimated:
        counts += [
            ("input", "estimated", row.prompt_tokens_estimated),
            ("output", "estimated", row.output_tokens_estimated),
        ]
    return [
        f'overspill_consumer_tokens_total{{consumer="{name}",token_type="{kind}",usage_source="{source}"}} {count}'
        for kind, source, count in counts
    ]


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
