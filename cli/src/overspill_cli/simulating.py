"""``overspill simulate``: a ModelRoute of a file on a trace of a file; a table, and figures as JSON."""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path

from overspill_cli.errors import CommandError
from overspill_cli.progress import Progress
from overspill_cli.route_files import page_of, route_in, write
from overspill_planner.comparison import NAMES, Comparison, Row, names_of
from overspill_planner.pages.report_page import report_page
from overspill_planner.profiles import SettingError
from overspill_planner.report import as_json, heading, table
from overspill_planner.route import Assumptions, route_of
from overspill_planner.traces.arrival import Arrival, TraceError
from overspill_planner.traces.reading import read_trace


def simulate(options: argparse.Namespace) -> int:
    """Run the command; the exit code."""
    chosen = route_in(options.route, options.name)
    check_numbers(options)
    page = page_of(options.html) if options.html is not None else None
    try:
        names = names_of(options.policy) if options.policy is not None else NAMES
        route = route_of(chosen.spec, assumptions_of(options))
        arrivals = trace_of(options, chosen.key)
    except (SettingError, TraceError) as error:
        raise CommandError(str(error)) from error
    progress = Progress(names)
    comparison = Comparison(route, arrivals, progress.goes_on)
    for line in heading(route, comparison.demand):
        print(line)
    rows: list[Row] = []
    began = time.monotonic()
    with progress:
        for row in comparison.rows(names):
            rows.append(row)
            progress.has_done(row.name)
    seconds = max(time.monotonic() - began, 1e-9)
    print()
    for line in table(rows):
        print(line)
    if page is not None:
        title = f"{chosen.name} on {Path(options.trace).name}"
        write(page, report_page(title, route, comparison.demand, arrivals, rows))
        print(f"\n{page}: the same as a page with drawings over time")
    if options.json:
        print(json.dumps(as_json(rows, comparison.demand, route, round(comparison.simulated / seconds * 60.0))))
    return 0


def trace_of(options: argparse.Namespace, route: str) -> list[Arrival]:
    """The requests that the options name, of a recording those of the route; raises TraceError."""
    lengths = Path(options.lengths) if options.lengths else None
    return read_trace(Path(options.trace), scale=options.scale, seed=options.seed, lengths=lengths, route=route)


def assumptions_of(options: argparse.Namespace) -> Assumptions:
    """What the options say that a route's YAML does not."""
    return Assumptions(
        engine=options.engine,
        replica_usd_per_hour=options.replica_usd_per_hour,
        load_seconds=options.load_seconds,
        pod_seconds=options.pod_seconds,
        load_spread=options.load_spread,
        hosted_first_token_seconds=options.hosted_first_token_seconds,
        hosted_token_seconds=options.hosted_token_seconds,
        begins_unix=_unix(options.begins),
        seed=options.seed,
    )


def _unix(text: str) -> float:
    try:
        time_given = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"--begins is {text!r}; write a time such as 2026-03-02T09:00+01:00") from None
    return (time_given if time_given.tzinfo else time_given.replace(tzinfo=UTC)).timestamp()


def check_numbers(options: argparse.Namespace) -> None:
    """Refuse numbers that mean nothing."""
    for name in (
        "replica_usd_per_hour",
        "load_seconds",
        "pod_seconds",
        "load_spread",
        "hosted_first_token_seconds",
        "hosted_token_seconds",
    ):
        value = getattr(options, name)
        if value is not None and not 0.0 <= value < 1e9:
            raise CommandError(f"--{name.replace('_', '-')} is {value}; write a number of at least 0")
