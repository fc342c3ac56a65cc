"""``overspill simulate``: a ModelRoute of a file on a trace of a file; a table, and figures as JSON."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from overspill_api.modelroute import ModelRouteSpec
from overspill_cli.checking import documents_of
from overspill_cli.errors import CommandError
from overspill_operator.core.written_objects import check_document
from overspill_planner.comparison import NAMES, Comparison, Row, names_of
from overspill_planner.profiles import SettingError
from overspill_planner.report import as_json, heading, table
from overspill_planner.route import Assumptions, route_of
from overspill_planner.traces.arrival import TraceError
from overspill_planner.traces.reading import read_trace


def simulate(options: argparse.Namespace) -> int:
    """Run the command; the exit code."""
    spec = _spec_of(options.route, options.name)
    _check_numbers(options)
    try:
        names = names_of(options.policy) if options.policy is not None else NAMES
        route = route_of(spec, _assumptions(options))
        lengths = Path(options.lengths) if options.lengths else None
        arrivals = read_trace(Path(options.trace), scale=options.scale, seed=options.seed, lengths=lengths)
    except (SettingError, TraceError) as error:
        raise CommandError(str(error)) from error
    comparison = Comparison(route, arrivals)
    for line in heading(route, comparison.demand):
        print(line)
    rows: list[Row] = []
    began = time.monotonic()
    _progress(rows, names, comparison)
    for row in comparison.rows(names):
        rows.append(row)
        _progress(rows, names, comparison)
    seconds = max(time.monotonic() - began, 1e-9)
    print()
    for line in table(rows):
        print(line)
    if options.json:
        print(json.dumps(as_json(rows, comparison.demand, route, round(comparison.simulated / seconds * 60.0))))
    return 0


def _assumptions(options: argparse.Namespace) -> Assumptions:
    return Assumptions(
        engine=options.engine,
        replica_usd_per_hour=options.replica_usd_per_hour,
        load_seconds=options.load_seconds,
        pod_seconds=options.pod_seconds,
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


def _check_numbers(options: argparse.Namespace) -> None:
    for name in (
        "replica_usd_per_hour",
        "load_seconds",
        "pod_seconds",
        "hosted_first_token_seconds",
        "hosted_token_seconds",
    ):
        value = getattr(options, name)
        if value is not None and not 0.0 <= value < 1e9:
            raise CommandError(f"--{name.replace('_', '-')} is {value}; write a number of at least 0")


def _spec_of(file: str, name: str | None) -> ModelRouteSpec:
    """The ModelRoute of a file; raises CommandError with all that is wrong with it."""
    routes = [
        document for document in documents_of(file)
        if isinstance(document.content, dict) and document.content.get("kind") == "ModelRoute"
    ]  # fmt: skip
    metas = [document.content.get("metadata") for document in routes]
    names = [str(meta.get("name")) if isinstance(meta, dict) else "" for meta in metas]
    chosen = [document for document, own in zip(routes, names, strict=True) if name is None or own == name]
    if len(chosen) != 1:
        there = f"it has {', '.join(names)}" if names else "it has none"
        raise CommandError(f"{file}: one ModelRoute is wanted, and {there}; name one of several with --name")
    mistakes = [str(mistake) for mistake in check_document(file, chosen[0], {})]
    if mistakes:
        raise CommandError("\n".join(mistakes))
    return ModelRouteSpec.model_validate(chosen[0].content["spec"])


def _progress(rows: Sequence[Row], names: Sequence[str], comparison: Comparison) -> None:
    """What is being done, for a person who waits."""
    if not sys.stderr.isatty():
        return
    width = 30
    done = len(rows)
    bar = "#" * (width * done // len(names))
    following = names[done] if done < len(names) else "done"
    print(f"\r[{bar:<{width}}] {comparison.simulated:,} requests, {following:<16}", end="", file=sys.stderr, flush=True)
    if done == len(names):
        print(file=sys.stderr)
