"""How many replicas run: part of ModelRoute's spec. What a person writes, with units, defaults and rules."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from overspill_api.quantities import DnsLabel, Duration, PositiveDuration, TimeOfDay, TimeZoneName, WrittenDuration
from overspill_api.rules import Rule, Unique
from overspill_api.schema import Strict

Replicas = Annotated[int, Field(ge=0, le=1000)]


class Day(StrEnum):
    """A day of the week."""

    MON = "Mon"
    TUE = "Tue"
    WED = "Wed"
    THU = "Thu"
    FRI = "Fri"
    SAT = "Sat"
    SUN = "Sun"


class Objective(StrEnum):
    """What scaling aims at."""

    LATENCY = "Latency"
    COST = "Cost"


class Autoscaler(StrEnum):
    """Who decides how many replicas run."""

    OVERSPILL = "Overspill"
    EXTERNAL = "External"


class LatencyTarget(Strict):
    """A latency target by percentile."""

    p95: PositiveDuration
    """The latency that 95 of 100 requests shall not exceed, such as 2s or 60ms."""


class ScalingTargets(Strict):
    """What one replica is meant to carry."""

    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 32
    """Requests that one replica shall serve at the same time. Default: 32."""
    queue_depth: Annotated[int, Field(ge=1, le=100_000)] = 4
    """Requests waiting inside vLLM per replica (vllm:num_requests_waiting) above which replicas are
    added. Default: 4."""
    time_to_first_token: LatencyTarget | None = None
    """Add replicas when the time to first token is worse than this. Default: not looked at."""
    inter_token_latency: LatencyTarget | None = None
    """Add replicas when the time between tokens is worse than this. Default: not looked at."""


class ScalingWindow(Strict):
    """Bounds that hold during certain hours.

    Where windows overlap, the highest minReplicas and the lowest maxReplicas hold, and maxReplicas wins
    over minReplicas.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="minReplicas",
            message="minReplicas is above maxReplicas of this window; lower it or raise maxReplicas",
            cel="!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            holds=lambda window: (
                window.min_replicas is None or window.max_replicas is None or window.min_replicas <= window.max_replicas
            ),
        ),
    )

    name: DnsLabel
    """Name of the window, unique in the list; conditions and decisions refer to it."""
    days: Annotated[list[Day], Field(min_length=1, max_length=7), Unique()] = list(Day)
    """Days on which the window starts. Default: every day."""
    from_: Annotated[TimeOfDay, Field(alias="from")]
    """Start, HH:MM on a 24-hour clock, inclusive."""
    to: TimeOfDay
    """End, HH:MM, exclusive. Earlier than (or equal to) the start means the next day: a window may cross
    midnight."""
    time_zone: TimeZoneName = "UTC"
    """IANA time zone of both times, such as Europe/Berlin; summer time is followed. Default: UTC.
    An unknown zone sets Ready to False."""
    min_replicas: Replicas | None = None
    """Least replicas during the window. Default: that of scaling."""
    max_replicas: Replicas | None = None
    """Most replicas during the window; 0 keeps the GPUs off and leaves all to the hosted APIs.
    Default: that of scaling."""


class Scaling(Strict):
    """How many replicas run."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="minReplicas",
            message="minReplicas is above maxReplicas; lower it or raise maxReplicas",
            cel="!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            holds=lambda scaling: scaling.min_replicas <= scaling.max_replicas,
        ),
        Rule(
            field="replicas",
            message="replicas is above maxReplicas; lower it or raise maxReplicas",
            cel="!has(self.replicas) || !has(self.maxReplicas) || self.replicas <= self.maxReplicas",
            holds=lambda scaling: scaling.replicas is None or scaling.replicas <= scaling.max_replicas,
        ),
        Rule(
            field="windows",
            message="a window's minReplicas is above scaling.maxReplicas; lower it, raise scaling.maxReplicas, "
            "or give the window a maxReplicas of its own",
            cel="!has(self.windows) || !has(self.maxReplicas) || self.windows.all(window, "
            "!has(window.minReplicas) || has(window.maxReplicas) || window.minReplicas <= self.maxReplicas)",
            holds=lambda scaling: all(
                window.min_replicas is None
                or window.max_replicas is not None
                or window.min_replicas <= scaling.max_replicas
                for window in scaling.windows
            ),
        ),
    )

    min_replicas: Replicas = 0
    """Least replicas. 0 lets the engine go to zero when nobody asks. Default: 0."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Most replicas. Default: 1."""
    replicas: Replicas | None = None
    """A fixed number of replicas, which switches scaling off; kubectl scale writes it. Taken away, Overspill
    decides again. Default: Overspill decides."""
    paused: bool = False
    """Keep the number of replicas that there is, whatever comes: no request wakes an engine that is at zero (what it
    would have served goes to hosted APIs, or is refused), windows and minReplicas wait. A replicas that is
    written all the same holds (kubectl scale works), but for autoscaler: External, whose writes wait as well; a
    lower maxReplicas still cuts the number. Default: false."""
    autoscaler: Autoscaler = Autoscaler.OVERSPILL
    """Overspill: it decides where replicas is not set. External: a HorizontalPodAutoscaler or KEDA does, by
    this object's /scale; where replicas is not set, the operator writes the present number (at least 1) there
    once, since an API server answers for /scale only where there is one. What Overspill would run is a metric
    that they may follow, overspill_operator_route_advised_replicas. Default: Overspill."""
    targets: ScalingTargets = ScalingTargets()
    """What one replica is meant to carry."""
    idle_after: Duration = WrittenDuration("10m")
    """Time without a request after which the engine goes to minReplicas (and to zero where that is 0).
    Default: 10m."""
    windows: Annotated[list[ScalingWindow], Field(max_length=32), Unique("name")] = []
    """Hours with bounds of their own. Default: none."""
    objective: Objective = Objective.LATENCY
    """Latency: replicas follow demand. Cost: a replica runs only while it is cheaper than the hosted
    API, which needs prices. Default: Latency."""
