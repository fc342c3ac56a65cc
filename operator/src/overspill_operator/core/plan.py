"""The plan of one ModelRoute: from its spec and what was observed to the objects that shall be, and what is wrong.

A plan is a value. Carrying it out is ``app.route_parts``, saying it in status is ``core.route_status``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from overspill_api.modelroute import ColdStart, DisruptionBudget, ModelRouteSpec, SelfHosted
from overspill_api.profile import Profile
from overspill_api.quantities import DNS_LABEL_PATTERN
from overspill_operator.core import manifests
from overspill_operator.core.compile import compile_route
from overspill_operator.core.engine_access import EngineAccess, KeySenders, asks_for_key
from overspill_operator.core.engine_pod import ReservedError, reserved_arguments
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.pod_merge import MergeError
from overspill_operator.core.rollout import strategy
from overspill_operator.core.served_model import served_model
from overspill_operator.core.windows import unknown_zones

_DNS_LABEL = re.compile(DNS_LABEL_PATTERN)
_PROFILES_NAMED_MAX = 12


@dataclass(frozen=True, slots=True)
class RouteWorld:
    """Everything outside the object that its plan depends on."""

    profiles: Mapping[str, Profile]
    """Hardware profiles by name."""
    replicas: int
    """Replicas that scaling has decided."""
    may_wake: bool
    """Whether bounds let the engine run now."""
    lost_names: Mapping[str, RouteObject]
    """Model names that another route keeps, with that route."""
    api_keys: Mapping[str, str | None]
    """By usable hosted entry, its API key; None where it needs none."""
    missing_credentials: Mapping[str, str]
    """By hosted entry that is not usable, what is missing."""
    source_secret_problem: str
    """What is wrong with the Secret that ``sourceSecretName`` names; empty: nothing, or none is named."""
    live_engine: Mapping[str, Any] | None
    """The route's own Deployment as it is."""
    live_claim: Mapping[str, Any] | None
    """The cache's claim as it is, where it is the route's own."""
    compiled_names: frozenset[str]
    """Model names in the compiled document that the gateways have now."""
    engine_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys that replicas may ask for: the present one, then the one before it."""
    engine_key_problem: str = ""
    """Why there is no key; empty: there is one, or the route needs none."""
    key_senders: KeySenders = KeySenders.ALL
    """Which gateways send such a key."""
    engine_access: EngineAccess | None = None
    """Who may reach engines; None: everybody who can."""
    no_room_since_unix: float | None = None
    """Since when a new replica lacks the room that an old one has; None: it does not, as far as is known."""
    now_unix: float = 0.0
    """The time."""


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What shall be. None or False: leave it as it is."""

    faults: tuple[Fault, ...] = ()
    """All that is wrong."""
    deployment: manifests.Manifest | None = None
    """The engine."""
    service: manifests.Manifest | None = None
    """Its Service."""
    claim: manifests.Manifest | None = None
    """Its cache."""
    disruption_budget: manifests.Manifest | None = None
    """What a drain must leave of it; None: there shall be none (any more), where there is an engine."""
    network_policy: manifests.Manifest | None = None
    """Who may reach the engine; None: everybody who can."""
    document: bytes | None = None
    """The compiled document, where nothing more is wrong than ``faults``."""
    drop_document: bool = False
    """Whether the gateways shall no longer have the last good one: another route owns its name."""
    remove_engine: bool = False
    """Whether there shall be no engine (any more)."""
    remove_claim: bool = False
    """Whether there shall be no cache (any more)."""

    @property
    def is_blocked(self) -> bool:
        """Whether the spec does not take effect, and the last good one stays in force."""
        return any(fault.blocks for fault in self.faults)


def plan_route(route: RouteObject, world: RouteWorld) -> RoutePlan:
    """The plan. A spec with a fault changes nothing that runs."""
    spec = route.spec
    if spec is None:
        message = " ".join(f"{sentence}." for sentence in route.spec_errors)
        return RoutePlan(faults=(Fault(FaultReason.INVALID_SPEC, message),))
    faults = list(_spec_faults(route, spec, world))
    deployment = claim = None
    if spec.self_hosted and not any(fault.blocks for fault in faults):
        profile = world.profiles[spec.self_hosted.profile]
        try:
            deployment = manifests.deployment(
                route.meta,
                spec.self_hosted,
                profile,
                model=route.model,
                replicas=world.replicas,
                served=_served(route, world),
                api_key=_engine_key(world),
            )
            deployment["spec"]["strategy"] = _strategy(spec.self_hosted, deployment, world)
        except MergeError as error:
            faults.append(
                Fault(FaultReason.INVALID_POD_TEMPLATE, f"{error}: write it as in a pod template of a Deployment.")
            )
        except ReservedError as error:
            faults.append(Fault(FaultReason.RESERVED_ARGUMENT, str(error), keeps_last_good=False))
        if spec.self_hosted.cache:
            claim = manifests.cache_claim(route.meta, spec, spec.self_hosted, world.live_claim)
    faults += _outside_faults(spec, world)
    if any(fault.blocks for fault in faults):
        return RoutePlan(tuple(faults), drop_document=not world.compiled_names.isdisjoint(world.lost_names))
    engine_blocked = any(fault.of_engine for fault in faults)
    return RoutePlan(
        faults=tuple(faults),
        deployment=None if engine_blocked else deployment,
        service=manifests.service(route.meta) if spec.self_hosted and not engine_blocked else None,
        claim=None if engine_blocked else claim,
        disruption_budget=_disruption_budget(route, spec, world),
        network_policy=_network_policy(route, spec, world),
        document=document_of(route, spec, world, tuple(faults)),
        remove_engine=spec.self_hosted is None,
        remove_claim=spec.self_hosted is None or spec.self_hosted.cache is None,
    )


