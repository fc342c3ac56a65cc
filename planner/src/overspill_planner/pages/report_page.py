"""A comparison of policies as a page: one file, which shows all without JavaScript and loads nothing."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from itertools import pairwise
from typing import Final

from overspill_planner.comparison import API_ONLY, OPTIMAL, OVERSPILL, SLO_SHARE, STATIC, Demand, Row
from overspill_planner.pages.chart import Bar, Frame, Point, Series, bars, over_time
from overspill_planner.report import HEADERS, cells, heading
from overspill_planner.route import Route
from overspill_planner.simulator.timeline import Sample
from overspill_planner.traces.arrival import Arrival

COLOURS: Final = (OVERSPILL, "hpa", "keda", "kpa", "kubeai", "aibrix", "wva", STATIC, API_ONLY, OPTIMAL)
"""Policies with a colour of their own in ``report.css``; others share one."""
SHOWN_FIRST: Final = (OVERSPILL, "hpa", "kubeai", STATIC, OPTIMAL)
"""Policies whose lines are seen before anybody has chosen."""
DEMAND_SLOTS: Final = 240
"""Bars of demand across the page."""
SPILL_SLOTS: Final = 60
"""Points of a share: of a few requests a share says little."""


def report_page(title: str, route: Route, demand: Demand, arrivals: Sequence[Arrival], rows: Sequence[Row]) -> str:
    """The page. ``title``: of what it is, such as the route's name and the trace's."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="quiet">{escape(line)}</p>' for line in heading(route, demand)),
        *(f'<p class="verdict">{escape(line)}</p>' for line in verdict(rows)),
        "<h2>What it costs</h2>",
        _costs(rows),
        _table(rows),
        "<h2>Over time</h2>",
        *_over_time(demand, arrivals, rows),
        "<h2>Policy by policy</h2>",
        _legend((("wanted", "replicas wanted"), ("ready", "ready"), ("local", "served by replicas, requests/s"),
                 ("hosted", "by hosted APIs"), ("refused", "by nobody"))),
        '<div class="policies">',
        *(_policy(row, demand.seconds) for row in rows if row.outcome is not None),
        "</div>",
    ]  # fmt: skip
    own = files("overspill_planner.pages")
    style, script = ((own / name).read_text() for name in ("report.css", "report.js"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}{''.join(_hiding(rows))}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + f'\n</main>\n<div id="tip"></div>\n<script>\n{script}</script>\n</body>\n</html>\n'
    )


def verdict(rows: Sequence[Row]) -> list[str]:
    """What the table says of Overspill, in a sentence; nothing where it was not asked for."""
    by_name = {row.name: row for row in rows}
    ours = by_name.get(OVERSPILL)
    if ours is None or ours.outcome is None:
        return []
    outcome = ours.outcome
    says = (
        f"Overspill: {ours.usd:,.2f} USD, {outcome.slo_share:.2%} of requests in time, "
        f"{outcome.spilled_share:.1%} of them by hosted APIs"
    )
    if ours.ratio is not None:
        says += f"; {ours.ratio:.2f} times what somebody would pay who knew every request beforehand"
    others = [row for row in rows if row is not ours and row.outcome is not None and row.outcome.slo_share >= SLO_SHARE]
    best = min(others, key=lambda row: row.usd, default=None)
    if best is None or not best.usd:
        return [says + "."]
    difference = ours.usd / best.usd - 1.0
    word = "less" if difference < 0.0 else "more"
    of_these = f"the cheapest of the others that serve {SLO_SHARE:.0%} in time"
    return [f"{says}. {abs(difference):.0%} {word} than {best.name}, {of_these}."]


def _colour(name: str) -> str:
    return next((colour for colour in COLOURS if name == colour), "other")


def _group(name: str) -> str:
    return f"of-{name}"


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    return '<div class="legend">' + "".join(
        f'<span><span class="swatch {colour}"></span>{escape(text)}</span>' for colour, text in entries
    ) + "</div>"  # fmt: skip


