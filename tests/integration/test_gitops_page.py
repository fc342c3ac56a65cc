"""The health expressions in CEL that docs/gitops.md gives to Flux, compiled and asked by a real API server."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.api import ApiError
from operator_rig import Json, Rig, rig, wait_for
from overspill_api.crd import modelroute_crd

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

PAGE = (Path(__file__).parents[2] / "docs" / "gitops.md").read_text()
(FLUX,) = (block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "healthCheckExprs" in block)
(EXPRESSIONS,) = yaml.safe_load(FLUX)["spec"]["healthCheckExprs"]
ASKED_IN_ORDER = ("inProgress", "failed", "current")
PROBES = "/apis/test.overspill.dev/v1alpha1/namespaces/default/modelroutes"


def asking_crd() -> Json:
    """A ModelRoute by another group that is refused with the names of the expressions that hold for it."""
    crd: Json = modelroute_crd()
    (version,) = crd["spec"]["versions"]
    crd["metadata"] = {"name": "modelroutes.test.overspill.dev"}
    crd["spec"]["group"] = "test.overspill.dev"
    crd["spec"]["names"].pop("shortNames")
    crd["spec"]["names"].pop("categories")
    del version["subresources"]  # so that a status can be written with the object
    version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = [
        {"rule": f"!({_of_self(EXPRESSIONS[name])})", "message": f"says-{name}"} for name in ASKED_IN_ORDER
    ]
    return crd


def _of_self(expression: str) -> str:
    """As a CRD's rule: of ``self``, which has no generation; that of a new object is 1."""
    return re.sub(r"\bstatus\.(?=observed|conditions)", "self.status.", expression.replace("metadata.generation", "1"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An API server that has it."""
    with rig(tmp_path_factory.mktemp("gitops"), crds=False, controllers=False) as made:
        made.api.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", asking_crd())
        wait_for("the kind is served", lambda: made.serves(PROBES))
        yield made


def health(world: Rig, status: Json) -> str:
    """The first expression that holds."""
    spec = {"selfHosted": {"source": "hf://a/b", "profile": "cpu"}}
    probe = {
        "apiVersion": "test.overspill.dev/v1alpha1", "kind": "ModelRoute", "metadata": {"name": "probe"},
        "spec": spec, "status": status,
    }  # fmt: skip
    try:
        world.api.request("POST", f"{PROBES}?dryRun=All", probe)
    except ApiError as error:
        said = str(error)
        return next(name for name in ASKED_IN_ORDER if f"says-{name}" in said)
    return "none"


def ready(status: str, reason: str) -> Json:
    """A status of the first generation in which Ready says so."""
    condition: dict[str, Any] = {
        "type": "Ready", "status": status, "reason": reason, "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return {"observedGeneration": 1, "conditions": [condition]}


@pytest.mark.parametrize(
    ("status", "health_is"),
    [
        (ready("True", "ReplicasReady"), "current"),
        (ready("True", "HostedStandsIn"), "current"),
        (ready("False", "ScaledToZero"), "current"),
        (ready("False", "Loading"), "inProgress"),
        (ready("False", "ProfileNotFound"), "failed"),
        (ready("False", "PodFailed"), "failed"),
        ({**ready("True", "ReplicasReady"), "observedGeneration": 0}, "inProgress"),
        ({}, "inProgress"),
    ],
    ids=["ready", "hosted", "held at zero", "loading", "a fault", "a pod fails", "another spec", "not looked at"],
)
def test_flux_sees_what_a_caller_would_find(world: Rig, status: Json, health_is: str) -> None:
    """The API server compiles each expression against the fields that there are."""
    assert health(world, status) == health_is
