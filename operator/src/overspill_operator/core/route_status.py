"""What status says about a ModelRoute: conditions with reasons, and figures. Ready sums up.

Ready is True when a request to the route will be answered: a replica is ready, or the engine is at zero by rule and
can be woken, or a usable hosted API stands in. A fault of the spec as a whole makes it
False, whatever runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overspill_api.modelroute import ModelRouteSpec
from overspill_api.status import ConditionStatus, Spend
from overspill_api.status import ConditionType as Type
from overspill_operator.core.budget_status import BudgetReport, budget_statement
from overspill_operator.core.conditions import Statement, condition_list, false, timestamp, true, unknown
from overspill_operator.core.demand.traffic import Coverage
from overspill_operator.core.engine_labels import selector_text
from overspill_operator.core.engine_state import EngineState
from overspill_operator.core.faults import Fault, summary
from overspill_operator.core.gateway_refusals import REASON as REFUSED
from overspill_operator.core.gateway_refusals import Refusal, programmed
from overspill_operator.core.hosted_health import HostedReport
from overspill_operator.core.hosted_status import answering, hosted_statement
from overspill_operator.core.needs_status import scaling_status
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.pod_problems import PodProblem
from overspill_operator.core.rolled_out import rolled_out
from overspill_operator.core.scaling.autoscaler import Need, Rules
from overspill_operator.core.scaling.load_times import seconds_text
from overspill_operator.core.scaling.scaling_state import DECISIONS_MAX
from overspill_operator.core.unenforced import unenforced_fields

NOTHING_SPENT = Spend().model_dump(by_alias=True, mode="json")


@dataclass(frozen=True, slots=True)
class ScalingFacts:
    """What scaling knows of a route that has an engine."""

    desired: int
    """Replicas decided."""
    rules: Rules
    """Rules in force."""
    coverage: Coverage
    """How much of the demand is known."""
    gateways: int
    """Gateways that there are."""
    starting: bool
    """Whether this process has only just begun to listen to them."""
    queue_unread: str
    """Why vLLM's queue depth cannot be read although there is traffic; empty: it can, or there is none."""
    doubts: str = ""
    """What of the gateways' figures for this route is not believed; empty: all is."""
    start_failed: bool = False
    """Whether the engine is at zero because no replica was ready in time."""
    advised: int | None = None
    """Replicas that Overspill would run where another autoscaler decides; None: it decides itself."""
    source_trouble: str = ""
    """Why nothing is known of demand, where its source itself fails; empty: it does not."""
    needs: tuple[Need, ...] | None = None
    """What each signal calls for, the largest first; empty: the number is fixed; None: nothing was decided yet."""


@dataclass(frozen=True, slots=True)
class TrafficFigures:
    """Figures for people, sampled now and then."""

    served_by: str | None
    """Share of requests by backend."""
    last_request_unix: float | None
    """When the last request came."""
    spend: Spend
    """What hosted APIs have cost."""
    spill_regret: str | None = None
    """How good decisions to spill were of late; None: none was judged."""


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What the gateways have found out about a route."""

    hosted: tuple[HostedReport, ...] = ()
    """Whether its hosted APIs answer."""
    refusal: Refusal | None = None
    """Who cannot use its compiled document."""
    budget: BudgetReport | None = None
    """What its budget has been spent on."""


def status_document(
    route: RouteObject,
    *,
    faults: tuple[Fault, ...],
    engine: EngineState,
    problem: PodProblem | None,
    scaling: ScalingFacts | None,
    usable_hosted: frozenset[str],
    traffic: TrafficFigures | None,
    gateways: GatewayFacts = GatewayFacts(),
    decisions: Sequence[Mapping[str, Any]],
    url: str,
    now_unix: float,
    retained_cache: str = "",
    load_time: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole status, with None for what is to be absent."""
    spec = route.spec
    engine_says = _engine(faults, engine, problem, scaling, (load_time or {}).get("seconds"))
    hosted_says = hosted_statement(spec, faults, usable_hosted, gateways.hosted)
    statements = [_ready(faults, engine_says, hosted_says, scaling, answering(usable_hosted, gateways.hosted))]
    if gateways.refusal and not any(fault.of_spec for fault in faults):
        statements = [false(Type.READY, REFUSED, gateways.refusal.told("ModelRoute"))]
    if engine_says and scaling:
        statements += [engine_says, rolled_out(faults, engine, problem, scaling.desired)]
    if retained_cache:
        statements.append(true(Type.CACHE_RETAINED, "NotWanted", retained_cache))
    statements += [hosted_says] if hosted_says else []
    if scaling:
        statements += [_scaling(scaling), _metrics(scaling, route.status)]
    budget_says = budget_statement(spec.budget if spec else None, gateways.budget)
    statements += [budget_says] if budget_says else []
    if spec:
        statements += [programmed(gateways.refusal), _enforced(spec)]
    before = route.status
    figures = traffic or TrafficFigures(None, None, Spend())
    has_engine = scaling is not None
    last_request = figures.last_request_unix
    last_minute = timestamp(last_request - last_request % 60) if last_request else before.get("lastRequestTime")
    spend = figures.spend.model_dump(by_alias=True, mode="json") if traffic else before.get("spend") or NOTHING_SPENT
    shown = list(decisions)[:DECISIONS_MAX]
    is_decided = shown[:1] != list(before.get("decisions") or ())[:1]
    needs = scaling.needs if scaling else ()  # of no engine there are none
    return {
        "observedGeneration": route.meta.generation,
        "conditions": condition_list(statements, before.get("conditions") or (), route.meta.generation, now_unix),
        "model": route.model,
        "replicas": engine.replicas if has_engine else None,
        "readyReplicas": engine.ready if has_engine else None,
        "desiredReplicas": scaling.desired if scaling else None,
        "selector": selector_text(route.meta.name) if has_engine else None,
        "url": url,
        "servedBy": figures.served_by if traffic else before.get("servedBy"),
        "lastRequestTime": last_minute,
        "spillRegret": figures.spill_regret or before.get("spillRegret"),
        "spend": spend,
        "budgetAlert": before.get("budgetAlert"),
        "loadTime": load_time,
        "decisions": shown,
        "scaling": scaling_status(needs, before, is_news=is_decided or traffic is not None, now_unix=now_unix),
    }


