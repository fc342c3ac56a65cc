"""When a backend wants to be asked again, in all the ways that backends say it.

Plain ``Retry-After`` in seconds and as a date; the milliseconds of Azure and OpenAI; rate limits' reset times in
seconds, as a point in time, as a duration the way Go writes it, or in RFC 3339; by request and by token, by minute
and by day. What is garbage says nothing. What follows from it is elsewhere (``ejection``, ``retry_budget``).
"""

import re
from math import isfinite
from typing import Final

from overspill_gateway.core.http.head import Header

SECONDS_MAX: Final = 3600.0
"""A longer time is cut to this: a quota may be raised, and asking once an hour costs nothing."""
EPOCH_SECONDS_MIN: Final = 1e9
"""A number of seconds from here on is a point in time, after 1970 (this is 2001, or a pause of 31 years)."""
EPOCH_MILLISECONDS_MIN: Final = 1e12
_VALUE_BYTES_MAX: Final = 64

_MONTHS: Final = {
    name: month
    for month, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_CLOCK: Final = r"(?P<hour>\d{2}):(?P<minute>\d{2}):(?P<second>\d{2})"
_HTTP_DATES: Final = (
    re.compile(rf"[a-z]{{3}}, (?P<day>\d{{2}}) (?P<month>[a-z]{{3}}) (?P<year>\d{{4}}) {_CLOCK} (?:gmt|utc)", re.ASCII),
    re.compile(rf"[a-z]+, (?P<day>\d{{2}})-(?P<month>[a-z]{{3}})-(?P<year>\d{{2}}) {_CLOCK} gmt", re.ASCII),
    re.compile(rf"[a-z]{{3}} (?P<month>[a-z]{{3}}) (?P<day>[ \d]\d) {_CLOCK} (?P<year>\d{{4}})", re.ASCII),
)
"""The three forms of RFC 9110, 5.6.7."""
_RFC_3339: Final = re.compile(
    rf"(?P<year>\d{{4}})-(?P<month>\d{{2}})-(?P<day>\d{{2}})[t ]{_CLOCK}(?P<part>\.\d+)?"
    r"(?P<zone>z|[+-]\d{2}:\d{2})",
    re.ASCII,
)
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|us|µs|ns|m|s))+", re.ASCII)
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)", re.ASCII)
_UNIT_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_LIMITS: Final = (b"x-ratelimit-", b"ratelimit-", b"anthropic-ratelimit-")


def retry_after_seconds(headers: list[Header], unix_now: float) -> float | None:
    """Seconds until the sender of these headers (names in lower case) wants to be asked again, 0 to an hour.

    None: they do not say. What was said plainly goes before what follows from the reset of a rate limit. Points in
    time are compared with the answer's own ``Date`` where it has one: its clock and ours need not agree.
    """
    said: dict[bytes, str] = {}
    for name, value in headers:
        if (name in _PLAIN or name == b"date" or name.startswith(_LIMITS)) and len(value) <= _VALUE_BYTES_MAX:
            said.setdefault(name, value.decode("utf-8", "replace").strip().lower())
    if not said:
        return None
    date = _http_date(said.pop(b"date", ""))
    now = unix_now if date is None else date
    for name, unit_seconds in _PLAIN.items():
        text = said.pop(name, None)
        seconds = None if text is None else _number(text) if unit_seconds != 1.0 else _time(text, now)
        if seconds is not None:
            return _bounded(seconds * unit_seconds)
    return _until_reset(said, now)


_PLAIN: Final = {b"retry-after-ms": 1e-3, b"x-ms-retry-after-ms": 1e-3, b"retry-after": 1.0}


def _until_reset(said: dict[bytes, str], now: float) -> float | None:
    """Until the limits that are used up are reset; where none says that it is, until the first reset of any."""
    used_up: list[float] = []
    others: list[float] = []
    for name, text in said.items():
        remaining = _remaining_name(name)
        seconds = None if remaining is None else _time(text, now)
        if seconds is not None and remaining is not None:
            left = _number(said.get(remaining, ""))
            (used_up if left is not None and left <= 0 else others).append(seconds)
    if used_up:
        return _bounded(max(used_up))
    return _bounded(min(others)) if others else None


def _remaining_name(name: bytes) -> bytes | None:
    """The field with what is left of the limit whose reset this one names; None: it names no reset."""
    if name.endswith(b"-reset"):  # x-ratelimit-reset, anthropic-ratelimit-tokens-reset
        return name[: -len(b"reset")] + b"remaining"
    if b"-reset-" in name:  # x-ratelimit-reset-requests, x-ratelimit-reset-tokens-minute
        return name.replace(b"-reset-", b"-remaining-", 1)
    return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), SECONDS_MAX)


def _time(text: str, now: float) -> float | None:
    """Seconds from now, of a number, a duration or a point in time; None: it is none of them."""
    number = _number(text)
    if number is not None:
        if number >= EPOCH_MILLISECONDS_MIN:
            return number / 1e3 - now
        return number - now if number >= EPOCH_SECONDS_MIN else number
    if _DURATION.fullmatch(text):
        return sum(float(count) * _UNIT_SECONDS[unit] for count, unit in _DURATION_PART.findall(text))
    point = _http_date(text)
    if point is None:
        point = _rfc_3339(text)
    return None if point is None else point - now


def _number(text: str) -> float | None:
    """A number that is not negative; Python's other spellings (1_000, nan, inf, 1e3) are none."""
    if not text or not text.isascii() or not text.replace(".", "", 1).isdigit():
        return None
    number = float(text)
    return number if isfinite(number) else None


def _http_date(text: str) -> float | None:
    for pattern in _HTTP_DATES:
        match = pattern.fullmatch(text)
        month = _MONTHS.get(match["month"]) if match else None
        if match and month:
            year = int(match["year"])
            if year < 100:
                year += 1900 if year >= 70 else 2000
            return _unix_seconds(year, month, int(match["day"]), match)
    return None


def _rfc_3339(text: str) -> float | None:
    match = _RFC_3339.fullmatch(text)
    if not match:
        return None
    seconds = _unix_seconds(int(match["year"]), int(match["month"]), int(match["day"]), match)
    if seconds is None:
        return None
    zone = match["zone"]
    offset = 0 if zone == "z" else (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60) * (-1 if zone[0] == "-" else 1)
    return seconds + float(match["part"] or 0) - offset


def _unix_seconds(year: int, month: int, day: int, clock: re.Match[str]) -> float | None:
    """Seconds since 1970; None: no such day. Years are counted from March, so that a leap day is the last of one."""
    hour, minute, second = int(clock["hour"]), int(clock["minute"]), int(clock["second"])
    if not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        return None
    years, months = (year, month - 3) if month > 2 else (year - 1, month + 9)
    days = years * 365 + years // 4 - years // 100 + years // 400 + (153 * months + 2) // 5 + day - 1
    return (days - 719468) * 86400.0 + hour * 3600 + minute * 60 + second
