"""A comparison for people, as a table, and for programs, as JSON."""

from collections.abc import Sequence
from typing import Any, Final

from overspill_planner.comparison import Demand, Row
from overspill_planner.route import Route

HEADERS: Final = (
    "policy", "cost", "x optimum", "GPU", "API", "$/request", "$/1M tok", "TTFT p50", "p95", "p99", "ITL p50", "p95",
    "in time", "spilled", "regret", "refused", "GPU h", "idle", "starts",
)  # fmt: skip
NONE: Final = "-"


def heading(route: Route, demand: Demand) -> list[str]:
    """What the figures are of."""
    setting = route.setting
    scaling = route.scaling.scaling
    work = (
        f"{demand.requests:,} requests in {duration(demand.seconds)}, work for {demand.mean_replicas:.2f} replicas on "
        f"average; {scaling.min_replicas} to {scaling.max_replicas} replicas at {setting.replica_hour_usd:g} USD an "
        f"hour, ready after {setting.loading.seconds:g} s"
    )
    lines = [work]
    if demand.rho is not None:
        lines.append(
            f"rho {demand.rho:.2f}: the hosted API costs so many times what a busy replica costs for the same work"
        )
    lines.append(f"in time: a first token within {setting.slo_seconds:g} s")
    if route.left_out:
        lines.append(f"not simulated: {', '.join(route.left_out)}")
    return lines


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of the table."""
    lines = aligned([HEADERS, *(cells(row) for row in rows)])
    chosen = [f"{row.name}: {row.setting}" for row in rows if row.setting]
    return lines + chosen


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns under their heads: the first to the left, all others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def cells(row: Row) -> tuple[str, ...]:
    """A line of the table, under ``HEADERS``."""
    money = (
        row.name,
        f"{row.usd:.2f}",
        _figure(row.ratio, "{:.2f}"),
        f"{row.replica_usd:.2f}",
        f"{row.hosted_usd:.2f}",
    )
    paid = (f"{row.replica_hours:.1f}",)
    outcome = row.outcome
    if outcome is None:
        return (*money, *[NONE] * 11, *paid, NONE, str(row.starts))
    first, inter = outcome.first_token, outcome.inter_token
    refused = outcome.outcomes.get("refused", 0)
    return (
        *money,
        _figure(outcome.usd / outcome.requests if outcome.requests else None, "{:.6f}"),
        _figure(outcome.usd / outcome.tokens * 1e6 if outcome.tokens else None, "{:.3f}"),
        *(_figure(value, "{:.2f}s") for value in (first.p50, first.p95, first.p99)),
        *(_figure(value * 1000.0 if value is not None else None, "{:.0f}ms") for value in (inter.p50, inter.p95)),
        f"{outcome.slo_share:.2%}", f"{outcome.spilled_share:.1%}",
        _figure(outcome.regret_usd, "{:.2f}"), str(refused), *paid, f"{outcome.idle_share:.0%}",
        str(row.starts),
    )  # fmt: skip


def as_json(rows: Sequence[Row], demand: Demand, route: Route, per_minute: int) -> dict[str, Any]:
    """The same for programs. ``per_minute``: requests that were simulated in a minute."""
    return {
        "policies": {row.name: _json(row) for row in rows},
        "requests": demand.requests,
        "seconds": demand.seconds,
        "mean_replicas": round(demand.mean_replicas, 4),
        "rho": None if demand.rho is None else round(demand.rho, 4),
        "load_seconds": route.setting.loading.seconds,
        "slo_seconds": route.setting.slo_seconds,
        "seed": route.setting.seed,
        "not_simulated": list(route.left_out),
        "simulated_requests_per_minute": per_minute,
    }


def _json(row: Row) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "cost_usd": row.usd,
        "ratio_to_optimal": row.ratio,
        "gpu_usd": row.replica_usd,
        "api_usd": row.hosted_usd,
        "gpu_hours": row.replica_hours,
        "starts": row.starts,
    }
    outcome = row.outcome
    if outcome is not None:
        figures |= {
            "ttft_slo_share": outcome.slo_share,
            "spilled_share": outcome.spilled_share,
            "regret_usd": outcome.regret_usd,
            "wrong_spill_share": outcome.wrong_spill_share,
            "late_hold_share": outcome.late_hold_share,
            "refused": outcome.outcomes.get("refused", 0),
            "idle_share": outcome.idle_share,
            "preemptions": outcome.preemptions,
            "usd_per_request": outcome.usd / outcome.requests if outcome.requests else None,
            "usd_per_million_tokens": outcome.usd / outcome.tokens * 1e6 if outcome.tokens else None,
            "ttft_seconds": {name: getattr(outcome.first_token, name) for name in ("p50", "p95", "p99")},
            "itl_seconds": {name: getattr(outcome.inter_token, name) for name in ("p50", "p95", "p99")},
            "digest": outcome.digest,
        }
    if row.setting:
        figures["setting"] = row.setting
    return figures


def _figure(value: float | None, form: str) -> str:
    return NONE if value is None else form.format(value)


def duration(seconds: float) -> str:
    """A stretch of time, in words."""
    if seconds >= 2 * 86_400.0:
        return f"{seconds / 86_400.0:.1f} days"
    return f"{seconds / 3600.0:.1f} hours" if seconds >= 2 * 3600.0 else f"{seconds / 60.0:.0f} minutes"
