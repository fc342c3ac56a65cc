"""An engine on one machine: what its replicas are started as, and what of a route can't be there.

``LocalEngineView`` is what planning a route asks of it; ``placement`` decides when replicas run.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from overspill_api.modelroute import SelfHosted
from overspill_api.profile import Profile
from overspill_api.quantities import storage_bytes
from overspill_box.core.command_line import (
    ARGS,
    CommandLine,
    VllmProgram,
    is_vllm,
    own_command_line,
    revision,
    unknown_placeholders,
    uses,
    vllm_command_line,
)
from overspill_box.core.process import ProcessSpec
from overspill_operator.core.faults import Fault, FaultReason
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.plan import EngineSpec
from overspill_operator.core.vllm_arguments import EXIT_SECONDS, drain_seconds


@dataclass(frozen=True, slots=True)
class Machine:
    """What engines run on."""

    vllm: VllmProgram | None
    """Its vLLM; None: there is none (yet)."""
    vllm_problem: str = ""
    """Why there is none, with the way out: a sentence without its full stop."""
    memory_bytes: int | None = None
    """Memory for engines: of its GPU, or of the machine for engines on CPU; None: not known, one engine at a time."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one replica takes of the machine."""

    memory_bytes: int | None = None
    """Memory while it is not asleep; None: all that there is."""
    asleep_bytes: int = 0
    """Memory while it is asleep."""
    group: str | None = None
    """Replicas of one group may run together whatever their memory."""
    can_sleep: bool = False
    """Whether it can be put to sleep."""


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Everything that starting replicas of a route takes; or that there shall be none."""

    command_line: CommandLine | None = None
    """Command and environment of a replica; None: the route has no engine (any more)."""
    made_from: str = ""
    """Hash of all that shapes a replica but its port: one of another hash is another engine."""
    claim: Claim = Claim()
    """What one replica takes."""
    replicas_max: int = 0
    """The most replicas that there may ever be."""
    replicas: int = 0
    """How many shall run, as was decided when this was planned."""
    served_model: str = ""
    """The name that every replica of it knows, and that gateways ask for."""
    health_path: str = "/health"
    """Path that answers 200 once a replica can serve."""
    drain_seconds: float = 60.0
    """The longest that a replica which yields may finish what it has begun."""
    stop_seconds: float = 70.0
    """The longest from SIGTERM to SIGKILL."""
    startup_timeout_seconds: float = 1800.0
    """The longest that loading may take."""
    api_key: str | None = field(default=None, repr=False)
    """The key that it asks for; None: it asks for none."""
    is_vllm: bool = True
    """Whether it is vLLM, by its command."""
    notices: tuple[str, ...] = ()
    """What the route says that is not looked at on one machine, a sentence each, to be told once."""

    @property
    def exists(self) -> bool:
        """Whether there shall be one."""
        return self.command_line is not None

    def process(self, name: str, port: int) -> ProcessSpec:
        """The process of one replica; raises ValueError where there shall be none."""
        if self.command_line is None:
            raise ValueError("the route has no engine")
        command, environment = self.command_line.for_port(port)
        return ProcessSpec(name, command, port, self.made_from, environment, self.stop_seconds)


NO_ENGINE = LocalEngine()
"""There shall be none (any more)."""


@dataclass(frozen=True, slots=True)
class LocalEngineView:
    """An engine as it is on this machine: ``overspill_operator.core.plan.EngineView[LocalEngine]``."""

    machine: Machine
    """What it runs on."""
    profile: Profile | None = None
    """The profile that the route names; None: there is none of that name."""
    live: LocalEngine | None = None
    """What was made of the route last; None: nothing."""
    has_replicas: bool = False
    """Whether a replica of it runs, starts, sleeps or ends."""
    source_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables of the Secret that ``sourceSecretName`` names."""

    @property
    def exists(self) -> bool:
        """See ``EngineView``."""
        return self.live is not None and self.live.exists

    def served_model(self, model: str, replicas: int) -> str:
        """See ``EngineView``: the name that replicas were first started with stays as long as one may know no other."""
        if self.live is None or not self.live.exists or (replicas == 0 and not self.has_replicas):
            return model
        return self.live.served_model

    @property
    def asks_for_key(self) -> bool:
        """See ``EngineView``: vLLM always, another program where its command or a variable takes the key."""
        if self.profile is None or is_vllm(self.profile.local.command):
            return True
        return uses([*self.profile.local.command, *self.profile.env.values()], "api_key")

    def patience_seconds(self, self_hosted: SelfHosted) -> float:  # noqa: ARG002 - the protocol's
        """See ``EngineView``: nothing waits here for room that others may make."""
        return 0.0

    def plan(
        self,
        route: RouteObject,  # noqa: ARG002 - the protocol's
        engine: EngineSpec | None,
        *,
        is_blocked: bool,
        hosted_stands_in: bool,  # noqa: ARG002 - the protocol's
    ) -> tuple[LocalEngine, tuple[Fault, ...]]:
        """See ``EngineView``. One that is blocked or has a fault is the one before, which stays as it is."""
        if engine is None:
            return NO_ENGINE, ()
        faults = tuple(self._faults(engine))
        if is_blocked or faults:
            return self.live or NO_ENGINE, faults
        return self._made(engine), ()

    def _made(self, engine: EngineSpec) -> LocalEngine:
        local, profile = engine.profile.local, engine.profile
        added = dict(self.source_environment)
        added |= {variable.name: variable.value for variable in engine.self_hosted.env}
        program = VllmProgram(tuple(local.command)) if local.command else self.machine.vllm
        runs_vllm = is_vllm(local.command)
        if runs_vllm and program is not None:
            line = vllm_command_line(engine, program, added, can_sleep=local.sleep)
        else:
            line = own_command_line(engine, added)
        return LocalEngine(
            command_line=line,
            made_from=_hash(line),
            claim=claim_of(profile),
            replicas_max=engine.replicas_max,
            replicas=engine.replicas,
            served_model=engine.served,
            health_path=local.health_path,
            drain_seconds=drain_seconds(profile),
            stop_seconds=drain_seconds(profile) + EXIT_SECONDS,
            startup_timeout_seconds=profile.startup_timeout.seconds,
            api_key=engine.api_key,
            is_vllm=runs_vllm,
            notices=tuple(_notices(engine)),
        )

    def _faults(self, engine: EngineSpec) -> Iterator[Fault]:
        local, source = engine.profile.local, engine.self_hosted.source
        place = f"profile {engine.self_hosted.profile!r}: local.command"
        if source.startswith(("pvc://", "oci://")):
            yield _fault(
                f"spec.selfHosted.source: {source!r} is a volume of Kubernetes; on one machine write file:///path of "
                "the weights, or hf://org/model"
            )
        if not local.command and self.machine.vllm is None:
            yield _fault(f"vLLM is not on this machine: {self.machine.vllm_problem or 'install it'}")
        for index, name in unknown_placeholders(local.command):
            yield _fault(
                f"{place}[{index}]: {name} is no placeholder; there are {{model}}, {{revision}}, {{port}}, "
                "{served_model} and {api_key}, and {args} as an item of its own; write {{name}} for the text {name}"
            )
        if not is_vllm(local.command):
            yield from self._own_command_faults(engine, place)
        memory, most = claim_of(engine.profile).memory_bytes, self.machine.memory_bytes
        if memory is not None and most is not None and memory > most:
            yield _fault(
                f"profile {engine.self_hosted.profile!r}: local.memory {local.memory} is more than the "
                f"{most / 2**30:.1f}Gi that this machine has for engines: choose a smaller model or write less"
            )

    def _own_command_faults(self, engine: EngineSpec, place: str) -> Iterator[Fault]:
        command = engine.profile.local.command
        if not uses([*command, *engine.profile.env.values()], "port"):
            yield _fault(f"{place} does not say on which port to serve: put {{port}} where the program takes it")
        if revision(engine.self_hosted.source) and not uses(command, "revision"):
            yield _fault(
                f"{place} takes no revision, and spec.selfHosted.source names one: put {{revision}} where the program "
                "takes it, or take what follows @ out of the source"
            )


