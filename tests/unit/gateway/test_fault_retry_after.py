"""A backend that says when to come back is left out until then, however it says it."""

import re
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from unit.gateway.backends import Script, backend
from unit.gateway.fault_scripts import good, status
from unit.gateway.faults import DIALECTS, Dialect
from unit.gateway.harness import GatewayUnderTest, eventually


def refusal(text: str) -> Script:
    """A 429 with this header field, its moments filled in."""
    name, _, value = text.partition(": ")
    return status(429, **{name.replace("-", "_"): re.sub(r"\{(\w+)\+(\d+)\}", moment, value)})


def moment(found: re.Match[str]) -> str:
    """A moment some seconds ahead, in the form that is named."""
    at = time.time() + int(found[2])
    date = datetime.fromtimestamp(at, UTC)
    forms = {"date": format_datetime(date, usegmt=True), "unix": str(int(at)), "rfc3339": f"{date:%Y-%m-%dT%H:%M:%SZ}"}
    return forms[found[1]]


def hosted_route(gateway: GatewayUnderTest, *hosted: dict[str, object]) -> None:
    """A route of hosted APIs alone."""
    gateway.route(local=None, hosted=list(hosted), overflow={"on_cold_start": "Hosted"})


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.text)
async def test_a_429_leaves_its_backend_out_for_as_long_as_it_says(gateway: GatewayUnderTest, dialect: Dialect) -> None:
    """The request goes elsewhere at once, the next one does not try it, and it returns when it said."""
    async with backend(refusal(dialect.text)) as limited, backend(good) as other:
        hosted_route(gateway, limited.hosted("limited"), other.hosted("other"))
        seen = [(await gateway.post()).served_by for _ in range(3)]
        route = gateway.gateway.catalog.routes["ns/tiny"]
        left = route.pool.hosted[0].outlier.returns_at - time.monotonic()

    assert seen == ["hosted/other"] * 3
    assert len(limited.requests) == 1
    # Dates and moments come in whole seconds.
    assert dialect.seconds - 2 < left <= dialect.seconds


async def test_after_that_it_is_asked_again(gateway: GatewayUnderTest) -> None:
    """Not one request longer than it asked for."""
    async with backend(refusal("retry-after-ms: 150")) as limited, backend(good) as other:
        hosted_route(gateway, limited.hosted("limited"), other.hosted("other"))
        assert (await gateway.post()).served_by == "hosted/other"
        limited.script = good
        outlier = gateway.gateway.catalog.routes["ns/tiny"].pool.hosted[0].outlier
        await eventually(lambda: not outlier.ejected(time.monotonic()))

        assert (await gateway.post()).served_by == "hosted/limited"


async def test_the_only_backend_is_asked_whatever_it_said(gateway: GatewayUnderTest) -> None:
    """With nobody else the client gets the 429 and its Retry-After; a later request is not refused unasked."""
    async with backend(refusal("retry-after: 7")) as limited:
        hosted_route(gateway, limited.hosted("limited"))
        first = await gateway.post()
        limited.script = good
        second = await gateway.post()

    assert (first.status, first.headers["retry-after"]) == (429, "7")
    assert second.status == 200
