"""What the engines of a route say of themselves, as the gateways have read it: the newest word of each replica counts.

A replica's gauges show the requests of all gateways, so that several readings of one are not added up. Where no gateway
of a version that tells them is left, or no request is at a replica, nothing is known.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from overspill_api.demand import EngineDemand

FRESH_SECONDS: Final = 15.0
"""A busy engine is read once a second and told of every five: an older reading says nothing about now."""

MISSED_TOLD: Final = 3
"""Questions in a row without an answer before status says so."""

WAITING_MAX: Final = 1_000_000
"""More requests than any engine can hold: a number that cannot be is none."""

REPLICAS_MAX: Final = 256
"""Of one route, as one gateway tells of them."""


@dataclass(frozen=True, slots=True)
class EngineReading:
    """One replica's gauges, as they were last read."""

    served_by: str
    """``local/<pod>``."""
    running: int
    """Requests that it works on."""
    waiting: int
    """Requests that wait inside it."""
    kv_cache_usage: float
    """Share of its KV cache in use, 0 to 1."""
    read_unix: float
    """When they were read, by the operator's clock; long ago where they never were."""
    missed: int = 0
    """Questions in a row that it has not answered with them since."""


NEVER_UNIX: Final = float("-inf")


def believed(said: Sequence[EngineDemand], now_unix: float) -> tuple[tuple[EngineReading, ...], str]:
    """What can be of a gateway's word on a route's engines, and what is wrong with the rest; empty: nothing is."""
    readings = []
    wrong = 0
    for engine in said[:REPLICAS_MAX]:
        if not engine.served_by.startswith("local/") or not engine.served_by.isprintable():
            wrong += 1
            continue
        reading = EngineReading(engine.served_by, 0, 0, 0.0, NEVER_UNIX, min(max(engine.missed, 0), WAITING_MAX))
        if engine.running is not None and engine.waiting is not None:
            usage = engine.kv_cache_usage or 0.0
            counts = 0 <= engine.running <= WAITING_MAX and 0 <= engine.waiting <= WAITING_MAX
            if not counts or not 0.0 <= usage <= 1.0 or not isfinite(engine.age_seconds) or engine.age_seconds < 0:
                wrong += 1
                continue
            read_unix = now_unix - engine.age_seconds
            reading = EngineReading(
                engine.served_by, engine.running, engine.waiting, usage, read_unix, reading.missed
            )  # fmt: skip
        readings.append(reading)
    return tuple(readings), f"gauges of {wrong} engines cannot be" if wrong else ""


@dataclass(frozen=True, slots=True)
class EngineGauges:
    """The replicas of a route that are known by a fresh reading."""

    readings: tuple[EngineReading, ...] = ()
    """The newest of each."""
    unread: bool = False
    """Whether gateways ask for them in vain."""

    @property
    def waiting(self) -> int | None:
        """Requests that wait inside them, a lower bound where not all are known; None: nobody knows."""
        return sum(reading.waiting for reading in self.readings) if self.readings else None


def gauges_of(told: Iterable[Sequence[EngineReading]], now_unix: float) -> EngineGauges:
    """The newest fresh reading of each replica, of what each gateway has told."""
    newest: dict[str, EngineReading] = {}
    missed = 0
    for readings in told:
        for reading in readings:
            if now_unix - reading.read_unix > FRESH_SECONDS:
                missed = max(missed, reading.missed)
                continue
            known = newest.get(reading.served_by)
            if known is None or reading.read_unix > known.read_unix:
                newest[reading.served_by] = reading
    return EngineGauges(tuple(newest.values()), unread=not newest and missed >= MISSED_TOLD)
