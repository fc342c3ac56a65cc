"""What a route's engine is on one machine: command line, environment, claim, and what can't be there."""

from dataclasses import replace
from typing import Any

import pytest

from overspill_api.profile import LocalRun, Profile
from overspill_box.core.command_line import VllmProgram, is_vllm
from overspill_box.core.local_engine import NO_ENGINE, Claim, LocalEngine, LocalEngineView, Machine
from overspill_operator.core.faults import FaultReason
from overspill_operator.core.kubernetes_engine import KubernetesEngineView
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.plan import RoutePlan, RouteWorld, plan_route
from unit.operator_.core.builders import route

GIB = 2**30
VLLM = VllmProgram(("/opt/vllm/bin/vllm", "serve"), {"VLLM_NO_USAGE_STATS": "1"})
MACHINE = Machine(VLLM, memory_bytes=24 * GIB)
SPEC = {"selfHosted": {"source": "hf://org/model", "profile": "here"}}
OF_VIEW = {"live", "has_replicas", "machine", "source_environment"}
LLAMA = ["llama-server", "-hf", "{model}", "--port", "{port}", "--alias={served_model}", "--host", "127.0.0.1"]


def of(spec: dict[str, Any] | None = None, **changes: Any) -> RouteObject:
    """A route with an engine of its own, with ``changes`` of selfHosted."""
    return route(spec or {"selfHosted": SPEC["selfHosted"] | changes})


def plan(a_route: RouteObject, profile: Profile | None = None, **seen: Any) -> RoutePlan[LocalEngine]:
    """Its plan on the machine; ``seen``: of the view, or of the world."""
    profile = profile or Profile()
    of_view: dict[str, Any] = {name: seen.pop(name) for name in OF_VIEW & seen.keys()}
    view = replace(LocalEngineView(MACHINE, profile), **of_view)
    world: RouteWorld[LocalEngine] = RouteWorld(
        **{
            "profiles": {"here": profile}, "replicas": 0, "may_wake": True, "lost_names": {}, "api_keys": {},
            "missing_credentials": {}, "source_secret_problem": "", "compiled_names": frozenset(), "engine": view,
            "engine_keys": ("secret-key",), **seen,
        }
    )  # fmt: skip
    return plan_route(a_route, world)


def made(a_route: RouteObject, profile: Profile | None = None, **seen: Any) -> LocalEngine:
    """The engine of a plan in which nothing is wrong."""
    planned = plan(a_route, profile, **seen)
    assert planned.faults == ()
    assert planned.engine is not None
    return planned.engine


def faults(a_route: RouteObject, profile: Profile | None = None, **seen: Any) -> list[str]:
    """What is wrong, each with a way out; the engine stays as it was."""
    planned = plan(a_route, profile, **seen)
    assert planned.engine == seen.get("live", NO_ENGINE)
    assert {fault.reason for fault in planned.faults} <= {FaultReason.ENGINE_REFUSED}
    assert not any(fault.blocks for fault in planned.faults)
    return [fault.message for fault in planned.faults]


def command(engine: LocalEngine) -> tuple[str, ...]:
    """Program and arguments at a port."""
    return engine.process("ns/a#0", 9001).command


def environment(engine: LocalEngine) -> dict[str, str]:
    """Variables at a port."""
    return dict(engine.process("ns/a#0", 9001).environment)


# -- vLLM --------------------------------------------------------------------------------------------------------------


def test_vllm_gets_the_arguments_that_it_has_on_kubernetes_and_the_loopback_address() -> None:
    """Those of profile and route last, so that they win."""
    profile = Profile(args=["--dtype=auto"], drain_timeout="20s")
    engine = made(of(args=["--max-model-len=8192"]), profile)
    assert command(engine) == (
        "/opt/vllm/bin/vllm", "serve", "org/model", "--served-model-name=tiny", "--port=9001", "--shutdown-timeout=20",
        "--host=127.0.0.1", "--dtype=auto", "--max-model-len=8192",
    )  # fmt: skip
    assert engine.is_vllm
    assert (engine.drain_seconds, engine.stop_seconds, engine.startup_timeout_seconds) == (20, 30, 1800)


