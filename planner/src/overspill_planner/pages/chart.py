"""Lines and areas over time, and bars, as SVG for a page: colours are the page's, by class. Not here: what is drawn.

Written out here, and not by a plotting library: all that is needed are steps and areas over one axis of time, in the
page's colours by day and by night, and a library for that is larger than all else that the command needs together.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain, pairwise
from math import floor, log10
from typing import Final, Literal

Point = tuple[float, float]
"""Seconds, and a value."""
LEFT, RIGHT, TOP, BOTTOM = 64.0, 14.0, 10.0, 24.0
"""Room around the lines for the axes' figures, in the drawing's units."""
TIME_STEPS: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
)  # fmt: skip
"""Seconds between two marks of an axis of time."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line."""

    name: str
    """What a reader knows it by."""
    colour: str
    """Class that has its colour."""
    points: Sequence[Point]
    """In order of time."""
    kind: Literal["line", "step", "area"] = "line"
    """``step``: a value holds until the next; ``area``: a step that is filled down to ``floor``."""
    floor: Sequence[Point] = ()
    """Where an area begins; nothing: at zero. Its times are those of the points."""
    group: str = ""
    """Class by which it is shown and hidden."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a drawing has room for."""

    seconds: float
    """Time from its left to its right edge."""
    top: float
    """The highest value."""
    width: float = 960.0
    """In the drawing's units, of which one is about a pixel."""
    height: float = 190.0
    """In the same."""
    least: float = 0.0
    """The least distance of two figures beside it; 1: whole numbers."""

    def x(self, seconds: float) -> float:
        """Where a moment is."""
        return LEFT + (self.width - LEFT - RIGHT) * min(seconds / self.seconds, 1.0)

    def y(self, value: float) -> float:
        """Where a value is."""
        return self.height - BOTTOM - (self.height - TOP - BOTTOM) * value / self.top


def marks(top: float, count: int = 4, least: float = 0.0) -> list[float]:
    """Values from zero on, at distances of 1, 2 or 5 times a power of ten; the last is at or above ``top``.

    ``least``: the least distance, such as 1 for what comes in whole numbers.
    """
    rough = max(top, 1e-9) / count
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= rough)
    step = max(step, least)
    values = [0.0]
    while values[-1] < top or len(values) < 2:
        values.append(step * len(values))
    return values


def time_marks(seconds: float, count: int = 8) -> list[float]:
    """Moments from zero on, at distances that people count in."""
    step = next((step for step in TIME_STEPS if seconds / step <= count), TIME_STEPS[-1])
    return [float(step * place) for place in range(int(seconds / step) + 1)]


def time_text(seconds: float, whole: float) -> str:
    """A moment, in the unit that a stretch of time of that length is told in."""
    unit, name = (86_400.0, "d") if whole > 2 * 86_400 else (3_600.0, "h") if whole > 2 * 3_600 else (60.0, "min")
    if whole <= 240.0:
        unit, name = 1.0, "s"
    return f"{seconds / unit:g} {name}" if seconds else "0"


def number_text(value: float) -> str:
    """A value beside an axis."""
    return f"{value:,.0f}" if value >= 10.0 or value == int(value) else f"{value:.4g}"


def over_time(
    series: Iterable[Series],
    frame: Frame,
    *,
    title: str,
    text: Callable[[float], str] = number_text,
    time_count: int = 8,
) -> str:
    """A drawing of lines over time. ``title``: what it shows, for those who can't see it."""
    values = marks(frame.top, least=frame.least)
    frame = Frame(frame.seconds, values[-1], frame.width, frame.height)
    bottom = frame.height - BOTTOM
    parts = [
        f'<svg class="over-time" viewBox="0 0 {frame.width:g} {frame.height:g}" role="img"',
        f' data-left="{LEFT:g}" data-right="{frame.width - RIGHT:g}" data-seconds="{frame.seconds:g}">',
        f"<title>{escape(title)}</title>",
    ]
    for value in values:
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{LEFT:g} {y:.1f}H{frame.width - RIGHT:g}"/>')
        parts.append(f'<text class="value" x="{LEFT - 8:g}" y="{y + 4:.1f}">{escape(text(value))}</text>')
    for seconds in time_marks(frame.seconds, time_count):
        x = frame.x(seconds)
        parts.append(f'<path class="mark" d="M{x:.1f} {bottom:g}v4"/>')
        parts.append(
            f'<text class="time" x="{x:.1f}" y="{frame.height - 6:g}">{time_text(seconds, frame.seconds)}</text>'
        )
    parts += (_drawn(one, frame) for one in series)
    return "".join((*parts, f'<path class="cursor" d="M0 {TOP:g}V{bottom:g}"/></svg>'))


def _drawn(series: Series, frame: Frame) -> str:
    classes = " ".join(filter(None, ("series", series.kind, series.colour, series.group)))
    path = _path(series.points, frame, steps=series.kind != "line")
    if series.kind == "area":
        below = series.floor or [(seconds, 0.0) for seconds, _ in series.points]
        # Back along the floor, where a value holds from its own time on as well.
        path += "L" + _path(list(reversed(_stepped(below))), frame, steps=False)[1:] + "Z"
    figures = " ".join(f"{value:.5g}" for _, value in _heights(series))
    times = " ".join(f"{seconds:.6g}" for seconds, _ in series.points)
    return (
        f'<path class="{classes}" d="{path}" data-name="{escape(series.name)}" data-times="{times}" '
        f'data-values="{figures}"><title>{escape(series.name)}</title></path>'
    )


def _heights(series: Series) -> Iterable[Point]:
    """What each point stands for: of an area its own part."""
    if not series.floor:
        return series.points
    return ((seconds, value - below) for (seconds, value), (_, below) in zip(series.points, series.floor, strict=True))


def _stepped(points: Sequence[Point]) -> list[Point]:
    """Points with a corner wherever a value changes."""
    corners = (
        [before, (after[0], before[1])] if after[1] != before[1] else [before] for before, after in pairwise(points)
    )
    return [*chain.from_iterable(corners), *points[-1:]]


def _path(points: Sequence[Point], frame: Frame, *, steps: bool) -> str:
    shown = _stepped(points) if steps else points
    return "M" + "L".join(f"{frame.x(seconds):.1f} {frame.y(value):.1f}" for seconds, value in shown)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of parts behind each other."""

    name: str
    """What it is of."""
    parts: Sequence[tuple[str, float]]
    """Class of its colour, and length."""
    text: str
    """Behind it."""
    is_chosen: bool = False
    """Whether it is the one that the page is about."""


def bars(rows: Sequence[Bar], *, title: str) -> str:
    """Bars below each other, of one scale."""
    width, line, left, right = 960.0, 27.0, 130.0, 150.0
    longest = max((sum(length for _, length in row.parts) for row in rows), default=0.0) or 1.0
    parts = [
        f'<svg class="bars" viewBox="0 0 {width:g} {line * len(rows):g}" role="img"><title>{escape(title)}</title>'
    ]
    for place, row in enumerate(rows):
        y, x = line * place, left
        chosen = " chosen" if row.is_chosen else ""
        parts.append(f'<text class="name{chosen}" x="{left - 10:g}" y="{y + 18:g}">{escape(row.name)}</text>')
        for colour, length in row.parts:
            long = (width - left - right) * length / longest
            parts.append(f'<rect class="{colour}" x="{x:.1f}" y="{y + 5:g}" width="{long:.1f}" height="17"/>')
            x += long
        parts.append(f'<text class="total{chosen}" x="{x + 8:.1f}" y="{y + 18:g}">{escape(row.text)}</text>')
    return "".join((*parts, "</svg>"))
