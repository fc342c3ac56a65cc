"""The API server and Python's types judge thousands of odd specs alike, and a gateway loads all that pass."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from cluster.api import Api, ApiError
from cluster.controlplane import ControlPlane
from generated_specs import Spec, generated_specs
from operator_rig import Rig, rig
from overspill_api.compiled import CompiledRoute
from overspill_api.modelroute import ModelRouteSpec
from overspill_gateway.money.memory_ledger import MemoryLedger
from overspill_gateway.money.metering import Metering
from overspill_gateway.routes.catalog import Catalog
from overspill_gateway.sources.documents import read_document
from overspill_operator.core.compile import compile_route
from overspill_operator.core.objects import read_route

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

COUNT = 2000
SERVERS = 4
"""Connections at once."""

ROUTES = "/apis/overspill.dev/v1alpha1/namespaces/default/modelroutes?dryRun=All&fieldValidation=Strict"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An API server that has the kinds."""
    folder: Path = tmp_path_factory.mktemp("generated")
    with rig(folder, controllers=False) as made:
        yield made


def refusals(plane: ControlPlane, specs: list[Spec]) -> list[str]:
    """What the API server says against each spec; empty: it takes it."""
    api = Api(plane.url, plane.folder / "pki")
    told = []
    for spec in specs:
        manifest = {
            "apiVersion": "overspill.dev/v1alpha1",
            "kind": "ModelRoute",
            "metadata": {"name": "a"},
            "spec": spec,
        }
        try:
            api.request("POST", ROUTES, manifest)
            told.append("")
        except ApiError as error:
            told.append(str(error))
    api.close()
    return told


def python_refusal(spec: Spec) -> str:
    """What Python's types say against a spec; empty: they take it."""
    try:
        ModelRouteSpec.model_validate(spec)
    except ValidationError as error:
        return str(error)
    return ""


async def test_both_judge_alike_and_a_gateway_loads_what_passes(world: Rig) -> None:
    """0 differ, 0 that a gateway cannot load."""
    specs = generated_specs(COUNT)
    parts = [specs[start::SERVERS] for start in range(SERVERS)]
    with ThreadPoolExecutor(SERVERS) as pool:
        said = list(pool.map(lambda part: refusals(world.plane, part), parts))
    catalog = Catalog(b"pepper", lambda _route, _urgent: None, Metering(MemoryLedger("pod/boot", lambda _: None)))
    taken = 0
    for part, refused in zip(parts, said, strict=True):
        for spec, refusal in zip(part, refused, strict=True):
            assert bool(refusal) == bool(python_refusal(spec)), (json.dumps(spec), refusal, python_refusal(spec))
            if refusal:
                continue
            taken += 1
            meta = {"name": "a", "namespace": "default", "uid": "u", "generation": 1}
            made = read_route({"metadata": meta, "spec": spec})
            assert made.spec is not None
            keys = dict.fromkeys((entry.name for entry in made.spec.hosted), "k")
            document = compile_route(made.meta, made.spec, api_keys=keys, may_wake=True)
            read = read_document("route", document.model_dump_json(exclude_none=True).encode())
            assert isinstance(read, CompiledRoute)
            catalog.set_route(read)
            catalog.remove_route(read.key)
    assert COUNT / 4 < taken < COUNT * 3 / 4