def claim_of(profile: Profile) -> Claim:
    """What one replica of the profile takes."""
    local = profile.local
    return Claim(
        memory_bytes=storage_bytes(local.memory) if local.memory else None,
        asleep_bytes=storage_bytes(local.asleep_memory) if local.asleep_memory else 0,
        group=local.group,
        can_sleep=local.sleep,
    )


def _notices(engine: EngineSpec) -> Iterator[str]:
    """What is for Kubernetes alone, and would be missed."""
    if engine.self_hosted.pod_template:
        yield "spec.selfHosted.podTemplate is for Kubernetes and is not looked at on one machine."
    command = engine.profile.local.command
    if not is_vllm(command) and uses(command, "api_key"):
        yield (
            f"profile {engine.self_hosted.profile!r}: local.command has {{api_key}} in it, and everybody on this "
            "machine can read commands: put it into a variable of the profile's env that the program reads."
        )
    if not is_vllm(command) and engine.self_hosted.args and ARGS not in command:
        yield (
            f"spec.selfHosted.args are not given to the command of profile {engine.self_hosted.profile!r}, which has "
            "no item {args}."
        )


def _fault(message: str) -> Fault:
    return Fault(FaultReason.ENGINE_REFUSED, f"{message}.")


def _hash(line: CommandLine) -> str:
    text = json.dumps([line.items, sorted(line.environment.items())])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
