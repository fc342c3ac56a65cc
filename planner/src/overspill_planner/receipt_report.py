"""A receipt in words, as a table, and as JSON."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from overspill_planner.comparison import OPTIMAL, Row
from overspill_planner.receipt import CHARGED, REPLAYED, TRUST_SHARE, Truth
from overspill_planner.report import aligned, duration
from overspill_planner.route import Route
from overspill_planner.traces.recordings import Recording

HEADERS: Final = (
    "what", "cost", "against it", "GPU", "API", "x optimum", "in time", "TTFT p50", "p99", "ITL p50", "p95", "spilled",
    "refused", "GPU h", "starts",
)  # fmt: skip
NONE: Final = "-"
WHAT: Final = {
    CHARGED: "as it was", REPLAYED: "its replay", "api-only": "hosted APIs alone", "static": "best fixed number",
    "hpa": "HPA", "kubeai": "KubeAI", "overspill": "Overspill, by this YAML", OPTIMAL: "clairvoyant",
}  # fmt: skip
"""How the rows are called; others by their policy's name."""


def receipt_heading(recording: Recording, route: Route) -> list[str]:
    """What the figures are of."""
    begins, ends = (_time(seconds) for seconds in (recording.begins, recording.ends))
    price = route.setting.replica_hour_usd
    hours = f"{recording.replica_seconds() / 3600.0:.2f} replica-hours at {price:g} USD"
    came = f"{len(recording.arrivals()):,} requests"
    return [
        f"{recording.route} from {begins} to {ends} ({duration(recording.seconds)}): {came}, {hours}",
        f"in time: a first token within {route.setting.slo_seconds:g} s",
    ]


def verdict(truth: Truth) -> list[str]:
    """What it cost, and how far the rest is to be believed."""
    charged = truth.charged
    parts = f"{_usd(charged.replica_usd)} for replicas and {_usd(charged.hosted_usd)} that hosted APIs were charged"
    cost = f"It cost {_usd(charged.usd)} USD: {parts}."
    off = f"The replay of the same requests and replicas costs {_usd(truth.replayed.usd)} USD, {truth.error:+.1%}"
    if abs(truth.error) <= TRUST_SHARE:
        return [cost, f"{off}: so near are the simulated figures above."]
    engines = "the simulated engines or prices are not those that served"
    mend = "Give the speed of yours by --engine, and see the prices in the YAML."
    pace = truth.replica_pace_seconds
    if pace is not None:
        mend = f"Yours took {pace * 1000.0:.1f} ms between two tokens, with all that was in their batches. {mend}"
    return [cost, f"{off}: {engines}.", mend]


def receipt_table(truth: Truth, others: Sequence[Row]) -> list[str]:
    """A line for each; ``against it``: how much more than what it really cost."""
    rows = (truth.charged, truth.replayed, *others)
    lines = aligned([HEADERS, *(_cells(row, truth.charged.usd) for row in rows)])
    chosen = [f"{WHAT.get(row.name, row.name)}: {row.setting}" for row in rows if row.setting]
    return lines + chosen


def _cells(row: Row, charged_usd: float) -> tuple[str, ...]:
    outcome = row.outcome
    against = f"{row.usd / charged_usd - 1.0:+.1%}" if charged_usd and row.name != CHARGED else NONE
    money = (
        WHAT.get(row.name, row.name), _usd(row.usd), against, _usd(row.replica_usd), _usd(row.hosted_usd),
        NONE if row.ratio is None else f"{row.ratio:.2f}",
    )  # fmt: skip
    paid = (f"{row.replica_hours:.2f}", str(row.starts))
    if outcome is None:
        return (*money, *[NONE] * 7, *paid)
    first, inter = outcome.first_token, outcome.inter_token
    return (
        *money,
        f"{outcome.slo_share:.2%}",
        *(NONE if value is None else f"{value:.2f}s" for value in (first.p50, first.p99)),
        *(NONE if value is None else f"{value * 1000.0:.0f}ms" for value in (inter.p50, inter.p95)),
        f"{outcome.spilled_share:.1%}",
        str(outcome.outcomes.get("refused", 0)),
        *paid,
    )


def receipt_json(recording: Recording, truth: Truth, others: Sequence[Row]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "route": recording.route,
        "begins": _time(recording.begins),
        "seconds": recording.seconds,
        "requests": len(recording.arrivals()),
        "replay_error": truth.error,
        "rows": {row.name: _json(row) for row in (truth.charged, truth.replayed, *others)},
    }


def _json(row: Row) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "cost_usd": row.usd, "gpu_usd": row.replica_usd, "api_usd": row.hosted_usd, "ratio_to_optimal": row.ratio,
        "gpu_hours": row.replica_hours, "starts": row.starts,
    }  # fmt: skip
    if row.outcome is not None:
        figures |= {
            "ttft_slo_share": row.outcome.slo_share,
            "spilled_share": row.outcome.spilled_share,
            "refused": row.outcome.outcomes.get("refused", 0),
        }
    return figures


def _usd(usd: float) -> str:
    return f"{usd:,.2f}" if usd >= 1.0 or not usd else f"{usd:.4f}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