def test_vllm_asks_for_the_key_and_gets_what_profile_secret_and_route_say() -> None:
    """In this order: the route wins, but not over the key."""
    profile = Profile(env={"A": "profile", "B": "profile", "C": "profile {port}", "VLLM_API_KEY": "no"})
    a_route = of(env=[{"name": "A", "value": "route"}], sourceSecretName="weights")
    engine = made(a_route, profile, source_environment={"A": "secret", "B": "secret", "HF_TOKEN": "hf"})
    assert environment(engine) == {
        "VLLM_NO_USAGE_STATS": "1", "A": "route", "B": "secret", "C": "profile {port}", "HF_TOKEN": "hf",
        "VLLM_API_KEY": "secret-key",
    }  # fmt: skip
    assert engine.api_key == "secret-key"
    assert "secret-key" not in repr(engine)


def test_without_a_key_nothing_is_asked_for() -> None:
    """There is none yet, or none is needed."""
    engine = made(of(), engine_keys=())
    assert "VLLM_API_KEY" not in environment(engine)
    assert engine.api_key is None


def test_vllm_of_a_path_of_its_own_is_vllm() -> None:
    """It needs no vLLM of the machine."""
    profile = Profile(local=LocalRun(command=["/srv/vllm/bin/vllm", "serve"]))
    engine = made(of(), profile, machine=Machine(None, "not there"))
    assert command(engine)[:3] == ("/srv/vllm/bin/vllm", "serve", "org/model")
    assert "VLLM_NO_USAGE_STATS" not in environment(engine)
    assert is_vllm(["env", "A=1", "vllm", "serve"])
    assert not is_vllm(["serve"])
    assert not is_vllm(["my-vllm", "serve"])


def test_a_sleeper_is_started_so_that_it_can_sleep() -> None:
    """With vLLM's option and the mode in which it answers."""
    local = LocalRun(sleep=True, memory="20Gi", asleep_memory="512Mi", group="g")
    engine = made(of(), Profile(local=local))
    assert command(engine)[-1] == "--enable-sleep-mode"
    assert environment(engine)["VLLM_SERVER_DEV_MODE"] == "1"
    assert engine.claim == Claim(20 * GIB, 512 * 2**20, "g", can_sleep=True)
    assert made(of()).claim == Claim()


def test_an_address_of_pods_does_not_let_the_network_in() -> None:
    """The profile's --host is for a cluster."""
    arguments = command(made(of(), Profile(args=["--host=0.0.0.0"])))
    assert [item for item in arguments if item.startswith("--host")][-1] == "--host=127.0.0.1"


def test_a_renamed_route_is_asked_by_the_name_that_its_replicas_know() -> None:
    """As long as there is one, asleep or not; what is started meanwhile knows both."""
    before = made(of())
    spec = SPEC | {"model": "renamed"}
    renamed = made(of(spec), live=before, has_replicas=True)
    assert renamed.served_model == "tiny"
    assert command(renamed)[3:6] == ("--served-model-name", "renamed", "tiny")
    assert renamed.made_from != before.made_from
    assert made(of(spec), live=before, has_replicas=False).served_model == "renamed"
    assert made(of(spec), live=before, replicas=1).served_model == "tiny"


def test_without_vllm_the_fault_says_how_to_get_it() -> None:
    """In the words of whoever has looked for it."""
    machine = Machine(None, "no vllm in PATH: run overspill serve --install-vllm")
    assert faults(of(), machine=machine) == [
        "vLLM is not on this machine: no vllm in PATH: run overspill serve --install-vllm."
    ]


# -- another program ---------------------------------------------------------------------------------------------------


def test_another_program_is_called_as_its_profile_says() -> None:
    """Placeholders are replaced inside items; no options of vLLM, no key that it would not ask for."""
    engine = made(of(args=["--max-model-len=1"]), Profile(local=LocalRun(command=LLAMA), args=["--dtype=auto"]))
    assert command(engine) == (
        "llama-server", "-hf", "org/model", "--port", "9001", "--alias=tiny", "--host", "127.0.0.1"
    )  # fmt: skip
    assert environment(engine) == {}
    assert (engine.api_key, engine.is_vllm) == (None, False)
    assert engine.notices == (
        "spec.selfHosted.args are not given to the command of profile 'here', which has no item {args}.",
    )


