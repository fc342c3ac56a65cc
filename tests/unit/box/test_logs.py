"""Lines of the log for people."""

import logging

import pytest

from overspill_box.logs import set_up_logs


def test_a_line_is_one_line_and_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has a part in what is told, such as a client by a model's name, forges no line and moves no cursor."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    set_up_logs("INFO")
    try:
        logging.getLogger("x").warning("bad: %s", "a\n12:00:00 forged", extra={"model": "\x1b[2J"})
    finally:
        root.handlers[:], root.level = before

    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("warning: bad: a\\n12:00:00 forged (model=\\x1b[2J)")
