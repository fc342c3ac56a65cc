"""``overspill plan``: costs by GPU and hosted API, the break-even, better settings; or what a change of YAML costs."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill
from typing import Any, Final

from overspill_cli.errors import CommandError
from overspill_cli.progress import Progress
from overspill_cli.prometheus_trace import asked
from overspill_cli.route_files import WrittenRoute, page_of, route_in, write
from overspill_cli.simulating import assumptions_of, check_numbers, trace_of
from overspill_planner.advice import Advising, Setup
from overspill_planner.advice_report import (
    break_even_text,
    cheaper_text,
    diff_text,
    patch_text,
    recommendation_text,
    setups_notes,
    setups_table,
)
from overspill_planner.difference import markdown
from overspill_planner.profiles import SettingError
from overspill_planner.report import heading
from overspill_planner.traces.arrival import Arrival, TraceError
from overspill_planner.traces.drawing import from_windows, lengths_of
from overspill_planner.traces.reading import read_trace

WIDTH: Final = 110
"""Characters of a line of prose."""


def plan(options: argparse.Namespace) -> int:
    """Run the command; the exit code."""
    chosen = route_in(options.route, options.name)
    other = route_in(options.against, options.name) if options.against is not None else None
    check_numbers(options)
    patch = page_of(options.patch) if options.patch is not None else None
    try:
        arrivals = _arrivals(options, chosen)
        if other is not None:
            _print_difference(options, chosen, other, arrivals)
        else:
            _print_plan(options, chosen, arrivals, patch)
    except (SettingError, TraceError) as error:
        raise CommandError(str(error)) from error
    return 0


def _arrivals(options: argparse.Namespace, chosen: WrittenRoute) -> list[Arrival]:
    """Of a file, or drawn from what Prometheus knows; then the route's windows begin when those did."""
    if options.from_prometheus is None:
        return trace_of(options, chosen.key)
    known = asked(options, chosen.key)
    options.begins = datetime.fromtimestamp(known.begins_unix, UTC).isoformat()
    options.trace = f"Prometheus, the last {options.days:g} days"
    lengths = lengths_of(read_trace(Path(options.lengths))) if options.lengths else known.lengths
    arrivals = from_windows(known.windows, options.seed, lengths, options.scale)
    if not arrivals:
        raise TraceError(f"{options.trace}: there is no request in it at scale {options.scale:g}; raise the scale")
    return arrivals


def _print_plan(options: argparse.Namespace, chosen: WrittenRoute, arrivals: list[Arrival], patch: Path | None) -> None:
    spec = chosen.content["spec"]
    progress = Progress()
    advising = Advising(spec, assumptions_of(options), arrivals, progress.goes_on)
    alternatives = advising.alternatives()
    progress.steps = [*advising.setup_names(), *alternatives]
    comparison = advising.comparison
    for line in heading(comparison.route, comparison.demand):
        print(line)
    setups: list[Setup] = []
    with progress:
        for setup in advising.setups():
            setups.append(setup)
            progress.has_done(setup.name)
        recommendation = advising.recommended(setups[0], alternatives, progress.has_done)
    print()
    for line in (*setups_table(setups), *setups_notes(comparison.seconds)):
        print(line)
    even = setups[0].break_even
    if even is not None:
        print(f"\n{fill(break_even_text(even, spec['selfHosted']['profile']), WIDTH)}")
    print()
    for line in (*recommendation_text(recommendation), *cheaper_text(setups, recommendation)):
        print(line)
    if not recommendation.changes:
        return
    print()
    for line in diff_text(spec, recommendation):
        print(line)
    text = patch_text(recommendation)
    place = patch if patch is not None else "patch.yaml"
    namespace = _namespace(chosen.content)
    print(f"\nkubectl patch modelroute {chosen.name}{namespace} --type merge --patch-file {place}")
    if patch is not None:
        write(patch, text)
    else:
        print(f"# {place}:\n{text}", end="")


def _print_difference(
    options: argparse.Namespace, chosen: WrittenRoute, other: WrittenRoute, arrivals: list[Arrival]
) -> None:
    """From the other version to the chosen one."""
    setups = []
    progress = Progress(["before", "after"])
    seconds = 0.0
    with progress:
        for step, written in (("before", other), ("after", chosen)):
            advising = Advising(written.content["spec"], assumptions_of(options), arrivals, progress.goes_on)
            setups.append(next(advising.setups()))
            progress.has_done(step)
            seconds = advising.comparison.route.setting.slo_seconds
    before, after = setups
    print(markdown(chosen.name, before, after, Path(options.trace).name, seconds))


def _namespace(content: dict[str, Any]) -> str:
    namespace = content["metadata"].get("namespace")
    return f" --namespace {namespace}" if namespace else ""