def _ready(  # noqa: PLR0911 - one return a case
    faults: tuple[Fault, ...],
    engine: Statement | None,
    hosted: Statement | None,
    scaling: ScalingFacts | None,
    answering_hosted: frozenset[str],
) -> Statement:
    wrong = [fault for fault in faults if fault.of_spec]
    if wrong:
        kept = " Until then the last good configuration stays in force." if any(f.blocks for f in wrong) else ""
        return false(Type.READY, wrong[0].reason.value, summary(faults) + kept)
    if engine and engine.status.value == "True":
        return true(Type.READY, engine.reason, engine.message)
    wakes = scaling is not None and (scaling.rules.bounds.maximum > 0 if scaling.rules.fixed is None else False)
    if engine and engine.reason == "ScaledToZero" and wakes:
        return true(Type.READY, engine.reason, engine.message)
    if answering_hosted:
        names = ", ".join(sorted(answering_hosted))
        unasked = "" if hosted is None or hosted.reason != "CredentialsFound" else "; none has been asked yet"
        message = f"Requests go to hosted APIs: {names}{unasked}."
        return true(Type.READY, "HostedStandsIn" if engine else "HostedAvailable", message)
    if engine:
        more = f" {hosted.message}" if hosted and hosted.status.value != "True" else ""
        return false(Type.READY, engine.reason, engine.message + more)
    if hosted:
        return false(Type.READY, hosted.reason, hosted.message)
    return false(Type.READY, "NothingServes", "Neither spec.selfHosted nor spec.hosted is set: set one of them.")


def _engine(  # noqa: PLR0911 - one return a case
    faults: tuple[Fault, ...],
    engine: EngineState,
    problem: PodProblem | None,
    scaling: ScalingFacts | None,
    load_seconds: float | None,
) -> Statement | None:
    if scaling is None:
        return None
    wrong = tuple(fault for fault in faults if fault.of_engine)
    if wrong:
        kept = " The replicas of the last good configuration keep running." if engine.ready else ""
        return false(Type.ENGINE_AVAILABLE, wrong[0].reason.value, summary(wrong) + kept)
    desired = scaling.desired
    if engine.ready and desired:
        message = f"{engine.ready} of {_replicas(desired)} ready."
        if problem and engine.ready < desired:
            message += f" {problem.message}"
        return true(Type.ENGINE_AVAILABLE, "ReplicasReady", message)
    if desired == 0:
        return _at_zero(scaling)
    if engine.refused:
        return false(Type.ENGINE_AVAILABLE, "PodsRefused", f"Kubernetes makes no pods: {engine.refused}")
    if problem:
        return false(Type.ENGINE_AVAILABLE, problem.reason, problem.message)
    usual = f" A start takes {seconds_text(load_seconds)} as a rule." if load_seconds is not None else ""
    return false(Type.ENGINE_AVAILABLE, "Loading", f"Starting or loading the model: {_replicas(desired)}.{usual}")


