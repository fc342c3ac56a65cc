"""What an operator sees of a route whose replicas are known exactly: counts of a minute, gauges, demand."""

from dataclasses import dataclass, replace
from typing import Any

from overspill_api.demand import (
    FIRST_TOKEN_BOUNDS,
    INTER_TOKEN_BOUNDS,
    HistogramDemand,
    RouteDemand,
    SpilledDemand,
    WorkDemand,
    bound_name,
)
from overspill_operator.core.demand.engine_gauges import EngineReading
from overspill_operator.core.demand.recent_work import SeenWork
from overspill_operator.core.demand.traffic import Coverage, Demand
from overspill_operator.core.demand.work import Work
from overspill_operator.core.scaling.service_model import ServiceModel

BEGIN = 1_800_000_000.0
STEP, ANSWER, PROMPT = 0.02, 0.0002, 0.0001
"""What an engine's step takes, and each answer and prompt token in it: the truth that is to be learned."""
PROMPT_TOKENS, OUTPUT_TOKENS = 1000, 200


def histogram(seconds: float, count: int, bounds: tuple[float, ...]) -> HistogramDemand:
    """So many values, all alike."""
    bound = next(bound for bound in bounds if seconds <= bound)
    return HistogramDemand(counts={bound_name(bound): count}, seconds_sum=seconds * count)


@dataclass(frozen=True)
class Minute:
    """A minute of requests at one replica, with nothing by chance."""

    rate: float
    """Requests a second that it answers."""
    spilled: float = 0.0
    """And that hosted APIs answer."""
    streams: bool = True

    @property
    def batch(self) -> float:
        """Answers in its batch."""
        return self.rate * OUTPUT_TOKENS * self.inter_token

    @property
    def inter_token(self) -> float:
        """Seconds between two tokens."""
        reads, writes = self.rate * PROMPT_TOKENS * PROMPT, self.rate * OUTPUT_TOKENS
        # ITL = (a + b * writes * ITL) / (1 - u)
        return STEP / (1.0 - reads - ANSWER * writes)

    @property
    def work(self) -> Work:
        """As gateways count it."""
        count, spilled = round(60 * self.rate), round(60 * self.spilled)
        first = 1.5 * (STEP + ANSWER * self.batch) + PROMPT_TOKENS * PROMPT
        told: dict[str, Any] = {}
        if self.streams:
            told = {
                "first_token": histogram(first, count, FIRST_TOKEN_BOUNDS),
                "first_token_since_sent": histogram(first, count, FIRST_TOKEN_BOUNDS),
                "inter_token": histogram(self.inter_token, count, INTER_TOKEN_BOUNDS),
            }
        local = WorkDemand(
            answers_total=count,
            prompt_tokens_total=count * PROMPT_TOKENS,
            output_tokens_total=count * OUTPUT_TOKENS,
            request_seconds_total=count * (PROMPT_TOKENS * PROMPT + OUTPUT_TOKENS * self.inter_token),
            **told,
        )
        else_where = SpilledDemand(
            requests_total=spilled,
            prompt_tokens_total=spilled * PROMPT_TOKENS,
            output_tokens_total=spilled * OUTPUT_TOKENS,
        )
        return Work.said(
            RouteDemand(route="a/b", arrivals_total=count + spilled, work={"local": local}, spilled=else_where)
        )


@dataclass
class Watched:
    """A route that is watched, second by second."""

    model: ServiceModel
    now: float = BEGIN
    arrivals: float = 0.0
    batch_most: int | None = None

    def see(self, minute: Minute, seconds: float = 60.0, running: int = 0, waiting: int = 0, **changes: Any) -> None:
        """Time goes on with such minutes."""
        work = minute.work
        if "work" in changes:
            work = changes["work"]
        engines = (EngineReading("local/a", running, waiting, 0.0, self.now),) if running else ()
        for _ in range(round(seconds / 2.0)):
            self.now += 2.0
            self.arrivals += 2.0 * (minute.rate + minute.spilled)
            demand = Demand(Coverage.COMPLETE, in_flight=round(minute.batch), last_arrival_unix=self.now)
            seen = SeenWork(60.0, work, arrivals_so_far=self.arrivals)
            self.model = self.model.heard(demand, 1, engines, seen, self.now, self.batch_most)


def watched(batch_most: int | None = None) -> Watched:
    """From the beginning. ``batch_most``: what its arguments say of the fullest batch."""
    return Watched(ServiceModel.begun(BEGIN), batch_most=batch_most)


def learned(rate: float = 4.0, slow: float | None = None) -> ServiceModel:
    """A model of some minutes, with such a rate of requests in the last twenty seconds, and in the last minute."""
    route = watched()
    for each in (0.5, 2.0, 5.0, 4.0):
        route.see(Minute(each), seconds=600.0)
    return replace(route.model, rate=rate, rate_slow=rate if slow is None else slow)