def _engine_key(world: RouteWorld) -> str | None:
    if not world.engine_keys or not asks_for_key(world.live_engine, world.key_senders):
        return None
    return world.engine_keys[0]


def _served(route: RouteObject, world: RouteWorld) -> str:
    return served_model(route.model, world.live_engine, world.replicas)


def _disruption_budget(route: RouteObject, spec: ModelRouteSpec, world: RouteWorld) -> manifests.Manifest | None:
    if spec.self_hosted is None or spec.self_hosted.disruption_budget is DisruptionBudget.NONE:
        return None
    stands_in = bool(world.api_keys) and spec.overflow.on_cold_start is not ColdStart.HOLD
    return manifests.disruption_budget(route.meta, hosted_stands_in=stands_in)


def _network_policy(route: RouteObject, spec: ModelRouteSpec, world: RouteWorld) -> manifests.Manifest | None:
    if spec.self_hosted is None or world.engine_access is None:
        return None
    return manifests.network_policy(route.meta, world.engine_access)


def _strategy(self_hosted: SelfHosted, desired: manifests.Manifest, world: RouteWorld) -> dict[str, Any]:
    is_same = manifests.applied_hash(world.live_engine) == manifests.applied_hash(desired)
    live = world.live_engine if is_same else None
    return strategy(self_hosted.rollout, live, world.no_room_since_unix, world.now_unix)


def document_of(route: RouteObject, spec: ModelRouteSpec, world: RouteWorld, faults: tuple[Fault, ...]) -> bytes:
    """The compiled document, with what has turned out to be wrong so far.

    An engine that cannot be made does not keep hosted APIs from serving: it cannot be woken, and no more.
    """
    engine_blocked = any(fault.of_engine for fault in faults)
    document = compile_route(
        route.meta,
        spec,
        api_keys=world.api_keys,
        may_wake=world.may_wake and (world.live_engine is not None or not engine_blocked),
        lost_names=frozenset(world.lost_names),
        served_model=_served(route, world),
        engine_keys=world.engine_keys,
        has_engine=not any(fault.cuts_off for fault in faults),
    )
    return document.model_dump_json(exclude_none=True).encode()


def _spec_faults(route: RouteObject, spec: ModelRouteSpec, world: RouteWorld) -> list[Fault]:
    faults = [_conflict(route, name, keeper) for name, keeper in world.lost_names.items()]
    faults += [
        Fault(
            FaultReason.UNKNOWN_TIME_ZONE,
            f"{where}: {zone!r} is no time zone; use an IANA name such as Europe/Berlin.",
        )
        for where, zone in unknown_zones(spec)
    ]
    if spec.self_hosted:
        faults += _engine_spec_faults(route, spec.self_hosted, world.profiles)
    return faults


def _engine_spec_faults(route: RouteObject, self_hosted: SelfHosted, profiles: Mapping[str, Profile]) -> list[Fault]:
    faults = list(reserved_arguments(self_hosted, profiles.get(self_hosted.profile)))
    if self_hosted.profile not in profiles:
        known = ", ".join(sorted(profiles)[:_PROFILES_NAMED_MAX]) or "none"
        faults.append(
            Fault(
                FaultReason.PROFILE_NOT_FOUND,
                f"spec.selfHosted.profile: there is no profile {self_hosted.profile!r}; profiles are: {known}. "
                "Add it to the chart's values or use one of these.",
            )
        )
    if not _DNS_LABEL.fullmatch(route.meta.name) or len(route.meta.name) > manifests.ROUTE_NAME_LENGTH_MAX:
        faults.append(
            Fault(
                FaultReason.INVALID_NAME,
                f"metadata.name: {route.meta.name!r} cannot be part of a Service's name; use at most "
                f"{manifests.ROUTE_NAME_LENGTH_MAX} letters, digits and dashes without dots, and put the model's "
                "name into spec.model.",
            )
        )
    return faults


def _conflict(route: RouteObject, name: str, keeper: RouteObject) -> Fault:
    is_model = name == route.model
    where = "spec.model" if is_model else "spec.aliases"
    return Fault(
        FaultReason.MODEL_NAME_CONFLICT,
        f"{where}: the model name {name!r} belongs to the older ModelRoute {keeper.key}; "
        "choose another name here, or remove it there.",
        keeps_last_good=is_model,
    )


def _outside_faults(spec: ModelRouteSpec, world: RouteWorld) -> list[Fault]:
    faults = [Fault(FaultReason.CREDENTIALS_MISSING, message) for message in world.missing_credentials.values()]
    if spec.self_hosted and world.engine_key_problem:
        faults.append(Fault(FaultReason.ENGINE_REFUSED, world.engine_key_problem, keeps_last_good=False))
    if spec.self_hosted and world.source_secret_problem:
        message = f"spec.selfHosted.sourceSecretName: {world.source_secret_problem}."
        faults.append(Fault(FaultReason.SOURCE_SECRET_MISSING, message))
    return faults
