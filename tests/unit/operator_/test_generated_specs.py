"""No spec that the types take makes a document that a gateway cannot load."""

import random

import pytest
from pydantic import ValidationError

from generated_specs import generated_specs
from overspill_api.compiled import CompiledRoute
from overspill_api.modelroute import ModelRouteSpec
from overspill_gateway.money.memory_ledger import MemoryLedger
from overspill_gateway.money.metering import Metering
from overspill_gateway.routes.catalog import Catalog
from overspill_gateway.sources.documents import read_document
from overspill_operator.core.compile import compile_route
from overspill_operator.core.credentials import read_api_key
from unit.operator_.core.builders import route
from unit.operator_.core.test_credentials import stored
from unit.tiers import exhaustively

COUNT = 1500


def some_key(generator: random.Random) -> bytes:
    """Bytes as a Secret may hold them."""
    alphabet = ["sk-1", "a", " ", "\n", "\r\n", "\t", "\0", "\u00e9", "\ufeff", "\u2011", "\x7f", '"', "\\"]
    return "".join(generator.choices(alphabet, k=generator.randint(0, 4))).encode()


@pytest.mark.parametrize("seed", [20, *exhaustively(21)])
async def test_whatever_the_types_take_a_gateway_loads(seed: int) -> None:
    """Compiled, written, read and built, with whatever keys are in its Secrets."""
    catalog = Catalog(b"pepper", lambda _route, _urgent: None, Metering(MemoryLedger("pod/boot", lambda _: None)))
    generator = random.Random(seed)
    taken = 0
    for spec in generated_specs(COUNT, seed):
        try:
            ModelRouteSpec.model_validate(spec)
        except ValidationError:
            continue
        taken += 1
        made = route(spec)
        assert made.spec is not None
        keys = {entry.name: read_api_key(stored(some_key(generator)), "k").text for entry in made.spec.hosted}
        document = compile_route(made.meta, made.spec, api_keys=keys, may_wake=True)
        read = read_document("route", document.model_dump_json(exclude_none=True).encode())
        assert isinstance(read, CompiledRoute)
        catalog.set_route(read)
        catalog.remove_route(read.key)
    assert COUNT / 4 < taken < COUNT * 3 / 4
