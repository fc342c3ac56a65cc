"""Carrying out a plan wherever engines run: here they are words in a list, and no cluster is near."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from overspill_api.modelroute import SelfHosted
from overspill_operator.app.route_parts import RouteParts
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.plan import EngineSpec, RouteWorld, plan_route
from overspill_operator.ports import Outcome
from unit.operator_.core.builders import PROFILES, route

ENGINE = "selfHosted: {source: hf://a/b, profile: cpu}"
HOSTED = "hosted: [{name: a, baseURL: 'https://x.test', model: m}]"


@dataclass(frozen=True, slots=True)
class Words:
    """Engines as lines of commands."""

    exists: bool = False
    asks_for_key: bool = True
    can_quantize: bool = True

    def served_model(self, model: str, replicas: int) -> str:
        """Each engine knows one name."""
        assert replicas >= 0
        return model

    def patience_seconds(self, self_hosted: SelfHosted) -> float:
        """Nothing waits for room."""
        assert self_hosted.profile
        return 0.0

    def plan(
        self, route: RouteObject, engine: EngineSpec | None, *, is_blocked: bool, hosted_stands_in: bool
    ) -> tuple[str, tuple[Fault, ...]]:
        """One line of what is wanted."""
        if engine is None:
            return "nothing", ()
        faults: tuple[Fault, ...] = ()
        if engine.self_hosted.args and not self.can_quantize:
            faults = (Fault(FaultReason.RESERVED_ARGUMENT, "no quantization here."),)
        state = "blocked" if is_blocked or faults else f"{engine.replicas} x {engine.served}"
        return f"{route.meta.name}: {state}, key {engine.api_key}, hosted {hosted_stands_in}", faults


@dataclass(slots=True)
class Machine:
    """Keeps what it is told, and refuses what it is to."""

    refuses: Fault | None = None
    said: list[str] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)

    async def make(self, route: RouteObject, engine: str, outcome: Outcome) -> None:  # noqa: ARG002
        """As ``ports.EngineMaker``."""
        self.said.append(f"make {engine}")
        if self.refuses is not None:
            outcome.faults.append(self.refuses)

    async def write(self, route: RouteObject, document: bytes, outcome: Outcome) -> None:  # noqa: ARG002
        """As ``ports.DocumentWriter``."""
        self.said.append("write")
        self.documents.append(json.loads(document))

    async def take_away(self, route: RouteObject, engine: str, outcome: Outcome) -> None:  # noqa: ARG002
        """As ``ports.EngineMaker``."""
        self.said.append(f"take away {engine}")

    async def forget(self, key: str, is_orphan: Callable[[Any], bool]) -> None:
        """As ``ports.EngineMaker``."""
        self.said.append(f"forget {key} {is_orphan(None)}")


def world(engine: Words, **changes: Any) -> RouteWorld[str]:
    """Nothing is wrong."""
    usual: dict[str, Any] = {
        "profiles": PROFILES, "replicas": 2, "may_wake": True, "lost_names": {}, "api_keys": {},
        "missing_credentials": {}, "source_secret_problem": "", "compiled_names": frozenset(), "engine_keys": ("k",),
    }  # fmt: skip
    return RouteWorld(engine=engine, **(usual | changes))


async def carried_out(machine: Machine, spec: str, seen: RouteWorld[str]) -> Outcome:
    """The plan of a route, carried out."""
    made = route(spec)
    assert made.spec is not None
    return await RouteParts(machine, machine).carry_out(made, made.spec, seen, plan_route(made, seen))


async def test_an_engine_is_made_told_of_and_what_is_left_over_goes() -> None:
    """In this order: gateways never look for what is not there, and hear first of what goes."""
    machine = Machine()
    await carried_out(machine, ENGINE, world(Words()))
    assert machine.said == [
        "make tiny: 2 x tiny, key k, hosted False", "write", "take away tiny: 2 x tiny, key k, hosted False",
    ]  # fmt: skip
    assert machine.documents[0]["local"]["served_model"] == "tiny"


async def test_without_an_engine_the_plan_says_so() -> None:
    """What there was of one goes after the document."""
    machine = Machine()
    await carried_out(machine, HOSTED, world(Words(), api_keys={"a": None}))
    assert machine.said == ["make nothing", "write", "take away nothing"]


async def test_an_engine_that_is_refused_cannot_be_woken_and_hosted_apis_serve() -> None:
    """The document is made of what then is."""
    machine = Machine(refuses=Fault(FaultReason.ENGINE_REFUSED, "no room."))
    outcome = await carried_out(machine, f"{{{ENGINE}, {HOSTED}}}", world(Words(), api_keys={"a": None}))
    assert [fault.message for fault in outcome.faults] == ["no room."]
    assert machine.documents[0]["local"]["may_wake"] is False
    assert [entry["name"] for entry in machine.documents[0]["hosted"]] == ["a"]


async def test_what_cannot_be_made_here_is_told_and_changes_nothing() -> None:
    """The last good configuration stays in force."""
    spec = "selfHosted: {source: hf://a/b, profile: cpu, args: [--quantization=fp8]}"
    plan = plan_route(route(spec), world(Words(can_quantize=False)))
    assert [fault.message for fault in plan.faults] == ["no quantization here."]
    assert (plan.is_blocked, plan.engine, plan.document) == (True, None, None)


async def test_a_route_that_is_gone_is_forgotten_where_its_engine_ran() -> None:
    """With the question whether what is found there is nobody else's."""
    machine = Machine()
    await RouteParts(machine, machine).forget("chat/tiny", lambda live: live is None)
    assert machine.said == ["forget chat/tiny True"]