def test_arguments_go_where_the_item_args_stands() -> None:
    """Those of profile and route, each as one item."""
    profile = Profile(local=LocalRun(command=["engine", "{args}", "--port={port}"]), args=["--a=1"])
    engine = made(of(args=["--b=two words"]), profile)
    assert command(engine) == ("engine", "--a=1", "--b=two words", "--port=9001")
    assert engine.notices == ()


@pytest.mark.parametrize(
    ("items", "variables"),
    [(["--key={api_key}"], {}), ([], {"LLAMA_API_KEY": "{api_key}"})],
)
def test_another_program_asks_for_a_key_where_it_takes_one(items: list[str], variables: dict[str, str]) -> None:
    """In its command or in a variable of its profile."""
    profile = Profile(local=LocalRun(command=[*LLAMA, *items]), env=variables)
    engine = made(of(), profile)
    assert engine.api_key == "secret-key"
    assert "secret-key" in (*command(engine)[-1].split("="), *environment(engine).values())


def test_text_in_double_braces_is_text_in_braces() -> None:
    """So that a program can have {port} itself; other braces are left alone."""
    texts = ["{{port}}:{port}", '{"a": {"b": 1}}', "{Port}", "{ port }"]
    profile = Profile(local=LocalRun(command=["engine", *texts]), env={"P": "{port} {{port}} {unknown}"})
    engine = made(of(), profile)
    assert command(engine) == ("engine", "{port}:9001", '{"a": {"b": 1}}', "{Port}", "{ port }")
    assert environment(engine) == {"P": "9001 {port} {unknown}"}


def test_variables_of_the_route_are_taken_as_they_are() -> None:
    """Placeholders are the profile's."""
    profile = Profile(local=LocalRun(command=LLAMA), env={"P": "{port}"})
    assert environment(made(of(env=[{"name": "P", "value": "{port}"}]), profile)) == {"P": "{port}"}


def test_a_revision_is_taken_or_refused() -> None:
    """Other weights than those that the route names are never loaded."""
    source = "hf://org/model@Q4_K_M"
    profile = Profile(local=LocalRun(command=["engine", "-hf", "{model}:{revision}", "{port}"]))
    assert command(made(of(source=source), profile))[2] == "org/model:Q4_K_M"
    assert faults(of(source=source), Profile(local=LocalRun(command=LLAMA))) == [
        (
            "profile 'here': local.command takes no revision, and spec.selfHosted.source names one: put {revision} "
            "where the program takes it, or take what follows @ out of the source."
        )
    ]
    assert command(made(of(source=source)))[2:4] == ("org/model", "--served-model-name=tiny")
    assert "--revision=Q4_K_M" in command(made(of(source=source)))


def test_a_placeholder_that_is_none_is_a_fault() -> None:
    """With its place and those that there are; one without a port as well."""
    (message,) = faults(of(), Profile(local=LocalRun(command=["engine", "{port}", "--alias={name}"])))
    assert message.startswith(
        "profile 'here': local.command[2]: {name} is no placeholder; there are {model}, {revision}"
    )
    assert message.endswith("write {{name}} for the text {name}.")
    assert faults(of(), Profile(local=LocalRun(command=["engine", "--port=80"]))) == [
        "profile 'here': local.command does not say on which port to serve: put {port} where the program takes it."
    ]
    assert command(made(of(), Profile(local=LocalRun(command=["engine"]), env={"PORT": "{port}"}))) == ("engine",)


# -- what can't be there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["pvc://claim/path", "oci://registry/model:1"])
def test_volumes_of_kubernetes_are_faults_that_say_what_to_write(source: str) -> None:
    """An engine that runs stays as it is, and hosted APIs go on."""
    before = made(of())
    assert faults(of(source=source), live=before) == [
        (
            f"spec.selfHosted.source: '{source}' is a volume of Kubernetes; on one machine write file:///path of the "
            "weights, or hf://org/model."
        )
    ]
    planned = plan(of(source=source), live=before)
    assert planned.document is not None


