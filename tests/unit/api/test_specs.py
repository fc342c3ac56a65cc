"""The API types judge specs: every entry of the table that the API server is held to as well."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from overspill_api.consumer import ConsumerSpec
from overspill_api.modelroute import ModelRouteSpec
from spec_table import BAD_CONSUMERS, BAD_ROUTES, GOOD_CONSUMERS, GOOD_ROUTES, Bad, hybrid

ALL_BAD = [(ModelRouteSpec, bad) for bad in BAD_ROUTES] + [(ConsumerSpec, bad) for bad in BAD_CONSUMERS]


def path(location: tuple[int | str, ...]) -> str:
    """A location as the API server writes it."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@pytest.mark.parametrize(("model", "bad"), ALL_BAD, ids=[bad.name for _, bad in ALL_BAD])
def test_a_bad_spec_is_refused_where_the_mistake_is(model: type[BaseModel], bad: Bad) -> None:
    """One mistake gives one error, at the field to blame, with the words that mend it."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(bad.spec)

    errors = {path(error["loc"]): error["msg"] for error in caught.value.errors()}

    assert list(errors) == [bad.python_path or bad.path]
    if not bad.says.startswith(("greater", "less")):
        assert bad.says in next(iter(errors.values()))


@pytest.mark.parametrize("name", GOOD_ROUTES)
def test_a_good_route_passes(name: str) -> None:
    """What people may write is taken, and written back the same."""
    spec = ModelRouteSpec.model_validate(GOOD_ROUTES[name])
    dumped = spec.model_dump(by_alias=True, exclude_unset=True, mode="json")
    assert dumped == GOOD_ROUTES[name]


@pytest.mark.parametrize("name", GOOD_CONSUMERS)
def test_a_good_consumer_passes(name: str) -> None:
    """What people may write is taken."""
    ConsumerSpec.model_validate(GOOD_CONSUMERS[name])


def test_broken_rules_are_told_together() -> None:
    """All rules between fields that a spec breaks come in one answer."""
    spec: dict[str, Any] = {"overflow": {"onColdStart": "Hosted"}, "scaling": {"objective": "Cost"}}
    with pytest.raises(ValidationError) as caught:
        ModelRouteSpec.model_validate(spec)
    assert {path(error["loc"]) for error in caught.value.errors()} == {"", "overflow.onColdStart", "scaling.objective"}


@pytest.mark.parametrize("spec", [hybrid(modle="x"), hybrid(scaling={"min": 1})])
def test_unknown_fields_are_refused(spec: dict[str, Any]) -> None:
    """A misspelt field never passes unseen."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ModelRouteSpec.model_validate(spec)