def _hiding(rows: Sequence[Row]) -> Iterator[str]:
    """Rules by which a box hides its policy's lines."""
    for row in rows:
        yield f"main:has(#show-{row.name}:not(:checked)) .{_group(row.name)} {{ display: none; }}\n"


def _costs(rows: Sequence[Row]) -> str:
    shown = [
        Bar(
            row.name,
            (("local", row.replica_usd), ("hosted", row.hosted_usd)),
            f"{row.usd:,.2f} USD" + (f", {row.ratio:.2f}x" if row.ratio is not None else ""),
            is_chosen=row.name == OVERSPILL,
        )
        for row in sorted(rows, key=lambda row: row.usd)
    ]
    return (
        f"<figure>{_legend((('local', 'replicas'), ('hosted', 'hosted APIs')))}"
        f"{bars(shown, title='Cost by policy')}"
        "<figcaption>For the trace's time, the cheapest first; x: times the clairvoyant's cost.</figcaption></figure>"
    )


def _table(rows: Sequence[Row]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in HEADERS)
    lines = []
    late = HEADERS.index("in time")
    for row in rows:
        name, *rest = cells(row)
        is_late = row.outcome is not None and row.outcome.slo_share < SLO_SHARE
        ours = ' class="ours"' if row.name == OVERSPILL else ""
        classes = [' class="late"' if is_late and place == late else "" for place in range(1, len(HEADERS))]
        figures = "".join(f"<td{kind}>{escape(text)}</td>" for kind, text in zip(classes, rest, strict=True))
        swatch = f'<span class="swatch {_colour(row.name)}"></span>'
        lines.append(f'<tr{ours}><th scope="row">{swatch}{escape(name)}</th>{figures}</tr>')
    chosen = "".join(f'<p class="quiet">{escape(f"{row.name}: {row.setting}")}</p>' for row in rows if row.setting)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>{chosen}'
    )


def _over_time(demand: Demand, arrivals: Sequence[Arrival], rows: Sequence[Row]) -> Iterator[str]:
    seconds = demand.seconds
    drawn = [row for row in rows if row.samples]
    checked = [row.name for row in drawn if row.name in SHOWN_FIRST] or [row.name for row in drawn]
    boxes = "".join(
        f'<label class="{_colour(row.name)}"><input type="checkbox" id="show-{row.name}"'
        f"{' checked' if row.name in checked else ''}>"
        f'<span class="swatch {_colour(row.name)}"></span>{escape(row.name)}</label>'
        for row in drawn
    )
    yield f'<div class="legend sticky">{boxes}</div>'
    rates = demand_points(arrivals, seconds)
    yield _figure(
        "Demand", "requests a second", (Series("requests/s", "demand", rates, "area"),), Frame(seconds, _top(rates))
    )
    lines = [
        _line(row, [(sample.seconds, float(sample.ready)) for sample in row.samples], "step") for row in drawn
    ]  # fmt: skip
    yield _figure("Replicas", "that are ready", lines, _frame(seconds, lines, 1.0))
    lines = [_line(row, spilled_points(row.samples)) for row in drawn if row.outcome is not None]
    yield _figure("Spilled", "% of requests that hosted APIs served", lines, Frame(seconds, 100.0))
    lines = [_line(row, [(sample.seconds, sample.usd) for sample in row.samples]) for row in drawn]
    yield _figure("Cost", "US dollars since the beginning", lines, _frame(seconds, lines))


def _line(row: Row, points: Sequence[Point], kind: str = "line") -> Series:
    return Series(
        row.name, _colour(row.name), points, "step" if kind == "step" else "line", group=_group(row.name)
    )  # fmt: skip