def test_weights_of_a_folder_are_served_from_it() -> None:
    """file:// is a path of this machine."""
    assert command(made(of(source="file:///srv/weights/x")))[2] == "/srv/weights/x"


def test_a_claim_above_what_the_machine_has_is_a_fault() -> None:
    """Where it is known what it has."""
    profile = Profile(local=LocalRun(memory="25Gi"))
    assert faults(of(), profile) == [
        (
            "profile 'here': local.memory 25Gi is more than the 24.0Gi that this machine has for engines: choose a "
            "smaller model or write less."
        )
    ]
    made(of(), profile, machine=Machine(VLLM))
    made(of(), Profile(local=LocalRun(memory="24Gi")))


def test_a_key_in_the_command_is_told() -> None:
    """Everybody on the machine reads commands, and with the key asks the engine past keys and budgets."""
    [notice] = made(of(), Profile(local=LocalRun(command=[*LLAMA, "--api-key={api_key}"]))).notices
    assert "everybody on this machine can read commands" in notice
    assert made(of(), Profile(local=LocalRun(command=LLAMA), env={"LLAMA_API_KEY": "{api_key}"})).notices == ()


def test_the_pod_template_is_for_kubernetes_and_a_notice_says_so() -> None:
    """The same YAML serves on both."""
    engine = made(of(podTemplate={"spec": {"nodeName": "a"}}))
    assert engine.notices == ("spec.selfHosted.podTemplate is for Kubernetes and is not looked at on one machine.",)


def test_an_engine_is_another_one_when_what_it_is_started_as_changes() -> None:
    """Arguments, variables, keys; not how many there are, what they claim, and not the port."""
    first = made(of())
    assert made(of(), replicas=2).made_from == first.made_from
    assert made(of(), Profile(local=LocalRun(memory="2Gi"))).made_from == first.made_from
    assert made(of(), engine_keys=("another",)).made_from != first.made_from
    assert made(of(args=["--dtype=auto"])).made_from != first.made_from
    assert first.process("ns/a#0", 1).made_from == first.process("ns/a#1", 2).made_from == first.made_from


def test_a_route_without_an_engine_has_none_any_more() -> None:
    """And one whose engine can't be made now keeps what it has."""
    hosted = {"hosted": [{"name": "x", "baseURL": "https://example.test/v1", "model": "m",
                          "price": {"input": "1", "output": "1"}}]}  # fmt: skip
    before = made(of())
    assert plan(of(hosted), live=before, api_keys={"x": None}).engine == NO_ENGINE
    assert not NO_ENGINE.exists
    with pytest.raises(ValueError, match="no engine"):
        NO_ENGINE.process("ns/a#0", 1)
    kept = plan(of(args=["--dtype=auto"]), live=before, engine_key_problem="no key")
    assert kept.engine == before


def test_one_that_does_not_exist_yet_is_not_looked_for() -> None:
    """Its name is the route's, and nothing waits for room in its place."""
    view = LocalEngineView(MACHINE)
    assert not view.exists
    assert view.asks_for_key
    assert view.served_model("tiny", 0) == "tiny"
    spec = of().spec
    assert spec is not None
    assert spec.self_hosted is not None
    assert view.patience_seconds(spec.self_hosted) == 0.0


def test_on_kubernetes_a_profile_without_an_image_is_a_fault() -> None:
    """The chart's schema asks for it; a ConfigMap of one's own may lack it."""
    world: RouteWorld[Any] = RouteWorld(
        profiles={"here": Profile()}, replicas=0, may_wake=True, lost_names={}, api_keys={}, missing_credentials={},
        source_secret_problem="", engine=KubernetesEngineView(), compiled_names=frozenset(),
    )  # fmt: skip
    planned = plan_route(of(), world)
    assert [fault.reason for fault in planned.faults] == [FaultReason.PROFILE_NOT_FOUND]
    assert planned.faults[0].message == (
        "spec.selfHosted.profile: profile 'here' has no image, which a pod needs; add it to the chart's values."
    )
