"""A comparison as a page: all in one file, nothing loaded, and what it draws is what was simulated."""

import re
from html.parser import HTMLParser

import pytest

from overspill_planner.comparison import Comparison, Row
from overspill_planner.pages.report_page import demand_points, report_page, served_points, spilled_points, verdict
from overspill_planner.report import cells
from overspill_planner.simulator.timeline import Sample
from overspill_planner.traces.arrival import Arrival
from unit.planner.routes import TRACE, a_route

NAMES = ("overspill", "kubeai", "static", "optimal")


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Some policies on a trace that is on and off."""
    return list(Comparison(a_route(), TRACE).rows(NAMES))


@pytest.fixture(scope="module")
def page(rows: list[Row]) -> str:
    """As it is written."""
    comparison = Comparison(a_route(), TRACE)
    return report_page("chat <on> trace.csv", comparison.route, comparison.demand, TRACE, rows)


class Tags(HTMLParser):
    """Which are open, and which were there."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin one."""
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One without content."""
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """The one that was begun last."""
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    """Every tag is closed; no address, no import, no source of anything elsewhere."""
    tags = Tags()
    tags.feed(page)

    assert tags.open == []
    assert not [attributes for _, attributes in tags.seen if {"src", "href", "srcset", "action"} & attributes.keys()]
    assert not re.search(r"https?://|@import|url\(|fetch\(", page)


def test_all_that_is_on_it_is_there_without_javascript(page: str, rows: list[Row]) -> None:
    """The table, the drawings, and a box that hides each policy's lines by a rule of style."""
    before_script = page.partition("<script>")[0]

    assert "<title>chat &lt;on&gt; trace.csv</title>" in page
    for row in rows:
        assert all(f">{cell}</td>" in before_script for cell in cells(row)[1:])
        assert f"main:has(#show-{row.name}:not(:checked)) .of-{row.name}" in before_script
        assert before_script.count(f" of-{row.name}") == (3 if row.outcome else 2)
    assert before_script.count('<svg class="over-time"') == 4 + 2 * len([row for row in rows if row.outcome])


def test_the_sentence_says_what_the_table_says(rows: list[Row]) -> None:
    """Overspill beside the cheapest of those that serve in time; without Overspill there is none."""
    (sentence,) = verdict(rows)

    assert sentence.startswith(f"Overspill: {rows[0].usd:,.2f} USD, ")
    assert f"; {rows[0].ratio:.2f} times what somebody would pay" in sentence
    assert verdict(rows[1:]) == []


def test_demand_is_requests_a_second_where_they_come() -> None:
    """Of 240 slots; the last request is in the last one."""
    points = demand_points([Arrival(0.0, 1, 1), Arrival(0.1, 1, 1), Arrival(240.0, 1, 1)], 240.0)

    assert points[0] == (0.0, 2.0)
    assert points[-2:] == [(239.0, 1.0), (240.0, 0.0)]


def test_who_served_is_stacked_from_what_grew() -> None:
    """By replicas, hosted APIs on top, refused ones on top of them, as requests a second."""
    samples = [Sample(0.0, 0, 0, 0, 0, 0, 0.0, 0.0), Sample(2.0, 1, 1, 4, 2, 1, 0.0, 0.0)]

    local, hosted, refused = served_points(samples)
    assert (local[0], hosted[0], refused[0]) == ((0.0, 2.0), (0.0, 3.0), (0.0, 3.5))


def test_where_nothing_was_over_the_spilled_share_stays() -> None:
    """No request is no news."""
    counts = [(0, 0), (1, 3), (1, 3), (5, 3)]
    samples = [
        Sample(float(time), 0, 0, local, hosted, 0, 0.0, 0.0) for time, (local, hosted) in enumerate(counts)
    ]  # fmt: skip

    assert [share for _, share in spilled_points(samples)] == [75.0, 75.0, 0.0]