def _replicas(number: int) -> str:
    return "1 replica" if number == 1 else f"{number} replicas"


def _at_zero(scaling: ScalingFacts) -> Statement:
    bounds = scaling.rules.bounds
    if scaling.rules.paused:
        message = "No replica runs, and no request wakes one: spec.scaling.paused is true."
    elif scaling.rules.fixed is not None and scaling.rules.external:
        message = "The other autoscaler holds spec.scaling.replicas at 0 (spec.scaling.autoscaler is External)."
    elif scaling.rules.fixed is not None:
        message = "spec.scaling.replicas is 0: set it higher, or remove it to let Overspill decide."
    elif bounds.maximum == 0:
        message = f"maxReplicas is 0 by window {', '.join(bounds.windows)}."
    elif scaling.start_failed:
        message = (
            f"No replica was ready within {scaling.rules.startup_timeout_seconds:g} s, so the engine is at zero: the "
            "events of this route say what kept it. The next request tries again."
        )
        return false(Type.ENGINE_AVAILABLE, "StartTimeout", message)
    else:
        message = "No replica runs; the first request wakes one."
    return false(Type.ENGINE_AVAILABLE, "ScaledToZero", message)


def _scaling(scaling: ScalingFacts) -> Statement:
    rules = scaling.rules
    if rules.paused:
        message = f"spec.scaling.paused keeps {_replicas(scaling.desired)}; take it away to go on."
        if scaling.desired == 0:
            message += " Until then no request wakes one."
        return false(Type.SCALING_ACTIVE, "Paused", message)
    if rules.external and rules.fixed is None:
        message = "Another autoscaler decides, once the operator has written spec.scaling.replicas for it."
        return false(Type.SCALING_ACTIVE, "ExternalAutoscaler", message)
    if rules.fixed is not None and rules.external:
        message = f"Another autoscaler decides, by this object's /scale: {_replicas(rules.fixed)} now."
        if scaling.advised is not None:
            message += f" Overspill would run {scaling.advised}."
        return false(Type.SCALING_ACTIVE, "ExternalAutoscaler", message)
    if rules.fixed is not None:
        message = f"spec.scaling.replicas fixes {_replicas(rules.fixed)}; remove it to let Overspill decide."
        return false(Type.SCALING_ACTIVE, "FixedReplicas", message)
    bounds = rules.bounds
    by = f" by window {', '.join(bounds.windows)}" if bounds.windows else ""
    if bounds.maximum == 0:
        return false(Type.SCALING_ACTIVE, "WindowHoldsAtZero", f"maxReplicas is 0{by}.")
    return true(Type.SCALING_ACTIVE, "FollowsDemand", f"Between {bounds.minimum} and {bounds.maximum} replicas{by}.")


def _metrics(scaling: ScalingFacts, before: Mapping[str, Any]) -> Statement:  # noqa: PLR0911 - one return a case
    effect = "Until then the number of replicas only goes up."
    kind = Type.METRICS_AVAILABLE
    if scaling.coverage is Coverage.COMPLETE:
        if scaling.doubts:
            message = f"Figures of gateways that cannot be are left out ({scaling.doubts})."
            unsure = " Where they may hide requests, the number of replicas only goes up."
            return false(kind, "FiguresNotBelieved", message + unsure)
        if scaling.queue_unread:
            message = f"{scaling.queue_unread} Scaling goes by the gateways' figures alone."
            return false(kind, "EngineMetricsMissing", message)
        return true(kind, "GatewaysReport", "Every gateway reports demand.")
    if scaling.starting:
        known = next((c for c in before.get("conditions") or () if c.get("type") == kind.value), None)
        if known:
            return Statement(kind, ConditionStatus(known["status"]), known["reason"], known.get("message", ""))
        return unknown(kind, "Starting", f"The operator has just begun to listen to the gateways. {effect}")
    if scaling.source_trouble:
        return false(kind, "PrometheusUnavailable", f"{scaling.source_trouble}. {effect}")
    if scaling.gateways == 0:
        return false(kind, "NoGateways", f"No gateway runs, so demand is not known. {effect}")
    if scaling.coverage is Coverage.PARTIAL:
        return false(kind, "GatewaySilent", f"Not every gateway reports demand. {effect}")
    return false(kind, "GatewaysSilent", f"No gateway reports demand. {effect}")


def _enforced(spec: ModelRouteSpec) -> Statement:
    fields = unenforced_fields(spec)
    if not fields:
        return true(Type.SPEC_ENFORCED, "AllFields", "Every field of spec is acted upon.")
    message = f"This version takes but does not act upon: {', '.join(fields)}."
    return false(Type.SPEC_ENFORCED, "FieldsNotEnforced", message)
