"""Written quantities of the API (durations, times of day, money) and their exact values.

The patterns go into the CRD's schema, so that the API server refuses what these functions could not read.
"""

import re
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Final

from pydantic import StringConstraints

DURATION_PATTERN: Final = r"^(0|([0-9]+(\.[0-9]+)?(ms|s|m|h))+)$"
TIME_OF_DAY_PATTERN: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
USD_PATTERN: Final = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"
STORAGE_PATTERN: Final = r"^[1-9][0-9]*(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"
MODEL_NAME_PATTERN: Final = r"^[A-Za-z0-9]([A-Za-z0-9._:/@+-]{0,251}[A-Za-z0-9])?$"
DNS_LABEL_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
HTTP_URL_PATTERN: Final = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"
SOURCE_PATTERN: Final = (
    r"^(hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9._/-]+)?"
    r"|s3://[a-z0-9][a-z0-9.-]+/[^\s]+"
    r"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^\s]*)?"
    r"|oci://[^\s]+"
    r"|file:///[^\s]+)$"
)

Duration = Annotated[str, StringConstraints(pattern=DURATION_PATTERN, max_length=32)]
TimeOfDay = Annotated[str, StringConstraints(pattern=TIME_OF_DAY_PATTERN, max_length=5)]
UsdAmount = Annotated[str, StringConstraints(pattern=USD_PATTERN, max_length=20)]

NANO_USD: Final = 1_000_000_000
"""Nano-dollars in a dollar; money is an integer number of them everywhere."""

_SECONDS_PER_UNIT: Final = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")


def duration_seconds(text: str) -> float:
    """Seconds of a duration such as ``500ms``, ``2s``, ``1h30m`` or ``0``.

    Raises ValueError that names the text when it is not a duration.
    """
    if not re.match(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; write a number with ms, s, m or h, such as 500ms or 1h30m")
    parts = _DURATION_PART.findall(text)
    return float(sum((Decimal(number) * _SECONDS_PER_UNIT[unit] for number, unit in parts), Decimal(0)))


def minutes_of_day(text: str) -> int:
    """Minutes since midnight of a time of day ``HH:MM``, 0 to 1439.

    Raises ValueError that names the text when it is not a time of day.
    """
    if not re.match(TIME_OF_DAY_PATTERN, text):
        raise ValueError(f'{text!r} is not a time of day; write it as "HH:MM" from "00:00" to "23:59"')
    return int(text[:2]) * 60 + int(text[3:])


def usd_to_nano(text: str) -> int:
    """Nano-dollars of a decimal dollar amount, rounded up: money owed is never rounded away.

    Raises ValueError that names the text when it is not an amount.
    """
    if not re.match(USD_PATTERN, text):
        raise ValueError(f'{text!r} is not an amount of US dollars; write it as a quoted decimal such as "0.15"')
    return int((Decimal(text) * NANO_USD).to_integral_value(rounding=ROUND_CEILING))


def nano_to_usd(nano_usd: int) -> str:
    """Dollars as a decimal string, without an exponent or needless zeros, at least two decimals."""
    text = f"{Decimal(nano_usd) / NANO_USD:.9f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
