"""Status of the API objects: conditions, their reasons, and the figures that ``kubectl get mr`` prints."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from overspill_api.schema import Strict

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""A number of replicas, as /scale can tell it."""


class ConditionType(StrEnum):
    """What a condition speaks of. ``Ready`` sums the others up."""

    READY = "Ready"
    ENGINE_AVAILABLE = "EngineAvailable"
    ROLLED_OUT = "RolledOut"
    CACHE_RETAINED = "CacheRetained"
    SCALING_ACTIVE = "ScalingActive"
    METRICS_AVAILABLE = "MetricsAvailable"
    HOSTED_AVAILABLE = "HostedAvailable"
    WITHIN_BUDGET = "WithinBudget"
    PROGRAMMED = "Programmed"
    SPEC_ENFORCED = "SpecEnforced"
    ROUTES_ALLOWED = "RoutesAllowed"


class ConditionStatus(StrEnum):
    """Kubernetes' three-valued truth."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Strict):
    """One condition, as in Kubernetes' metav1.Condition."""

    type: Annotated[str, Field(max_length=316)]
    """What the condition speaks of, unique in the list."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """One word in CamelCase that programs can switch on."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """What is so and what would mend it, for people."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """metadata.generation that the condition was made from."""
    last_transition_time: datetime
    """When status last changed."""


class ScalingDecision(Strict):
    """One change of the number of replicas, with its reason."""

    time: datetime
    """When it was decided."""
    from_: Annotated[int, Field(alias="from", ge=0)]
    """Replicas before."""
    to: Annotated[int, Field(ge=0)]
    """Replicas after."""
    reason: Annotated[str, Field(max_length=64)]
    """One word in CamelCase, such as FirstRequest, Demand, QueueDepth, Idle, Window."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """The figures behind it."""


class ScalingNeed(Strict):
    """How many replicas one signal calls for."""

    signal: Annotated[str, Field(max_length=64)]
    """Whose need it is, one word in CamelCase, such as Concurrency or QueueDepth."""
    replicas: Annotated[int, Field(ge=0)]
    """How many it calls for, before bounds."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """The figures behind it."""


class ScalingNeeds(Strict):
    """What scaling goes by: the largest need wins on the way up, the way down needs all of them."""

    at: datetime
    """When it was so: taken with each decision, and every half minute while there is traffic."""
    needs: Annotated[list[ScalingNeed], Field(max_length=16)]
    """The largest first."""


class GatewaySpend(Strict):
    """What one gateway process has reported as spent; kept so that a restarted operator counts nothing twice."""

    gateway: Annotated[str, Field(max_length=300)]
    """Identity of the gateway process."""
    nano_usd: Annotated[int, Field(alias="nanoUSD", ge=0)]
    """Its counter in nano-dollars."""


class Spend(Strict):
    """Cost of the hosted APIs, from the usage that they reported and the prices in spec."""

    usd: Annotated[str, Field(alias="USD")] = "0.00"
    """Dollars since the route was made."""
    settled_nano_usd: Annotated[int, Field(alias="settledNanoUSD", ge=0)] = 0
    """Nano-dollars reported by gateway processes that are gone."""
    gateways: Annotated[list[GatewaySpend], Field(max_length=64)] = []
    """Counters of the gateway processes that run."""


class BudgetAlert(Strict):
    """The last of budget.alerts that was told."""

    percent: Annotated[int, Field(ge=0, le=100)]
    """Of the limit."""
    period_start: datetime
    """When the period began that it was told in."""


class StartPhase(Strict):
    """A part of a replica's start."""

    name: Annotated[str, Field(max_length=128)]
    """What it was: scheduled, volumes, init containers, image, weights, engine start, first answer; several that
    nobody can tell apart are told together, such as "weights and engine start"."""
    seconds: Annotated[float, Field(ge=0)]
    """How long it took."""


class EngineStart(Strict):
    """One replica's start."""

    replica: Annotated[str, Field(max_length=253)]
    """Its name."""
    at: datetime
    """When it was ready."""
    seconds: Annotated[float, Field(ge=0)]
    """From being asked for to its first answer."""
    phases: Annotated[list[StartPhase], Field(max_length=8)]
    """Where that time went, in order."""


class LoadTime(Strict):
    """How long replicas take to start, as it was measured."""

    seconds: Annotated[float, Field(ge=0)]
    """What the next start is expected to take: the median of the last ones. Scaling goes by it."""
    made_from: Annotated[str, Field(max_length=1024)]
    """What was started: the model's source and the profile. With another one the count begins anew."""
    recent_seconds: Annotated[list[Annotated[float, Field(ge=0)]], Field(max_length=9)]
    """How long the last starts took, newest first."""
    last_start: EngineStart
    """The last one, by phases."""
    advice: Annotated[str, Field(max_length=512)] = ""
    """What would shorten its longest phase."""


class ModelRouteStatus(Strict):
    """What is so, as far as the operator knows."""

    observed_generation: int | None = None
    """metadata.generation that this status was made from."""
    conditions: Annotated[
        list[Condition],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = []
    """Ready sums up; EngineAvailable, RolledOut, CacheRetained, ScalingActive, MetricsAvailable,
    HostedAvailable, WithinBudget, Programmed and SpecEnforced say why."""
    model: str | None = None
    """The name that clients send as "model", written in spec or that of the object."""
    replicas: Count | None = None
    """Replicas that exist."""
    ready_replicas: Count | None = None
    """Replicas that can answer."""
    desired_replicas: Count | None = None
    """Replicas that scaling wants."""
    selector: str | None = None
    """Label selector of the replicas' pods, for /scale."""
    url: str | None = None
    """Base URL for OpenAI SDKs inside the cluster."""
    served_by: str | None = None
    """Share of requests by backend since the gateways started, such as "local 93%, hosted 7%"."""
    spill_regret: str | None = None
    """How good decisions to spill were in the last minute with any, such as "4% of 50 spills regretted, 0.0012 USD; 1
    stream late at a replica"."""
    spend: Spend | None = None
    """Cost of the hosted APIs."""
    budget_alert: BudgetAlert | None = None
    """The last of budget.alerts that an event told of."""
    last_request_time: datetime | None = None
    """When the last request came, to the minute."""
    decisions: Annotated[list[ScalingDecision], Field(max_length=10)] = []
    """The last changes of the number of replicas, newest first."""
    load_time: LoadTime | None = None
    """How long replicas take to start, and where that time goes."""
    scaling: ScalingNeeds | None = None
    """What each signal calls for; absent where the number is fixed."""


class ConsumerStatus(Strict):
    """What is so, as far as the operator knows."""

    observed_generation: int | None = None
    """metadata.generation that this status was made from."""
    conditions: Annotated[
        list[Condition],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = []
    """Ready says whether the gateways know this consumer; RoutesAllowed whether the routes of other namespaces that it
    names allow it."""
