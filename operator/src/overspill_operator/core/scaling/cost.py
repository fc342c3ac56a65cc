"""What replicas and hosted APIs cost a route, and how many replicas are worth their money by that: objective Cost.

Prices are the profile's for a replica, and for hosted APIs those of the first one that the route lists with a price,
corrected by what spilled work was charged. How busy a replica would be is the work that came, served or not, in
replicas (``service_model``); which replica pays is for ``levels`` to say. Before the pace of replicas is known, money
alone says whether a first one may pay: hosted APIs are paid more for what comes than it costs, whatever it can do.

Not here: when hosted APIs can't take what replicas don't. Then need decides and not price (``scaling_state``).
"""

from dataclasses import dataclass, replace
from typing import Final

from overspill_api.modelroute import ModelRouteSpec
from overspill_operator.core.demand.work import Work
from overspill_operator.core.scaling.autoscaler import Need, Signal
from overspill_operator.core.scaling.levels import Economy, Levels, Worth
from overspill_operator.core.scaling.service_model import Mix, ServiceModel

ASSUMED_RHO: Final = 3.0
"""What a busy replica's work is worth at hosted APIs, in its own price, until its pace is known. Whether the first one
pays does not depend on it, only how full it would be said to be."""
CONFIDENT_ANSWERS: Final = 60.0
"""Answers by which what is learned counts half, and what is assumed the other half. A replica that is given up by the
figures of its first burst would never show better ones."""
LOAD_SECONDS: Final = 120.0
"""Of a replica, until one was seen to start."""
CHARGED_LEAST: Final = 5.0
"""Spilled requests of a minute whose price is believed."""
CHARGED: Final = (0.25, 4.0)
"""Of the list price: what is charged beside it is discounts and attempts that came to nothing."""
FREE_USD_PER_HOUR: Final = 1e-6
"""Of a replica that is said to cost nothing: then any work pays for it."""
HOUR_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a route."""

    replica_usd_per_hour: float
    """One replica, from when it is asked for."""
    input_usd_per_million: float
    """Prompt tokens at the hosted API that is asked first."""
    output_usd_per_million: float
    """Output tokens there."""

    def hosted_usd(self, prompt_tokens: float, output_tokens: float) -> float:
        """What so many tokens cost there."""
        return (prompt_tokens * self.input_usd_per_million + output_tokens * self.output_usd_per_million) / 1e6


def prices_of(spec: ModelRouteSpec, replica_usd_per_hour: float | None) -> Prices | None:
    """Prices of a spec; None: a replica's is not known, or no hosted API has one."""
    listed = next((entry.price for entry in spec.hosted if entry.price is not None), None)
    if replica_usd_per_hour is None or listed is None:
        return None
    return Prices(max(replica_usd_per_hour, FREE_USD_PER_HOUR), float(listed.input), float(listed.output))


@dataclass(frozen=True, slots=True)
class Cost:
    """What is remembered of a route's money."""

    levels: Levels
    """Of its demand."""
    charged: float = 1.0
    """What hosted APIs were paid for spilled work, over their list price."""

    @classmethod
    def begun(cls, now_unix: float) -> "Cost":
        """Nothing is known."""
        return cls(Levels.begun(now_unix))

    def charged_for(self, prices: Prices, work: Work) -> "Cost":
        """After another minute of work."""
        spilled = work.spilled
        listed = prices.hosted_usd(spilled.prompt_tokens, spilled.output_tokens)
        if spilled.requests < CHARGED_LEAST or listed <= 0.0 or spilled.cost_nano_usd <= 0.0:
            return self
        low, high = CHARGED
        times = min(max(spilled.cost_nano_usd / 1e9 / listed, low), high)
        return replace(self, charged=self.charged + 0.2 * (times - self.charged))

    def economy(self, prices: Prices, service: ServiceModel, load_seconds: float | None) -> Economy:
        """As it is now."""
        replica = prices.replica_usd_per_hour / HOUR_SECONDS
        load = LOAD_SECONDS if load_seconds is None else load_seconds
        usd, work = self._request_usd(prices, service.mix), self._request_work(prices, service)
        return Economy(replica, usd / work if work else ASSUMED_RHO * replica, load)

    def heard(self, prices: Prices, service: ServiceModel, economy: Economy, maximum: int) -> "Cost":
        """With the work that came since it was heard last; ``maximum``: replicas that there may ever be.

        What more would do is of no use, and each level that was ever reached takes time in every look.
        """
        if service.come is None or not service.come_seconds:
            return self
        offered = min(service.come / service.come_seconds * self._request_work(prices, service), maximum)
        return Cost(self.levels.heard(offered, economy, service.heard_unix), self.charged)

    def need(self, economy: Economy, service: ServiceModel, current: int, maximum: int, now_unix: float) -> Need:
        """Replicas that are worth their money now, ``maximum`` at most, where there are ``current``."""
        if not service.has_learned:
            maximum = min(max(current, 1), maximum)  # what a second one would do is not known yet
        worth = self.levels.worth(economy, current, maximum, now_unix)
        return Need(Signal.COST, worth.replicas, _words(worth, economy))

    def _request_usd(self, prices: Prices, mix: Mix | None) -> float:
        """Of the mean request at hosted APIs; 0: nothing is known of any."""
        return self.charged * prices.hosted_usd(mix.prompt_tokens, mix.output_tokens) if mix else 0.0

    def _request_work(self, prices: Prices, service: ServiceModel) -> float:
        """Replica-seconds of the mean request, as assumed and more and more as learned; 0: nothing is known."""
        usd = ASSUMED_RHO * prices.replica_usd_per_hour / HOUR_SECONDS
        assumed = self._request_usd(prices, service.mix) / usd if usd else 0.0
        learned = service.request_work if service.has_learned else 0.0
        if not learned or not assumed:
            return learned or assumed
        share = service.fit.answers / (service.fit.answers + CONFIDENT_ANSWERS)
        return float(assumed ** (1.0 - share) * learned**share)


def _words(worth: Worth, economy: Economy) -> str:
    """The levels' words, with what both cost for the replica that the decision turned on."""
    message = worth.message[:1].upper() + worth.message[1:]
    turned = [level for level in worth.levels if not level.runs][:1] or list(worth.levels[-1:])
    if not turned:
        return f"{message}."
    hosted = HOUR_SECONDS * turned[0].use * economy.hosted_usd_per_replica_second
    replica = HOUR_SECONDS * economy.replica_usd_per_second
    return f"{message} (hosted APIs {hosted:.2f} USD/h for that work, a replica {replica:.2f} USD/h)."
