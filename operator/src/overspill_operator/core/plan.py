"""The plan of one ModelRoute: from its spec and what was observed to what shall be, and what is wrong.

What an engine is made of is not known here: ``EngineSpec`` says what it shall be, and ``EngineView``, of wherever
engines run, makes a plan of its own of it (on Kubernetes ``core.kubernetes_engine``). A plan is a value.
Carrying it out is ``app.route_parts``, saying it in status is ``core.route_status``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from overspill_api.modelroute import ColdStart, ModelRouteSpec, SelfHosted
from overspill_api.names import ROUTE_NAME_LENGTH_MAX
from overspill_api.profile import Profile
from overspill_api.quantities import DNS_LABEL_PATTERN
from overspill_operator.core.compile import compile_route
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.reserved_options import reserved_arguments
from overspill_operator.core.scaling.windows import unknown_zones

_DNS_LABEL = re.compile(DNS_LABEL_PATTERN)
_PROFILES_NAMED_MAX = 12

P_co = TypeVar("P_co", covariant=True)


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What the engine of a route shall be, wherever it runs."""

    self_hosted: SelfHosted
    """What the route says of it."""
    profile: Profile
    """What it runs on, and with what."""
    replicas_max: int
    """The most replicas that there may ever be."""
    model: str
    """What its answers call the model."""
    served: str
    """What gateways call it."""
    replicas: int
    """How many shall run."""
    api_key: str | None = field(default=None, repr=False)
    """The key that it shall ask for; None: it asks for none."""
    first_token_seconds: float | None = None
    """The route's target for the time to first token: that of overflow, else that of scaling; None: it has none."""


class EngineView(Protocol[P_co]):
    """A route's engine as it is, wherever it runs, as far as planning goes. Pure, as planning is."""

    @property
    def exists(self) -> bool:
        """Whether there is one."""

    def served_model(self, model: str, replicas: int) -> str:
        """The name that all of its replicas know."""

    @property
    def asks_for_key(self) -> bool:
        """Whether it shall ask for a key."""

    def patience_seconds(self, self_hosted: SelfHosted) -> float:
        """In how many seconds a change that waits for room comes in another way; 0: none waits, or it is due."""

    def plan(
        self, route: RouteObject, engine: EngineSpec | None, *, is_blocked: bool, hosted_stands_in: bool
    ) -> tuple[P_co, tuple[Fault, ...]]:
        """What is to be made of it, and what is wrong with its form; ``engine`` None: there shall be none.

        ``is_blocked``: it can't be made or changed now, though all else stays in order. ``hosted_stands_in``: hosted
        APIs answer while no replica does. One whose form is wrong is blocked by that as well: what is around an engine
        that runs stays in order. Faults are told whether or not it is blocked by something else.
        """


