"""Advice in words: tables, the break-even, changes with their reasons, a patch and what it changes in the YAML."""

from collections.abc import Mapping, Sequence
from difflib import unified_diff
from typing import Any, Final

import yaml

from overspill_planner.advice import BreakEven, Recommendation, Setup
from overspill_planner.comparison import SLO_SHARE
from overspill_planner.merging import merged
from overspill_planner.report import aligned, duration

HEADERS: Final = (
    "setup", "USD/month", "GPU", "API", "in time", "TTFT p99", "spilled", "refused", "pays from", "carries",
)  # fmt: skip
NONE: Final = "-"


def setups_table(setups: Sequence[Setup]) -> list[str]:
    """A line for each."""
    return aligned([HEADERS, *(_cells(setup) for setup in setups)])


def _cells(setup: Setup) -> tuple[str, ...]:
    outcome, even = setup.outcome, setup.break_even
    money = (outcome.usd, outcome.replica_usd, outcome.hosted_usd)
    late = outcome.first_token.p99
    return (
        setup.name,
        *(f"{setup.usd_a_month(usd):,.0f}" for usd in money),
        f"{outcome.slo_share:.2%}",
        NONE if late is None else f"{late:.2f}s",
        f"{outcome.spilled_share:.1%}",
        str(outcome.outcomes.get("refused", 0)),
        NONE if even is None else f"{even.pays_from:.2f}/s" if even.pays else "never",
        NONE if even is None else f"{even.carries:.2f}/s",
    )


def setups_notes(seconds: float) -> list[str]:
    """What the table's columns mean."""
    month = f"A month is 30 days like the {duration(seconds)} of the trace."
    pays = "Pays from: requests a second at which one replica costs what the hosted API would; carries: its most."
    return [month, pays, "Of other profiles: see whether the model fits, and whether the chart's values have them."]


def break_even_text(even: BreakEven, profile: str) -> str:
    """From where on a replica pays, in words."""
    costs = f"a replica of {profile} costs {even.replica_usd_per_hour:g} USD an hour"
    if not even.pays:
        return (
            f"Break-even: never. {costs[0].upper()}{costs[1:]}, for which the hosted API serves {even.pays_from:.2f} "
            f"requests a second of these lengths; the replica carries {even.carries:.2f}."
        )
    return (
        f"Break-even: {even.pays_from:.2f} requests a second, or {even.tokens_per_month / 1e6:,.0f} million tokens a "
        f"month: {costs}, and so much of this trace's mix costs the same at the hosted API. It carries "
        f"{even.carries:.2f} requests a second, so that it pays while it is busy for {even.busy_share:.0%} of its time."
    )


def cheaper_text(setups: Sequence[Setup], recommendation: Recommendation) -> list[str]:
    """Setups that cost less than the route with the best settings and are in time as it is; a line, or none."""
    own = recommendation.after.outcome
    enough = min(own.slo_share, SLO_SHARE)
    better = [
        setup for setup in setups[1:] if setup.outcome.usd < own.usd and setup.outcome.slo_share >= enough
    ]  # fmt: skip
    if not better:
        return []
    told = (
        f"{setup.name}, {setup.usd_a_month(setup.outcome.usd):,.0f} USD a month"
        for setup in sorted(better, key=lambda setup: setup.outcome.usd)
    )
    return [f"Cheaper than that, and in time as well: {'; '.join(told)}"]


def recommendation_text(recommendation: Recommendation) -> list[str]:
    """What to change, and what that does."""
    before, after = recommendation.before, recommendation.after
    if not recommendation.changes:
        return ["Recommended: leave the settings as they are; none that was tried is 1 % cheaper, or more in time."]
    usd = after.usd_a_month(after.outcome.usd - before.outcome.usd)
    lines = [
        (
            f"Recommended: {after.usd_a_month(after.outcome.usd):,.0f} instead of "
            f"{before.usd_a_month(before.outcome.usd):,.0f} USD a month ({usd:+,.0f}), in time "
            f"{before.outcome.slo_share:.2%} -> {after.outcome.slo_share:.2%}, spilled "
            f"{before.outcome.spilled_share:.1%} -> {after.outcome.spilled_share:.1%}"
        )
    ]
    for change in recommendation.changes:
        was = "the default" if change.before is None else change.before
        usd = after.usd_a_month(change.usd)
        lines.append(
            f"  spec.{change.path}: {change.after} instead of {was}: {usd:+,.0f} USD a month, "
            f"in time {change.slo_share:+.2%}"
        )
    return lines


def patch_text(recommendation: Recommendation) -> str:
    """The patch as YAML."""
    return str(yaml.safe_dump(recommendation.patch, sort_keys=False))


def diff_text(spec: Mapping[str, Any], recommendation: Recommendation) -> list[str]:
    """What the patch changes of ``spec``, as a unified diff of its YAML."""
    contents = ({"spec": dict(spec)}, merged({"spec": dict(spec)}, recommendation.patch))
    before, after = (
        yaml.safe_dump(content, sort_keys=False, allow_unicode=True).splitlines() for content in contents
    )  # fmt: skip
    return list(unified_diff(before, after, "as it is", "recommended", lineterm="", n=2))
