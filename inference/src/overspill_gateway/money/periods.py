"""Calendar periods of a budget, in its own time zone. Days begin at midnight, weeks on Monday, months on the 1st."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from overspill_gateway.core.money.period import Period

Kind = Literal["Day", "Week", "Month"]


class TimeZoneError(Exception):
    """A time zone that this machine does not know; the message says what mends it."""


def period_at(kind: Kind, time_zone: str, unix_now: float) -> Period:
    """The period in which a moment is; raises TimeZoneError."""
    zone = _zone(time_zone)
    today = datetime.fromtimestamp(unix_now, zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if kind == "Day":
        first, following = today, today + timedelta(days=1)
    elif kind == "Week":
        first = today - timedelta(days=today.weekday())
        following = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    return Period(_unix(first, zone), _unix(following, zone))


def _unix(midnight: datetime, zone: tzinfo) -> int:
    """A day's beginning; where the clocks are put forward over midnight, the moment in which they are."""
    return int(midnight.replace(tzinfo=zone).timestamp())


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TimeZoneError(
            f"The time zone {name!r} of spec.budget is not known here: hosted APIs of the route are not used. Set an "
            "IANA name such as Europe/Berlin, or install the package tzdata."
        ) from None
