"""From what the operator has made back to the route that it was made for."""

import pytest

from overspill_api.names import engine_name
from overspill_operator.core.manifests import cache_claim_name
from overspill_operator.parts import route_of_child


@pytest.mark.parametrize("route", ["llama", "x-cache", "x-engine", "x-cache-engine"])
def test_a_child_that_is_gone_leads_to_its_route(route: str) -> None:
    """Whatever the route is called, its engine's and its cache's names lead back to it."""
    assert route_of_child(f"chat/{engine_name(route)}", None) == f"chat/{route}"
    assert route_of_child(f"chat/{cache_claim_name(route)}", None) == f"chat/{route}"


def test_the_label_of_a_child_wins_over_its_name() -> None:
    """While a child is there, its label says whose it is."""
    live = {"metadata": {"labels": {"overspill.dev/route": "llama"}}}

    assert route_of_child("chat/anything", live) == "chat/llama"
