"""The bar for a person who waits."""

import sys
import time

import pytest

from overspill_cli.progress import Progress


def test_it_says_how_much_is_done_and_what_is_being_done() -> None:
    """Steps that are over, and the share of the present one."""
    progress = Progress(["overspill", "hpa"])
    progress.goes_on(0.5)
    assert " 25%  overspill" in progress.line(time.monotonic())

    progress.has_done("overspill")
    assert progress.line(time.monotonic()).startswith("[" + "#" * 15 + " " * 15 + "]  50%  hpa")


def test_it_never_goes_back_within_a_step() -> None:
    """A step that takes several simulations begins each at nothing."""
    progress = Progress(["static"])
    progress.goes_on(0.8)
    progress.goes_on(0.1)

    assert " 80%" in progress.line(time.monotonic())


def test_nothing_is_printed_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    """In a file or a pipe it would be noise."""
    with Progress(["overspill"]) as progress:
        progress.goes_on(1.0)

    assert capsys.readouterr().err == ""


def test_it_leaves_no_trace_on_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line is wiped at the end, when something failed as well."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(ValueError, match="broken"), Progress(["overspill"]):
        raise ValueError("broken")

    assert capsys.readouterr().err == "\r\x1b[K"
