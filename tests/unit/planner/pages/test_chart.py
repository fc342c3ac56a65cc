"""Drawings: figures beside axes, and where lines are."""

from xml.etree import ElementTree as ET

import pytest

from overspill_planner.pages.chart import Bar, Frame, Series, bars, marks, over_time, time_marks, time_text

FRAME = Frame(seconds=100.0, top=4.0)


def drawn(*series: Series, title: str = "t") -> ET.Element:
    """The drawing, read as XML."""
    return ET.fromstring(over_time(series, FRAME, title=title))


def paths(drawing: ET.Element, kind: str) -> list[ET.Element]:
    """Those of a class."""
    return [path for path in drawing.iter("path") if kind in path.attrib["class"].split()]


@pytest.mark.parametrize(
    ("top", "values"),
    [
        (0.0007, [0.0, 0.0002, 0.0004, 0.0006, 0.0008]),
        (1.0, [0.0, 0.5, 1.0]),
        (7.0, [0.0, 2.0, 4.0, 6.0, 8.0]),
        (40.0, [0.0, 10.0, 20.0, 30.0, 40.0]),
        (1234.0, [0.0, 500.0, 1000.0, 1500.0]),
    ],
)
def test_figures_beside_an_axis_are_round_and_reach_the_top(top: float, values: list[float]) -> None:
    """At distances of 1, 2 or 5 times a power of ten, some four of them."""
    assert marks(top) == pytest.approx(values)


def test_what_comes_whole_has_no_halves_beside_it() -> None:
    """Nobody has half a replica."""
    assert marks(1.0, least=1.0) == [0.0, 1.0]


def test_times_are_told_in_units_that_people_count_in() -> None:
    """Minutes for an hour, hours for a day, days for a week; a trace of a moment has a mark too."""
    assert time_marks(3500.0) == [0.0, 600.0, 1200.0, 1800.0, 2400.0, 3000.0]
    assert [time_text(time, 3500.0) for time in (0.0, 600.0)] == ["0", "10 min"]
    assert time_text(21_600.0, 86_400.0) == "6 h"
    assert time_text(172_800.0, 604_800.0) == "2 d"
    assert time_text(30.0, 120.0) == "30 s"
    assert time_marks(0.5) == [0.0]


def test_a_line_goes_from_edge_to_edge_and_from_zero_to_the_top() -> None:
    """Time to the right, more is higher."""
    (line,) = paths(drawn(Series("a", "hpa", [(0.0, 0.0), (100.0, 4.0)])), "series")

    assert line.attrib["d"] == "M64.0 166.0L946.0 10.0"
    assert (line.attrib["data-times"], line.attrib["data-values"]) == ("0 100", "0 4")


def test_a_step_holds_its_value_until_the_next() -> None:
    """With a corner; a value that stays makes none."""
    points = [(0.0, 1.0), (25.0, 1.0), (50.0, 2.0), (100.0, 2.0)]
    (line,) = paths(drawn(Series("a", "hpa", points, "step")), "series")

    assert line.attrib["d"].count("L") == len(points), "one corner more, and one beginning"


def test_an_area_on_another_says_its_own_part() -> None:
    """Its figures are without what is below; its shape is closed."""
    below = [(0.0, 1.0), (100.0, 1.0)]
    (area,) = paths(drawn(Series("a", "hosted", [(0.0, 3.0), (100.0, 2.0)], "area", floor=below)), "series")

    assert area.attrib["data-values"] == "2 1"
    assert area.attrib["d"].endswith("Z")


def test_names_are_text_and_never_markup() -> None:
    """Whatever somebody has called their files."""
    drawing = drawn(Series('<b>"', "hpa", [(0.0, 1.0)]), title="<script>")

    assert [title.text for title in drawing.iter("title")] == ["<script>", '<b>"']
    assert next(iter(paths(drawing, "series"))).attrib["data-name"] == '<b>"'


def test_bars_have_one_scale() -> None:
    """The longest fills the room, another is in proportion; parts are behind each other."""
    rows = [Bar("a", [("local", 1.0), ("hosted", 3.0)], "4 USD"), Bar("b", [("local", 2.0)], "2 USD", is_chosen=True)]
    drawing = ET.fromstring(bars(rows, title="t"))
    widths = [float(part.attrib["width"]) for part in drawing.iter("rect")]

    assert widths[0] + widths[1] == pytest.approx(2.0 * widths[2], abs=0.2)
    assert [text.text for text in drawing.iter("text")] == ["a", "4 USD", "b", "2 USD"]
    assert ET.fromstring(bars([], title="t")) is not None