@dataclass(frozen=True, slots=True)
class RouteWorld(Generic[P_co]):
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
    engine: EngineView[P_co]
    """The engine as it is."""
    compiled_names: frozenset[str]
    """Model names in the compiled document that the gateways have now."""
    engine_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys that replicas may ask for: the present one, then the one before it."""
    engine_key_problem: str = ""
    """Why there is no key; empty: there is one, or the route needs none."""


@dataclass(frozen=True, slots=True)
class RoutePlan(Generic[P_co]):
    """What shall be. None: leave it as it is."""

    faults: tuple[Fault, ...] = ()
    """All that is wrong."""
    engine: P_co | None = None
    """What is to be made of the engine, in the words of wherever it runs."""
    document: bytes | None = None
    """The compiled document, where nothing more is wrong than ``faults``."""
    drop_document: bool = False
    """Whether the gateways shall no longer have the last good one: another route owns its name."""

    @property
    def is_blocked(self) -> bool:
        """Whether the spec does not take effect, and the last good one stays in force."""
        return any(fault.blocks for fault in self.faults)


def plan_route(route: RouteObject, world: RouteWorld[P_co]) -> RoutePlan[P_co]:
    """The plan. A spec with a fault changes nothing that runs."""
    spec = route.spec
    if spec is None:
        message = " ".join(f"{sentence}." for sentence in route.spec_errors)
        return RoutePlan(faults=(Fault(FaultReason.INVALID_SPEC, message),))
    faults = list(_spec_faults(route, spec, world))
    outside = _outside_faults(spec, world)
    engine: P_co | None = None
    if not any(fault.blocks for fault in faults):
        engine, of_form = world.engine.plan(
            route,
            _engine_spec(route, spec, world),
            is_blocked=any(fault.of_engine for fault in (*faults, *outside)),
            hosted_stands_in=bool(world.api_keys) and spec.overflow.on_cold_start is not ColdStart.HOLD,
        )
        faults += of_form
    faults += outside
    if any(fault.blocks for fault in faults):
        return RoutePlan(tuple(faults), drop_document=not world.compiled_names.isdisjoint(world.lost_names))
    return RoutePlan(faults=tuple(faults), engine=engine, document=document_of(route, spec, world, tuple(faults)))


def _engine_spec(route: RouteObject, spec: ModelRouteSpec, world: RouteWorld[P_co]) -> EngineSpec | None:
    if spec.self_hosted is None:
        return None
    return EngineSpec(
        self_hosted=spec.self_hosted,
        profile=world.profiles[spec.self_hosted.profile],
        replicas_max=max([spec.scaling.max_replicas, *(w.max_replicas or 0 for w in spec.scaling.windows)]),
        model=route.model,
        served=_served(route, world),
        replicas=world.replicas,
        api_key=world.engine_keys[0] if world.engine_keys and world.engine.asks_for_key else None,
        first_token_seconds=_first_token_seconds(spec),
    )


def _first_token_seconds(spec: ModelRouteSpec) -> float | None:
    target = spec.scaling.targets.time_to_first_token
    wanted = spec.overflow.time_to_first_token or (target.p95 if target else None)
    return wanted.seconds if wanted else None


def _served(route: RouteObject, world: RouteWorld[P_co]) -> str:
    return world.engine.served_model(route.model, world.replicas)


def document_of(route: RouteObject, spec: ModelRouteSpec, world: RouteWorld[P_co], faults: tuple[Fault, ...]) -> bytes:
    """The compiled document, with what has turned out to be wrong so far.

    An engine that cannot be made does not keep hosted APIs from serving: it cannot be woken, and no more.
    """
    refused = not world.engine.exists and any(fault.of_engine for fault in faults)
    document = compile_route(
        route.meta,
        spec,
        api_keys=world.api_keys,
        may_wake=world.may_wake and not refused,
        refused=refused,
        lost_names=frozenset(world.lost_names),
        served_model=_served(route, world),
        engine_keys=world.engine_keys,
        has_engine=not any(fault.cuts_off for fault in faults),
    )
    return document.model_dump_json(exclude_none=True).encode()


def _spec_faults(route: RouteObject, spec: ModelRouteSpec, world: RouteWorld[P_co]) -> list[Fault]:
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
                "Add it to the profiles (the chart's values, or the file of --profiles) or use one of these.",
            )
        )
    if not _DNS_LABEL.fullmatch(route.meta.name) or len(route.meta.name) > ROUTE_NAME_LENGTH_MAX:
        faults.append(
            Fault(
                FaultReason.INVALID_NAME,
                f"metadata.name: {route.meta.name!r} cannot be part of a Service's name; use at most "
                f"{ROUTE_NAME_LENGTH_MAX} letters, digits and dashes without dots, and put the model's "
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


def _outside_faults(spec: ModelRouteSpec, world: RouteWorld[P_co]) -> list[Fault]:
    faults = [Fault(FaultReason.CREDENTIALS_MISSING, message) for message in world.missing_credentials.values()]
    if spec.self_hosted and world.engine_key_problem:
        faults.append(Fault(FaultReason.ENGINE_REFUSED, world.engine_key_problem, keeps_last_good=False))
    if spec.self_hosted and world.source_secret_problem:
        message = f"spec.selfHosted.sourceSecretName: {world.source_secret_problem}."
        faults.append(Fault(FaultReason.SOURCE_SECRET_MISSING, message))
    return faults
