"""Which bounds on replicas hold at a moment. Windows may cross midnight; summer time is followed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from overspill_api.modelroute import ModelRouteSpec
from overspill_api.quantities import minutes_of_day
from overspill_api.scaling import Day, Scaling, ScalingWindow

_DAYS = tuple(Day)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Least and most replicas at a moment."""

    minimum: int
    """Least replicas, never above ``maximum``."""
    maximum: int
    """Most replicas."""
    windows: tuple[str, ...]
    """Names of the windows that hold, in their order in the spec."""
    next_change_unix: float | None
    """When a window begins or ends next; None: there are no windows."""


def unknown_time_zones(scaling: Scaling) -> tuple[str, ...]:
    """Time zones of windows that this system's time zone database does not hold."""
    return tuple(dict.fromkeys(w.time_zone for w in scaling.windows if _zone(w.time_zone) is None))


def unknown_zones(spec: ModelRouteSpec) -> tuple[tuple[str, str], ...]:
    """All such time zones of a route, each after the field that names it."""
    zones = [("spec.scaling.windows", zone) for zone in unknown_time_zones(spec.scaling)]
    if spec.budget and _zone(spec.budget.time_zone) is None:
        zones.append(("spec.budget.timeZone", spec.budget.time_zone))
    return tuple(zones)


def bounds_at(scaling: Scaling, now_unix: float) -> Bounds:
    """Bounds that hold at ``now_unix``. A window of an unknown zone is left out (it is a fault of its own).

    Among windows that hold, the highest minReplicas and the lowest maxReplicas count, in place of those of
    ``scaling``; the maximum wins over the minimum.
    """
    holding: list[ScalingWindow] = []
    edges: list[float] = []
    for window in scaling.windows:
        for start, end in _occurrences(window, now_unix):
            if start <= now_unix < end:
                holding.append(window)
            edges += [edge for edge in (start, end) if edge > now_unix]
    minima = [w.min_replicas for w in holding if w.min_replicas is not None]
    maxima = [w.max_replicas for w in holding if w.max_replicas is not None]
    maximum = min(maxima, default=scaling.max_replicas)
    return Bounds(
        minimum=min(max(minima, default=scaling.min_replicas), maximum),
        maximum=maximum,
        windows=tuple(dict.fromkeys(w.name for w in holding)),
        next_change_unix=min(edges, default=None),
    )


def _occurrences(window: ScalingWindow, now_unix: float) -> Iterator[tuple[float, float]]:
    """Starts and ends, as Unix times, of the window from yesterday to a week ahead."""
    zone = _zone(window.time_zone)
    if zone is None:
        return
    start, end = minutes_of_day(window.from_), minutes_of_day(window.to)
    today = datetime.fromtimestamp(now_unix, UTC).astimezone(zone).date()
    for offset in range(-1, 9):
        date = today + timedelta(days=offset)
        if _DAYS[date.weekday()] not in window.days:
            continue
        last = date + timedelta(days=1) if end <= start else date
        begins = datetime.combine(date, time(start // 60, start % 60), zone)
        ends = datetime.combine(last, time(end // 60, end % 60), zone)
        yield begins.timestamp(), ends.timestamp()


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
