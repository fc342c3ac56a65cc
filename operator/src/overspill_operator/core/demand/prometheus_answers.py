"""What Prometheus answers, made into lines of gateways: who was scraped when, and what each said then.

Prometheus is asked twice for one moment: when each gateway was scraped last, and, where that is news, for all series.
A series that cannot be read is left out; what its figures are worth is ``demand_lines``' to say, as of any line.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final

from overspill_api.demand_metrics import PREFIX, PROCESS, Gathered
from overspill_operator.core.demand.demand_lines import Line, read_line
from overspill_operator.core.demand.line_pieces import LineError

GATEWAYS_MAX: Final = 1_000
"""Of one release; series of more are not looked at."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """When a gateway was scraped last."""

    instance: str
    """Prometheus' label of the target, ``host:port``."""
    gateway: str
    """Identity of the process, as it says."""
    at: float
    """When, by Prometheus' clock."""
    age_seconds: float
    """How long that was ago when Prometheus was asked."""


@dataclass(frozen=True, slots=True)
class ToldLine:
    """What one gateway said at its last scrape."""

    scrape: Scrape
    """When it was."""
    line: Line | None
    """What is believed of it; None: nothing."""
    trouble: str
    """Why it is none; empty: it is one."""


def scrapes_query(matchers: str) -> str:
    """When each gateway was scraped last."""
    return f"timestamp({PROCESS}{{{matchers}}})"


def series_query(matchers: str) -> str:
    """All that gateways said."""
    more = f",{matchers}" if matchers else ""
    return f'{{__name__=~"{PREFIX}.+"{more}}}'


def scrapes_of(result: object) -> dict[str, Scrape]:
    """Scrapes by instance; of a process that has just taken over from another one, the newer one's."""
    newest: dict[str, Scrape] = {}
    for labels, asked, value in _vector(result):
        instance = labels.get("instance", "")
        if not isfinite(value) or not isfinite(asked) or (instance not in newest and len(newest) >= GATEWAYS_MAX):
            continue
        scrape = Scrape(instance, labels.get("gateway", ""), value, max(0.0, asked - value))
        known = newest.get(instance)
        if known is None or scrape.at > known.at:
            newest[instance] = scrape
    return newest


def asked_at(result: object) -> float | None:
    """The moment that the answer is of; None: it has nothing in it."""
    return next((asked for _, asked, _ in _vector(result) if isfinite(asked)), None)


def lines_of(result: object, scrapes: Mapping[str, Scrape], now_unix: float) -> Iterator[ToldLine]:
    """What the gateways of ``scrapes`` said, with times by the operator's clock."""
    gathered = {instance: Gathered() for instance in scrapes}
    for labels, _, value in _vector(result):
        known = gathered.get(labels.get("instance", ""))
        if known is not None:
            known.take(labels.get("__name__", ""), labels, value)
    for instance, scrape in scrapes.items():
        line, trouble = None, ""
        try:
            said = {**gathered[instance].line(), "gateway": scrape.gateway}
            line = read_line(json.dumps(said).encode(), now_unix - scrape.age_seconds)
        except (LineError, ValueError) as error:
            trouble = str(error)
        yield ToldLine(scrape, line, trouble)


def _vector(result: object) -> Iterator[tuple[Mapping[str, str], float, float]]:
    """Labels, time and value of each series of an instant vector; what is none is left out."""
    for series in result if isinstance(result, list) else ():
        try:
            labels, (asked, value) = series["metric"], series["value"]
            if isinstance(labels, Mapping) and all(isinstance(text, str) for pair in labels.items() for text in pair):
                yield labels, float(asked), float(value)
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
