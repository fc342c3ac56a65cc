"""A file to requests, whatever its form, which its first line tells. What the forms are: ``FORMS``."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from overspill_planner.traces.arrival import Arrival, TraceError
from overspill_planner.traces.drawing import Lengths, LogNormalLengths, RateWindow, from_windows, lengths_of
from overspill_planner.traces.lines import Line, lines_of
from overspill_planner.traces.rate_files import MINUTES_HEADER, SERVEGEN_HEADER, minute_windows, servegen_windows
from overspill_planner.traces.recordings import is_recording, read_recording
from overspill_planner.traces.request_files import (
    AZURE_HEADER,
    MILLISECONDS_HEADER,
    PLAIN_HEADER,
    Row,
    arrivals,
    azure_row,
    milliseconds_row,
    mooncake_row,
    plain_row,
    spread,
)
from overspill_planner.traces.scaling import scaled

ROWS: Final[dict[str, Row]] = {AZURE_HEADER: azure_row, PLAIN_HEADER: plain_row, MILLISECONDS_HEADER: milliseconds_row}
FORMS: Final = (
    f"the plain CSV ({PLAIN_HEADER}), Azure's ({AZURE_HEADER}), Mooncake's JSONL, ServeGen's windows "
    f"({SERVEGEN_HEADER}, or one client's without a header), rates ({MINUTES_HEADER}), or a gateway's recording; "
    "each may be in gzip"
)
SERVEGEN_LENGTHS: Final = LogNormalLengths(601.0, 5_452.0, 53.0, 872.0)
"""Percentiles of ServeGen's pool of large models, whose windows have no lengths."""


def read_trace(
    path: Path, *, scale: float = 1.0, seed: int = 1, lengths: Path | None = None, route: str | None = None
) -> list[Arrival]:
    """The requests of a trace in time order, with ``scale`` times its demand.

    ``lengths``: a trace with requests from which those of a file with rates take their lengths. ``route``:
    ``namespace/name``, whose requests a recording of several routes is asked for. Raises TraceError.
    """
    if not 0.0 < scale <= 1e6:
        raise TraceError(f"scale {scale:g}: write a number above 0, such as 0.1 or 10")
    lines = lines_of(path)
    first = next(lines, None)
    if first is None:
        raise TraceError(f"{path}: it is empty; give {FORMS}")
    header = ",".join(name.strip() for name in first.text.split(","))
    windows: Iterator[RateWindow] | None = None
    own_lengths: Lengths = SERVEGEN_LENGTHS
    if header.startswith(MINUTES_HEADER):
        windows, own_lengths = minute_windows(lines), LogNormalLengths()
    elif header == SERVEGEN_HEADER:
        windows = servegen_windows(lines, has_clients=True)
    elif len(header.split(",")) == 6 and _begins_with_number(header):
        windows = servegen_windows(chain([first], lines), has_clients=False)
    if is_recording(first.text):
        requests = scaled(_recorded(path, route), scale, seed)
    elif windows is None:
        requests = scaled(_requests(first, header, lines, seed), scale, seed)
    else:
        drawn = lengths_of(read_trace(lengths, seed=seed)) if lengths else own_lengths
        requests = from_windows(windows, seed, drawn, scale)
    if not requests:
        raise TraceError(f"{path}: there is no request in it at scale {scale:g}; raise the scale or give another file")
    return requests


def _recorded(path: Path, route: str | None) -> list[Arrival]:
    """Of the route, where it is among several; of the only one, whatever its name."""
    try:
        return read_recording([path]).arrivals()
    except TraceError:
        if route is None:
            raise
        return read_recording([path], route).arrivals()


def _requests(first: Line, header: str, lines: Iterator[Line], seed: int) -> list[Arrival]:
    if header in ROWS:
        return list(arrivals(lines, ROWS[header]))
    if header.startswith("{"):
        return spread(list(arrivals(chain([first], lines), mooncake_row)), seed)
    raise first.error(f"no trace begins so: {first.text[:60]!r}; give {FORMS}")


def _begins_with_number(header: str) -> bool:
    try:
        float(header.partition(",")[0])
    except ValueError:
        return False
    return True
