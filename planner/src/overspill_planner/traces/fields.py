"""Numbers and times as traces write them, each told with its line where it can't be."""

import math
from datetime import UTC, datetime
from typing import Final

from overspill_planner.traces.lines import Line

TOKENS_MAX: Final = 100_000_000
"""More than any model takes: a larger number is in a wrong column."""


def columns(line: Line, count: int, form: str) -> list[str]:
    """The columns of a CSV line; these forms quote nothing."""
    values = [value.strip() for value in line.text.split(",")]
    if len(values) != count:
        raise line.error(f"{len(values)} columns stand here and {count} belong here: {form}")
    return values


def tokens(line: Line, name: str, text: str) -> int:
    """A number of tokens. None at all counts as one: whoever asks gets at least a token, and was read at least one."""
    try:
        number = float(text)
    except ValueError:
        raise line.error(f"{name}: {text!r} is no number; write tokens as 512") from None
    if not number.is_integer() or not 0 <= number <= TOKENS_MAX:
        raise line.error(f"{name}: {text} is no number of tokens; write a whole number from 0 to {TOKENS_MAX}")
    return max(int(number), 1)


def number(line: Line, name: str, text: str) -> float:
    """A number that is not below zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise line.error(f"{name}: {text!r} is no number of at least 0; write it as 12.5")
    return value


def moment(line: Line, name: str, text: str) -> float:
    """Seconds of a time such as ``2023-11-16 18:17:03.9799600`` or ``2024-05-10 00:00:00.009930+00:00``."""
    whole, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        time = datetime.fromisoformat(whole + rest[len(digits) :])
        fraction = float(f"0.{digits}") if dot else 0.0
    except ValueError:
        raise line.error(f"{name}: {text!r} is no time; write it as 2023-11-16 18:17:03.979") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() + fraction
