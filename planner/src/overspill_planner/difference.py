"""Two versions of a route on one trace, as Markdown that fits under a pull request."""

from collections.abc import Callable
from typing import Final

from overspill_planner.advice import MONTH_SECONDS, Setup
from overspill_planner.report import duration
from overspill_planner.simulator.outcome import Outcome

MINUS: Final = "-"
Figure = Callable[[Setup], float | None]


def _usd(part: Callable[[Outcome], float]) -> Figure:
    return lambda setup: setup.usd_a_month(part(setup.outcome))


def _milliseconds(part: Callable[[Outcome], float | None]) -> Figure:
    def figure(setup: Setup) -> float | None:
        value = part(setup.outcome)
        return None if value is None else value * 1000.0

    return figure


ROWS: Final[tuple[tuple[str, Figure, str], ...]] = (
    ("USD a month", _usd(lambda outcome: outcome.usd), "{:,.0f}"),
    ("for replicas", _usd(lambda outcome: outcome.replica_usd), "{:,.0f}"),
    ("for hosted APIs", _usd(lambda outcome: outcome.hosted_usd), "{:,.0f}"),
    ("first token in time, %", lambda setup: setup.outcome.slo_share * 100.0, "{:.2f}"),
    ("TTFT p50, ms", _milliseconds(lambda outcome: outcome.first_token.p50), "{:,.0f}"),
    ("TTFT p99, ms", _milliseconds(lambda outcome: outcome.first_token.p99), "{:,.0f}"),
    ("ITL p95, ms", _milliseconds(lambda outcome: outcome.inter_token.p95), "{:,.0f}"),
    ("spilled, %", lambda setup: setup.outcome.spilled_share * 100.0, "{:.1f}"),
    ("refused", lambda setup: float(setup.outcome.outcomes.get("refused", 0)), "{:,.0f}"),
    ("replica-hours a month", lambda setup: setup.usd_a_month(setup.outcome.replica_hours), "{:,.0f}"),
    ("starts a day", lambda setup: setup.outcome.starts * 86_400.0 / setup.seconds, "{:,.1f}"),
)
"""What is compared: its name, its figure, and how that is written."""


def headline(before: Setup, after: Setup) -> str:
    """What matters, in a line: such as ``-412 USD a month, p99 TTFT +80 ms, spills +3.0 %``."""
    usd = after.usd_a_month(after.outcome.usd) - before.usd_a_month(before.outcome.usd)
    parts = [f"{_signed(usd, '{:,.0f}')} USD a month"]
    late, late_before = after.outcome.first_token.p99, before.outcome.first_token.p99
    if late is not None and late_before is not None:
        parts.append(f"p99 TTFT {_signed((late - late_before) * 1000.0, '{:,.0f}')} ms")
    spilled = after.outcome.spilled_share - before.outcome.spilled_share
    parts.append(f"spills {_signed(spilled * 100.0, '{:.1f}')} %")
    share = after.outcome.slo_share - before.outcome.slo_share
    if abs(share) >= 0.0005:
        parts.append(f"in time {_signed(share * 100.0, '{:.1f}')} %")
    refused = after.outcome.outcomes.get("refused", 0) - before.outcome.outcomes.get("refused", 0)
    if refused:
        parts.append(f"refused requests {refused:+,}")
    return ", ".join(parts)


def markdown(route: str, before: Setup, after: Setup, trace: str, slo_seconds: float) -> str:
    """All of it. ``route``: its name; ``trace``: the file's."""
    lines = [
        f"### Overspill plan: `{_code(route)}`",
        "",
        f"**{headline(before, after)}**",
        "",
        "| | before | after | difference |",
        "|---|---:|---:|---:|",
    ]
    for name, figure, form in ROWS:
        old, new = figure(before), figure(after)
        if old is None and new is None:
            continue
        difference = _signed(new - old, form) if old is not None and new is not None else MINUS
        lines.append(f"| {name} | {_written(old, form)} | {_written(new, form)} | {difference} |")
    requests = f"{after.outcome.requests:,} requests in {duration(after.seconds)} (`{_code(trace)}`)"
    month = f"a month is {MONTH_SECONDS / 86_400.0:.0f} days like it"
    slo = f"In time: a first token within {slo_seconds:g} s."
    lines += ["", f"Simulated on {requests}; {month}. {slo}"]
    return "\n".join(lines)


def _code(text: str) -> str:
    """A name between backticks that stays there."""
    return text.replace("`", "'").replace("\n", " ")


def _written(value: float | None, form: str) -> str:
    return MINUS if value is None else form.format(value)


def _signed(value: float, form: str) -> str:
    """With its sign; what is written as nothing has none."""
    text = form.format(abs(value))
    if not text.strip("0.,"):
        return "±0"
    return ("+" if value > 0.0 else "-") + text
