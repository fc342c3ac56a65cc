"""What the documents point at is there: files that the page on the architecture names, and links between pages."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT, ROOT / "operator/src/overspill_operator", ROOT / "inference/src/overspill_gateway")
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md"))
    if not page.name.startswith(".")
)
WHERE_TO_LOOK = (ROOT / "docs" / "architecture.md").read_text().partition("## Where to look")[2]


@pytest.mark.parametrize("path", re.findall(r"`([\w./-]+(?:/|\.py|\.yaml|\.md))`", WHERE_TO_LOOK))
def test_where_to_look_there_is_something(path: str) -> None:
    """Every path of the table exists, below one of the three folders that the page names."""
    assert any((place / path).exists() for place in PLACES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link has its file, and where it names a heading, the heading is there."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, heading = unquote(link).partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        if heading and target.suffix == ".md":
            assert heading in _anchors(target), link


def _anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    words = (re.sub(r"[^\w -]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title)) for title in titles)
    return {title.strip().lower().replace(" ", "-") for title in words}
