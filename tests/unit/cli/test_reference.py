"""The command line's page of the reference."""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from overspill_cli.main import parser

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "cli.md").read_text()


def help_of(*words: str) -> str:
    """What the command line says of itself, or of one of its commands."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        parser().parse_args([*words, "--help"])
    return said.getvalue()


def options(*words: str) -> Iterator[str]:
    """Commands and options, those of subcommands included."""
    text = help_of(*words)
    yield from re.findall(r"(?<![\w-])--?[A-Za-z][a-z-]*", text)
    for name in re.findall(r"^ {4}([a-z][a-z-]*)", text, re.MULTILINE):  # below COMMAND or ACTION
        yield name
        yield from options(*words, name)


def test_every_command_and_option_is_on_the_page() -> None:
    """What can be typed is written down."""
    typed = set(options()) - {"-h", "--help"}
    assert {"keys", "create", "--namespace"} < typed, "the help lists commands and options"
    assert [name for name in sorted(typed) if name not in PAGE] == []
