"""The engine's pod: sources, arguments, confinement, and the escape hatch."""

from typing import Any

import pytest

from overspill_api.modelroute import SelfHosted
from overspill_api.profile import GPUs, Profile
from overspill_operator.core.engine_pod import pod_template
from overspill_operator.core.pod_merge import MergeError
from overspill_operator.core.reserved_options import reserved_arguments
from overspill_operator.core.sources import resolve

Json = dict[str, Any]


def template(profile: Profile | None = None, claim: str | None = None, **engine: Any) -> Json:
    """The template of an engine that is a model of the Hub unless said otherwise."""
    self_hosted = SelfHosted.model_validate({"source": "hf://org/model", "profile": "x", **engine})
    return pod_template(self_hosted, profile or Profile(image="i"), model="m", claim=claim, labels={"a": "b"})


def container(**engine: Any) -> Json:
    """Its container."""
    found: Json = template(**engine)["spec"]["containers"][0]
    return found


@pytest.mark.parametrize(
    ("source", "model", "args"),
    [
        ("hf://org/model", "org/model", ()),
        ("hf://org/model@v1.0", "org/model", ("--revision=v1.0",)),
        ("s3://bucket/a/b", "s3://bucket/a/b", ("--load-format=runai_streamer",)),
        ("pvc://weights/llama/8b/", "/model/llama/8b", ()),
        ("pvc://weights", "/model", ()),
        ("oci://registry.example/llama:1", "/model", ()),
        ("file:///models/tiny", "/models/tiny", ()),
    ],
)
def test_a_source_is_a_first_argument(source: str, model: str, args: tuple[str, ...]) -> None:
    """Each kind of source as vLLM wants it."""
    resolved = resolve(source)
    assert (resolved.model, resolved.args) == (model, args)
    assert container(source=source)["args"][0] == model


def test_sources_that_are_volumes_are_mounted_read_only() -> None:
    """A claim or an image with weights."""
    claim = template(source="pvc://weights/llama")["spec"]
    assert {"name": "model", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}} in claim["volumes"]
    assert {"name": "model", "mountPath": "/model", "readOnly": True} in claim["containers"][0]["volumeMounts"]
    image = template(source="oci://registry.example/llama:1")["spec"]
    assert {"name": "model", "image": {"reference": "registry.example/llama:1"}} in image["volumes"]


def test_gpus_are_the_profiles_unless_the_route_spans_others() -> None:
    """Request and limit are equal, and vLLM is told where there is more than one."""
    two = Profile(image="i", gpus=GPUs(resource="amd.com/gpu", count=2))
    found = template(two)["spec"]["containers"][0]
    assert found["resources"] == {"limits": {"amd.com/gpu": "2"}, "requests": {"amd.com/gpu": "2"}}
    assert "--tensor-parallel-size=2" in found["args"]
    wide = template(two, tensorParallelSize=4)["spec"]["containers"][0]
    assert wide["resources"]["limits"] == {"amd.com/gpu": "4"}
    assert "--tensor-parallel-size=4" in wide["args"]
    one = template(Profile(image="i", gpus=GPUs()))["spec"]["containers"][0]
    assert not [argument for argument in one["args"] if "tensor-parallel" in argument]


def test_the_routes_arguments_come_last_and_win() -> None:
    """vLLM takes the last of two equal options."""
    profile = Profile(image="i", args=["--max-model-len=1"])
    args = template(profile, args=["--max-model-len=2"])["spec"]["containers"][0]["args"]
    assert args[-2:] == ["--max-model-len=1", "--max-model-len=2"]


def test_only_vllm_itself_is_told_to_drain() -> None:
    """Another command may not know the option."""
    assert "--shutdown-timeout=60" in container()["args"]

    other = template(Profile(image="i", command=["python", "/engine.py"]))["spec"]["containers"][0]
    assert not [argument for argument in other["args"] if "shutdown" in argument or "host" in argument]


def test_vllm_listens_on_both_families_unless_the_profile_says_otherwise() -> None:
    """Its own default is IPv4, which nobody reaches in a cluster of IPv6; the last of two equal options counts."""
    assert "--host=::" in container()["args"]
    args = template(Profile(image="i", args=["--host=0.0.0.0"]))["spec"]["containers"][0]["args"]
    assert args.index("--host=0.0.0.0") > args.index("--host=::")


def test_there_is_time_to_finish() -> None:
    """Endpoints vanish, then what runs may end, then the process."""
    spec = template(Profile(image="i", drain_timeout="5m"))["spec"]
    sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > sleep + 300


def test_probes_fit_long_loads_and_busy_engines() -> None:
    """Loading may take the profile's time; a live engine is given two minutes to answer."""
    probes = template(Profile(image="i", startup_timeout="1h"))["spec"]["containers"][0]
    startup, liveness = probes["startupProbe"], probes["livenessProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 3600
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 120


def test_the_pod_is_confined() -> None:
    """The restricted pod security standard, and a read-only root."""
    spec = template()["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert "hostNetwork" not in spec


def test_a_cache_holds_downloads_and_compilations() -> None:
    """Both survive the replica."""
    spec = template(claim="c")["spec"]["containers"][0]
    env = {item["name"]: item["value"] for item in spec["env"]}
    assert (env["HF_HOME"], env["VLLM_CACHE_ROOT"]) == ("/cache/huggingface", "/cache/vllm")
    assert {"name": "cache", "mountPath": "/cache"} in spec["volumeMounts"]


def test_a_pod_template_is_merged_over_it() -> None:
    """Maps by field, containers and env by name, other lists whole, null removes."""
    patch = {
        "metadata": {"labels": {"team": "x"}},
        "spec": {
            "containers": [{"name": "engine", "args": ["only"], "livenessProbe": None}],
            "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
        },
    }
    found = template(podTemplate=patch)
    engine = found["spec"]["containers"][0]
    assert found["metadata"]["labels"] == {"a": "b", "team": "x"}
    assert engine["args"] == ["only"]
    assert "livenessProbe" not in engine
    assert engine["image"] == "i"
    assert found["spec"]["volumes"][0] == {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}
    assert len(found["spec"]["volumes"]) == 2


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"spec": []}, "spec.selfHosted.podTemplate.spec must be a map"),
        ({"spec": {"containers": {}}}, "podTemplate.spec.containers must be a list"),
        ({"spec": {"containers": [{"image": "i"}]}}, "containers must be a list of maps that each have name"),
        ({"spec": {"containers": [{"name": "engine", "image": {}}]}}, "image must be a single value"),
    ],
)
def test_a_template_of_another_form_is_named_by_its_place(patch: Json, message: str) -> None:
    """A person finds the place in the message."""
    with pytest.raises(MergeError) as error:
        template(podTemplate=patch)
    assert message in str(error.value)


def test_what_the_gateways_rely_on_is_reserved() -> None:
    """An engine on another port or under another name would never be found."""
    args = ["--port", "1", "--served-model-name=x", "--portable"]
    faults = reserved_arguments(SelfHosted.model_validate({"source": "hf://a/b", "profile": "x", "args": args}))
    assert [fault.message.split(" ")[0] for fault in faults] == ["spec.selfHosted.args[0]", "spec.selfHosted.args[2]"]
