"""The models of version 1 of contract 2, as they were: what an operator of before reads a gateway of today with."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class OldBase(BaseModel):
    """Fields that are not known are not seen."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class OldProblem(OldBase):
    """Why a backend fails."""

    reason: str
    message: str = ""
    since_unix_seconds: float = 0.0
    failures: int = 0


class OldBackend(OldBase):
    """Counters of a backend."""

    served_total: int = 0
    errors_total: int = 0
    cost_nano_usd_total: int = 0
    problem: OldProblem | None = None


class OldBudget(OldBase):
    """A budget."""

    period_start_unix_seconds: float
    limit_nano_usd: int
    charged_nano_usd: int = 0
    exhausted: bool = False


class OldRoute(OldBase):
    """A route."""

    route: str
    uid: str = ""
    in_flight_local: int = 0
    in_flight_spilled: int = 0
    held: int = 0
    wants_replica: bool = False
    last_arrival_unix_seconds: float | None = None
    backends: dict[str, OldBackend] = Field(default={})
    budget: OldBudget | None = None


class OldRefused(OldBase):
    """A document that can't be used."""

    kind: Literal["route", "consumer"]
    key: str
    generation: int = 0
    message: str = ""


class OldLine(OldBase):
    """A line."""

    gateway: str
    now_unix_seconds: float
    routes: tuple[OldRoute, ...] = ()
    refused: tuple[OldRefused, ...] | None = None
    sends_engine_keys: bool = False
