"""The fault matrix as a page of the reference."""

from pathlib import Path

from unit.gateway.faults import FAULTS
from unit.gateway.faults_page import page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "faults.md"


def test_the_page_is_what_the_tests_observe() -> None:
    """Its rows are those that ``test_fault_matrix`` holds the gateway to."""
    assert PAGE.read_text() == page(), "docs/reference/faults.md has drifted from the tests: run `make generate`"


def test_every_fault_has_a_name_of_its_own() -> None:
    """Rows are found by their names."""
    names = [fault.name for fault in FAULTS]

    assert len(names) == len(set(names))