def demand_points(arrivals: Sequence[Arrival], seconds: float) -> list[Point]:
    """Requests a second over time."""
    slot_seconds = seconds / DEMAND_SLOTS
    counts = [0] * DEMAND_SLOTS
    for arrival in arrivals:
        counts[min(int(arrival.seconds / slot_seconds), DEMAND_SLOTS - 1)] += 1
    return [(slot * slot_seconds, count / slot_seconds) for slot, count in enumerate(counts)] + [(seconds, 0.0)]


def spilled_points(samples: Sequence[Sample]) -> list[Point]:
    """Percent of the requests that were over in each slot; where none was, as before."""
    every = max(len(samples) // SPILL_SLOTS, 1)
    points: list[Point] = []
    chosen = [*samples[::every], *([samples[-1]] if (len(samples) - 1) % every else [])]
    for before, after in pairwise(chosen):
        hosted = after.hosted - before.hosted
        done = hosted + after.local - before.local + after.refused - before.refused
        share = 100.0 * hosted / done if done else points[-1][1] if points else 0.0
        points.append(((before.seconds + after.seconds) / 2.0, share))
    return points


def _policy(row: Row, seconds: float) -> str:
    """What one policy did: replicas, and who served."""
    size = {"width": 470.0, "height": 130.0}
    wanted = [(sample.seconds, float(sample.wanted)) for sample in row.samples]
    ready = [(sample.seconds, float(sample.ready)) for sample in row.samples]
    replicas = (Series("ready", "ready", ready, "area"), Series("wanted", "wanted", wanted, "step"))
    stacked = served_points(row.samples)
    names = (("local", "by replicas"), ("hosted", "by hosted APIs"), ("refused", "by nobody"))
    floors: Sequence[Sequence[Point]] = ((), *stacked[:-1])
    served = [
        Series(text, colour, points, "area", floor=floor)
        for (colour, text), points, floor in zip(names, stacked, floors, strict=True)
        if colour != "refused" or row.samples[-1].refused
    ]
    says = f"{row.usd:,.2f} USD"
    if row.outcome is not None:
        says += f", {row.outcome.slo_share:.2%} in time, {row.outcome.spilled_share:.1%} spilled, {row.starts} starts"
    top = Frame(seconds, _top(wanted), **size, least=1.0)
    bottom = Frame(seconds, _top(stacked[-1]), **size)
    return (
        f'<section><h3><span class="swatch {_colour(row.name)}"></span>{escape(row.name)}</h3>'
        f'<p class="quiet">{escape(says)}</p>'
        f"{over_time(replicas, top, title=f'Replicas of {row.name}', time_count=5)}"
        f"{over_time(served, bottom, title=f'Requests a second of {row.name}', time_count=5)}</section>"
    )


def served_points(samples: Sequence[Sample]) -> tuple[list[Point], list[Point], list[Point]]:
    """Requests a second that were over, on top of each other: by replicas, hosted APIs too, refused ones too."""
    local: list[Point] = []
    hosted: list[Point] = []
    refused: list[Point] = []
    for before, after in pairwise(samples):
        length = after.seconds - before.seconds
        height = 0.0
        for points, count in (
            (local, after.local - before.local),
            (hosted, after.hosted - before.hosted),
            (refused, after.refused - before.refused),
        ):
            height += count / length if length else 0.0
            points.append((before.seconds, height))
    for points in (local, hosted, refused):
        points.append((samples[-1].seconds, points[-1][1] if points else 0.0))
    return local, hosted, refused


def _figure(name: str, text: str, series: Sequence[Series], frame: Frame) -> str:
    drawing = over_time(series, frame, title=f"{name}: {text}")
    return f"<figure><figcaption><b>{escape(name)}</b>, {escape(text)}</figcaption>{drawing}</figure>"


def _frame(seconds: float, series: Sequence[Series], least: float = 0.0) -> Frame:
    return Frame(seconds, max((_top(one.points) for one in series), default=1.0), least=least)


def _top(points: Sequence[Point]) -> float:
    return max((value for _, value in points), default=0.0) or 1.0
