"""Files with rates instead of requests: ServeGen's windows of each client, and requests by minute.

Requests are drawn from them by chance (``drawing``), as many as the scale asks for.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from overspill_planner.traces.drawing import Family, RateWindow
from overspill_planner.traces.fields import columns, number
from overspill_planner.traces.lines import Line

SERVEGEN_HEADER: Final = "client,t_s,rate_per_s,iat_cv,iat_family,p1,p2"
"""Clients of a pool in one file; without header and client it is one client's ``chunk-*-trace.csv``."""
MINUTES_HEADER: Final = "minute,requests_per_min_mid"
"""More columns may follow."""
SERVEGEN_SECONDS: Final = 600.0
"""Length of ServeGen's windows (github.com/alibaba/ServeGen)."""
_CHUNK_FORM: Final = "start in seconds, requests per second, CV, Gamma or Weibull or nothing, two parameters"


def servegen_windows(lines: Iterable[Line], *, has_clients: bool) -> Iterator[RateWindow]:
    """Windows of each client, which are in time order."""
    client, last = "", -1.0
    for line in lines:
        values = columns(line, 7 if has_clients else 6, SERVEGEN_HEADER if has_clients else _CHUNK_FORM)
        of, (start, rate, cv, family, first, _) = (values[0], values[1:]) if has_clients else ("0", values)
        begins = number(line, "t_s", start)
        if of == client and begins <= last:
            raise line.error(f"t_s: {start} is not after {last:g}, the window above; sort a client's windows by time")
        client, last = of, begins
        if family not in ("", *Family):
            raise line.error(f"iat_family: {family!r} is none; write Gamma, Weibull or nothing")
        spread = number(line, "iat_cv", cv) if cv else 1.0
        shape = number(line, "p1", first) if family and first else None
        yield RateWindow(
            begins, SERVEGEN_SECONDS, number(line, "rate_per_s", rate), Family(family) if shape else Family.NONE,
            shape or 1.0, spread, of,
        )  # fmt: skip


def minute_windows(lines: Iterable[Line]) -> Iterator[RateWindow]:
    """A window for each minute."""
    last = -1.0
    for line in lines:
        minute, rate, *_ = [value.strip() for value in line.text.split(",")] + [""]
        begins = number(line, "minute", minute)
        if begins <= last:
            raise line.error(f"minute: {minute} is not after {last:g}, the one above; sort the file by time")
        last = begins
        yield RateWindow(begins * 60.0, 60.0, number(line, "requests_per_min_mid", rate) / 60.0)
