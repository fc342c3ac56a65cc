"""Options and variables by which the gateways would lose an engine are refused in every spelling; others pass."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_operator.core import vllm_options
from overspill_operator.core.engine_options import RESERVED_OPTIONS, misused_arguments, misused_template
from overspill_operator.core.faults import FaultReason
from overspill_operator.core.plan import plan_route
from unit.operator_.core.builders import PROFILES, route, world

LONG = sorted(name for name in RESERVED_OPTIONS if name.startswith("--"))


def indexes(*arguments: str) -> list[int]:
    """Places of what is refused."""
    return [misuse.index for misuse in misused_arguments(arguments)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--served_model_name=zz"],
        ["--served-model_name", "zz"],
        ["--served", "zz"],
        ["--host=127.0.0.1"],
        ["--ho", "::1"],
        ["--api-key=x"],
        ["--api-k=x"],
        ["--api_key", "x", "y"],
        ["--ssl-keyfile=/k"],
        ["--ssl_certf", "/c"],
        ["--root-path=/x"],
        ["--model=c/d"],
        ["--mode", "c/d"],
        ["--config=/c.yaml"],
        ["--conf", "/c.yaml"],
        ["--headless"],
        ["--head"],
        ["--uds=/tmp/s"],
        ["--grpc"],
        ["--port.x=1"],
        ["--por=1"],
        ["--help"],
        ["--help=all"],
        ["-h"],
        ["-n", "2"],
        ["-n2"],
        ["-r=1"],
        ["-dpm"],
        ["--data-parallel-rank=1"],
        ["--data_parallel_hybrid_lb"],
        ["--tokens-only"],
        ["--api-server-count=0"],
        ["-asc", "0"],
        ["--api_server_c=-1"],
        ["other/model"],
        ["--port 9000"],
        ["--"],
    ],
    ids=" ".join,
)
def test_what_takes_the_engine_from_its_gateways_is_refused(arguments: list[str]) -> None:
    """At its place, and once."""
    assert indexes(*arguments) == [0]
    assert indexes("--max-model-len=8192", *arguments) == [1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-model-len", "8192"],
        ["--max_model_len=8192"],
        ["--allowed-origins", '["*"]'],
        ["--seed", "-1"],
        ["--enable-auto-tool-choice", "--tool-call-parser=hermes"],
        ["-tp", "2", "-q", "awq", "-O3"],
        ["-dp", "2", "--api-server-count", "4"],
        ["--lora-modules", "a=/a", "b=/b"],
        ["--chat-template={{ a }} -- b"],
        ['--speculative-config={"model": "x/y"}'],
        ["--speculative-config.model", "x/y"],
        ["--model-impl=vllm"],
        ["--config-format=hf"],
        ["--hf-token"],
        ["--an-option-of-tomorrow", "a", "b"],
    ],
    ids=" ".join,
)
def test_other_arguments_pass(arguments: list[str]) -> None:
    """What they do is a person's to choose."""
    assert indexes(*arguments) == []


@given(st.sampled_from(LONG), st.data())
def test_no_beginning_of_a_reserved_name_passes(name: str, data: st.DataObject) -> None:
    """However much of it is written, with whichever dashes; unless it is another option's whole name."""
    length = data.draw(st.integers(3, len(name)))
    dashes = data.draw(st.lists(st.sampled_from("-_"), min_size=length, max_size=length))
    written = "--" + "".join(
        dash if letter == "-" else letter for letter, dash in zip(name[2:length], dashes, strict=False)
    )
    whole = vllm_options.WITHOUT_VALUE | vllm_options.WITH_ONE_VALUE | vllm_options.WITH_SEVERAL
    if written.replace("_", "-") in whole - RESERVED_OPTIONS.keys():
        return
    assert [misuse.index for misuse in misused_arguments([f"{written}=1"])] == [0]


def test_reserved_names_are_names_of_the_version_that_was_read() -> None:
    """A name that vLLM does not have would guard nothing."""
    known = vllm_options.WITHOUT_VALUE | vllm_options.WITH_ONE_VALUE | vllm_options.WITH_SEVERAL
    assert known >= RESERVED_OPTIONS.keys()


def faults(**self_hosted: Any) -> list[tuple[FaultReason, str]]:
    """What the plan says of an engine."""
    spec = {"selfHosted": {"source": "hf://a/b", "profile": "cpu", **self_hosted}}
    return [(fault.reason, fault.message) for fault in plan_route(route(spec), world()).faults]


@pytest.mark.parametrize("name", ["VLLM_API_KEY", "VLLM_PORT", "VLLM_HOST_IP", "VLLM_DP_RANK"])
def test_variables_that_do_the_same_are_refused(name: str) -> None:
    """In env and in the pod template."""
    for more in (
        {"env": [{"name": "A", "value": "b"}, {"name": name, "value": "1"}]},
        {"podTemplate": {"spec": {"containers": [{"name": "engine", "env": [{"name": name, "value": "1"}]}]}}},
    ):
        [(reason, message)] = faults(**more)
        assert reason is FaultReason.RESERVED_ARGUMENT
        assert name in message
        assert "remove it" in message


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"args": ["x/y", "--port=1"]}, "args replaces all arguments"),
        ({"args": []}, "args replaces all arguments"),
        ({"args": None}, "args replaces all arguments"),
        ({"command": ["vllm", "serve", "--api_key=x"]}, "sets --api-key (written '--api_key')"),
        ({"command": ["sh", "-c", "exec vllm serve --headless"]}, "sets --headless"),
    ],
)
def test_a_pod_template_does_not_get_round_it(engine: dict[str, Any], says: str) -> None:
    """Told at the place in the template, with what mends it."""
    [(reason, message)] = faults(podTemplate={"spec": {"containers": [{"name": "engine", **engine}]}})
    assert reason is FaultReason.RESERVED_ARGUMENT
    assert message.startswith("spec.selfHosted.podTemplate.spec.containers[name=engine].")
    assert says in message


def test_a_pod_template_may_do_the_rest() -> None:
    """Variables of its own, an address from the pod's status, a command in front of vLLM, other containers."""
    address = {"name": "VLLM_HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    engine = {"name": "engine", "env": [{"name": "A", "value": "b"}, address], "command": ["numactl", "vllm", "serve"]}
    sidecar = {"name": "sidecar", "image": "x", "args": ["--port=1"], "env": [{"name": "VLLM_API_KEY", "value": "x"}]}
    assert faults(podTemplate={"spec": {"containers": [engine, sidecar]}}) == []


def test_a_variable_of_ours_is_not_replaced() -> None:
    """One that the engine gets from Overspill stays as it is."""
    made = {"env": [{"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]}
    assert list(misused_template(made, made)) == []
    assert list(misused_template(made, {"env": [{"name": "VLLM_API_KEY", "value": "x"}]}))


def test_another_command_than_vllms_has_arguments_of_its_own() -> None:
    """Its options are judged, its other arguments are not."""
    profiles = {"cpu": PROFILES["cpu"].model_copy(update={"command": ["my-engine"]})}
    spec = {"selfHosted": {"source": "hf://a/b", "profile": "cpu", "args": ["start", "--port", "1"]}}
    [fault] = plan_route(route(spec), world(profiles=profiles)).faults
    assert "args[1] sets --port" in fault.message
