"""The command line's page of the reference."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from overspill_cli.main import parser

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "cli.md").read_text()


def options(of: argparse.ArgumentParser) -> Iterator[str]:
    """Commands and options, those of subcommands included."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield name
                yield from options(child)
        else:
            yield from (flag for flag in action.option_strings if flag not in ("-h", "--help"))


def test_every_command_and_option_is_on_the_page() -> None:
    """What can be typed is written down."""
    assert [name for name in options(parser()) if name not in PAGE] == []
