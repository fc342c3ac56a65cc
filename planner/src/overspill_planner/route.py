"""A ModelRoute as the simulator needs it, with what its YAML does not say: speeds, prices of replicas, load times."""

from dataclasses import dataclass, replace

from overspill_api.modelroute import ColdStart, HostedAPI, ModelRouteSpec
from overspill_gateway.core.admission.route_pool import FlowRules
from overspill_operator.core.scaling.cost import prices_of
from overspill_operator.core.scaling.scaling_state import ScalingPolicy, policy_of
from overspill_planner.profiles import PROFILES, SettingError, speed_with
from overspill_planner.simulator.engine import Speed
from overspill_planner.simulator.fleet import Loading
from overspill_planner.simulator.hosted import HostedModel
from overspill_planner.simulator.run import BEGINS_UNIX, HostedSetting, Setting

SLO_SECONDS = 2.0
"""Within which a first token is in time where the route says nothing."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a route's YAML does not say."""

    engine: str = ""
    """Settings of the engine, ``KEY=NUMBER,...``, over those of the profile."""
    replica_usd_per_hour: float | None = None
    """What a replica costs; None: by the profile's name."""
    load_seconds: float = 60.0
    """From a replica's pod running to its first request."""
    pod_seconds: float = 2.0
    """From asking for a replica to its pod running."""
    load_spread: float = 0.0
    """Of the log-normal distributions of both."""
    hosted_first_token_seconds: float = 0.5
    """Of hosted APIs, at the median."""
    hosted_token_seconds: float = 0.012
    """Between two tokens of theirs."""
    hosted_spread: float = 0.3
    """Of the log-normal distribution of their first token."""
    begins_unix: float = BEGINS_UNIX
    """When the trace begins, for windows of hours."""
    seed: int = 1
    """Of all chance."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route that can be simulated."""

    setting: Setting
    """Its world."""
    scaling: ScalingPolicy
    """How Overspill scales it."""
    left_out: tuple[str, ...]
    """Fields of it that are not simulated."""


def route_of(spec: ModelRouteSpec, assumptions: Assumptions) -> Route:
    """The route; raises SettingError where something is missing."""
    if spec.self_hosted is None:
        raise SettingError("spec.selfHosted is missing: a route without replicas of its own has nothing to scale")
    profile = PROFILES.get(spec.self_hosted.profile)
    usd_per_hour = assumptions.replica_usd_per_hour
    if usd_per_hour is None:
        if profile is None:
            raise SettingError(
                f"what a replica of the profile {spec.self_hosted.profile!r} costs is not known; give "
                f"--replica-usd-per-hour, and its speed by --engine (known are {', '.join(PROFILES)})"
            )
        usd_per_hour = profile.usd_per_hour
    speed = profile.speed if profile else Speed()
    overflow, targets = spec.overflow, spec.scaling.targets
    spill = overflow.time_to_first_token
    slo = targets.time_to_first_token.p95 if targets.time_to_first_token else spill
    cold_start = overflow.on_cold_start or (ColdStart.HOSTED if spec.hosted else ColdStart.HOLD)
    setting = Setting(
        speed=speed_with(speed, assumptions.engine),
        replica_hour_usd=usd_per_hour,
        loading=Loading(assumptions.pod_seconds, assumptions.load_seconds, assumptions.load_spread),
        hosted=tuple(_hosted(entry, assumptions) for entry in spec.hosted),
        spill_target_seconds=spill.seconds if spill else None,
        slo_seconds=slo.seconds if slo else SLO_SECONDS,
        cold_start_hosted=cold_start is ColdStart.HOSTED,
        held_max=overflow.hold.max_requests,
        rules=FlowRules(
            total_seconds=spec.timeouts.total.seconds, hold_timeout_seconds=overflow.hold.timeout.seconds
        ),
        attempts_max=spec.retries.attempts + 1,
        begins_unix=assumptions.begins_unix,
        seed=assumptions.seed,
    )  # fmt: skip
    policy = replace(policy_of(spec, None), prices=prices_of(spec, usd_per_hour), batch_most=setting.speed.running_max)
    return Route(setting, policy, _left_out(spec))


def _hosted(entry: HostedAPI, assumptions: Assumptions) -> HostedSetting:
    if entry.price is None:
        raise SettingError(f"spec.hosted: {entry.name} has no price; write what it costs, as price: {{input, output}}")
    limits = entry.limits
    model = HostedModel(
        assumptions.hosted_first_token_seconds, assumptions.hosted_token_seconds, assumptions.hosted_spread,
        requests_per_minute=limits.requests_per_minute, tokens_per_minute=limits.tokens_per_minute,
        concurrency=limits.concurrency,
    )  # fmt: skip
    return HostedSetting(entry.name, model, float(entry.price.input), float(entry.price.output))


def _left_out(spec: ModelRouteSpec) -> tuple[str, ...]:
    """Fields that are set and would change what happens, but are not simulated."""
    fields = {
        "spec.budget": spec.budget is not None,
        "spec.cache": spec.cache is not None,
        "spec.hedging": spec.hedging is not None,
        "spec.rateLimit": spec.rate_limit is not None,
    }
    return tuple(path for path, is_set in fields.items() if is_set)
