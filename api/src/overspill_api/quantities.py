"""Written quantities of the API (durations, times of day, money) and their exact values.

The forms go into the CRD, so that the API server refuses what these functions could not read.
"""

import re
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

from overspill_api.rules import Form

_DIGITS_MAX: Final = {"ms": 10, "s": 7, "m": 5, "h": 4}
"""Of the whole number before a unit: with these the longest duration is some years, which every timer can count."""
_FRACTION: Final = r"(\.[0-9]+)?"
_PART: Final = "(" + "|".join(rf"0*[0-9]{{1,{n}}}{_FRACTION}{unit}" for unit, n in _DIGITS_MAX.items()) + ")"
_POSITIVE_PART: Final = (
    "("
    + "|".join(
        rf"(0*[1-9][0-9]{{0,{n - 1}}}{_FRACTION}|0*[0-9]{{1,{n}}}\.[0-9]*[1-9][0-9]*){unit}"
        for unit, n in _DIGITS_MAX.items()
    )
    + ")"
)
DURATION_PATTERN: Final = rf"^(0|{_PART}+)$"
POSITIVE_DURATION_PATTERN: Final = rf"^{_PART}*{_POSITIVE_PART}{_PART}*$"
TIME_OF_DAY_PATTERN: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
USD_PATTERN: Final = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"
STORAGE_PATTERN: Final = r"^[1-9][0-9]{0,8}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)$"
MODEL_NAME_PATTERN: Final = r"^[A-Za-z0-9]([A-Za-z0-9._:/@+-]*[A-Za-z0-9])?$"
TIME_ZONE_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_+/-]*$"
DNS_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_LABEL_PATTERN: Final = rf"^{DNS_LABEL}$"
_SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
OBJECT_NAME_PATTERN: Final = rf"^{_SUBDOMAIN}$"
_PATH_SEGMENT: Final = r"([!-.0-~]*[!-,\-0-~][!-.0-~]*|\.{3,})"
"""Of a path: printable ASCII without slash, neither ``.`` nor ``..`` alone."""
SOURCE_PATTERN: Final = (
    r"^(hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9][A-Za-z0-9._/-]*)?"
    rf"|s3://[a-z0-9][a-z0-9.-]+/{_PATH_SEGMENT}(/{_PATH_SEGMENT}?)*"
    rf"|pvc://{_SUBDOMAIN}(/{_PATH_SEGMENT}?)*"
    r"|oci://[A-Za-z0-9][A-Za-z0-9._:/@+-]*"
    rf"|file:///{_PATH_SEGMENT}(/{_PATH_SEGMENT}?)*)$"
)

_DURATION_PROBLEM: Final = (
    "is not a duration; write a number with ms, s, m or h, at most 9999h, such as 500ms, 2s or 1h30m"
)
_TIME_OF_DAY_PROBLEM: Final = 'is not a time of day; write it quoted, from "00:00" to "23:59"'
_USD_PROBLEM: Final = (
    'is not an amount of US dollars; write it as a quoted decimal without sign or unit, such as "0.15"'
)
_STORAGE_PROBLEM: Final = "is not a size; write a number with a unit such as Gi: 50Gi"

_BYTES_PER_UNIT: Final = {
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T", "P"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), 1)},
}
_SECONDS_PER_UNIT: Final = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")


