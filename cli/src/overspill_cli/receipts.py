"""``overspill receipt``: what a recorded period cost, and what it would have cost otherwise."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from overspill_cli.errors import CommandError
from overspill_cli.progress import Progress
from overspill_cli.route_files import route_in
from overspill_cli.simulating import assumptions_of, check_numbers
from overspill_planner.comparison import Row, names_of
from overspill_planner.profiles import SettingError
from overspill_planner.receipt import NAMES, REPLAYED, Receipts
from overspill_planner.receipt_report import receipt_heading, receipt_json, receipt_table, verdict
from overspill_planner.route import route_of
from overspill_planner.traces.arrival import TraceError
from overspill_planner.traces.recordings import read_recording


def receipt(options: argparse.Namespace) -> int:
    """Run the command; the exit code."""
    chosen = route_in(options.route, options.name)
    check_numbers(options)
    try:
        names = names_of(options.policy) if options.policy is not None else NAMES
        recording = read_recording(map(Path, options.recording), chosen.key)
        route = route_of(chosen.spec, replace(assumptions_of(options), begins_unix=recording.begins))
    except (SettingError, TraceError) as error:
        raise CommandError(str(error)) from error
    if not recording.arrivals():
        raise CommandError(f"{', '.join(options.recording)}: no request of {chosen.key} is recorded there")
    progress = Progress([REPLAYED, *names])
    receipts = Receipts(route, recording, progress.goes_on)
    others: list[Row] = []
    with progress:
        truth = receipts.truth()
        progress.has_done(REPLAYED)
        for row in receipts.others(names):
            others.append(row)
            progress.has_done(row.name)
    for line in (*receipt_heading(recording, route), "", *receipt_table(truth, others), "", *verdict(truth)):
        print(line)
    if options.json:
        print(json.dumps(receipt_json(recording, truth, others)))
    return 0