class WrittenDuration(str):
    """A duration as a person wrote it, such as ``500ms``, ``2s``, ``1h30m`` or ``0``; read once, when it is made.

    Raises ValueError that names the text when it is not a duration.
    """

    __slots__ = ("seconds",)

    seconds: float
    """What it means."""

    def __new__(cls, text: str) -> Self:
        """Read ``text``."""
        if not re.fullmatch(DURATION_PATTERN, text):
            raise ValueError(f'"{text}" {_DURATION_PROBLEM}')
        made = super().__new__(cls, text)
        parts = _DURATION_PART.findall(text)
        made.seconds = float(sum((Decimal(number) * _SECONDS_PER_UNIT[unit] for number, unit in parts), Decimal(0)))
        return made

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Text, in documents and their schema; ``Duration`` and ``PositiveDuration`` make it this in the end."""
        return core_schema.str_schema()


Duration = Annotated[
    WrittenDuration,
    StringConstraints(max_length=32),
    Form(DURATION_PATTERN, _DURATION_PROBLEM),
    AfterValidator(WrittenDuration),
]
PositiveDuration = Annotated[
    WrittenDuration,
    StringConstraints(max_length=32),
    Form(
        POSITIVE_DURATION_PATTERN,
        "is not a duration above zero; write a number with ms, s, m or h, at most 9999h, such as 2s",
    ),
    AfterValidator(WrittenDuration),
]
TimeOfDay = Annotated[str, StringConstraints(max_length=16), Form(TIME_OF_DAY_PATTERN, _TIME_OF_DAY_PROBLEM)]
UsdAmount = Annotated[str, StringConstraints(max_length=32), Form(USD_PATTERN, _USD_PROBLEM)]
StorageSize = Annotated[
    str,
    StringConstraints(max_length=20),
    Form(STORAGE_PATTERN, _STORAGE_PROBLEM),
]
DnsLabel = Annotated[
    str,
    StringConstraints(max_length=63),
    Form(
        DNS_LABEL_PATTERN,
        "is not a Kubernetes name; use lower-case letters, digits and dashes, with a letter or digit at both ends",
    ),
]
RouteName = Annotated[
    str,
    StringConstraints(max_length=253),
    Form(
        r"^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$",
        "does not do as the name of a ModelRoute, after which its engine's Service is named; start with a letter and "
        "use at most 50 lower-case letters, digits and dashes; the name that clients send may be another (spec.model)",
    ),
]
"""metadata.name of a ModelRoute: with ``-engine`` it must fit a Service's 63 characters, and leave some to spare."""
ConsumerName = Annotated[
    str,
    StringConstraints(max_length=253),
    Form(
        r"^[a-z0-9]([-.a-z0-9]{0,61}[a-z0-9])?$",
        "does not do as the name of a Consumer, which is a label of metrics; use at most 63 characters",
    ),
]
"""metadata.name of a Consumer."""
ModelName = Annotated[
    str,
    StringConstraints(max_length=253),
    Form(
        MODEL_NAME_PATTERN,
        "is not a model name; use letters, digits and . _ : / @ + - with a letter or digit at both ends",
    ),
]
TimeZoneName = Annotated[
    str,
    StringConstraints(max_length=64),
    Form(TIME_ZONE_PATTERN, "is not the name of a time zone; write it as IANA does: Europe/Berlin or UTC"),
]
ObjectName = Annotated[
    str,
    StringConstraints(max_length=253),
    Form(
        OBJECT_NAME_PATTERN,
        "is not the name of a Kubernetes object; use lower-case letters, digits, dashes and dots, with a letter or "
        "digit at both ends of each part",
    ),
]
"""Name of an object that Kubernetes names by a DNS subdomain, such as a Secret or a StorageClass."""
SecretKey = Annotated[
    str,
    StringConstraints(max_length=253),
    Form(r"^[-._a-zA-Z0-9]+$", "is not a key of a Secret; use letters, digits and - _ ."),
]
"""Key inside a Secret."""
ProfileName = Annotated[
    str,
    StringConstraints(max_length=63),
    Form(
        r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        "is not the name of a profile; use letters, digits and - _ . with a letter or digit at both ends",
    ),
]
"""Name of a hardware profile in the chart's values."""
Source = Annotated[
    str,
    StringConstraints(max_length=1024),
    Form(
        SOURCE_PATTERN,
        "is not a source of weights; write hf://org/model, s3://bucket/prefix, pvc://claim/path, "
        "oci://registry/repository:tag or file:///path",
    ),
]
VariableName = Annotated[
    str,
    StringConstraints(max_length=128),
    Form(r"^[A-Za-z_][A-Za-z0-9_]*$", "is not the name of an environment variable; use letters, digits and _"),
]

NANO_USD: Final = 1_000_000_000
"""Nano-dollars in a dollar; money is an integer number of them everywhere."""


def minutes_of_day(text: str) -> int:
    """Minutes since midnight of a time of day ``HH:MM``, 0 to 1439.

    Raises ValueError that names the text when it is not a time of day.
    """
    if not re.fullmatch(TIME_OF_DAY_PATTERN, text):
        raise ValueError(f'"{text}" {_TIME_OF_DAY_PROBLEM}')
    return int(text[:2]) * 60 + int(text[3:])


def storage_bytes(text: str) -> int:
    """Bytes of a Kubernetes quantity with a unit, such as ``50Gi``, rounded down.

    Raises ValueError that names the text when it is not one.
    """
    if not re.fullmatch(STORAGE_PATTERN, text):
        raise ValueError(f'"{text}" {_STORAGE_PROBLEM}')
    number = text.rstrip("KMGTPki")
    return int(Decimal(number) * _BYTES_PER_UNIT[text[len(number) :]])


def usd_to_nano(text: str) -> int:
    """Nano-dollars of a decimal dollar amount, rounded up: money owed is never rounded away.

    Raises ValueError that names the text when it is not an amount.
    """
    if not re.fullmatch(USD_PATTERN, text):
        raise ValueError(f'"{text}" {_USD_PROBLEM}')
    return int((Decimal(text) * NANO_USD).to_integral_value(rounding=ROUND_CEILING))


def nano_to_usd(nano_usd: int) -> str:
    """Dollars as a decimal string, without an exponent or needless zeros, at least two decimals."""
    text = f"{Decimal(nano_usd) / NANO_USD:.9f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
