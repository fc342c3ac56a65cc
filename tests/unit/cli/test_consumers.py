"""Consumers as the commands change them."""

from typing import Any

import pytest

from overspill_api.consumer import ConsumerSpec
from overspill_cli import consumers
from overspill_cli.errors import CommandError

KEY = {"id": "abcdefghijkl", "hash": "0" * 64}
OTHER = {"id": "mnopqrstuvwx", "hash": "1" * 64}


def consumer(**spec: Any) -> dict[str, Any]:
    """A Consumer in namespace chat."""
    return {"metadata": {"name": "team", "namespace": "chat"}, "spec": spec}


def test_a_new_consumer_may_call_all_routes_of_its_namespace() -> None:
    """Without --route the API's default holds, and what is made is what the types take."""
    made = consumers.new_consumer("team", "chat", KEY, [])
    assert made["metadata"] == {"name": "team", "namespace": "chat"}
    assert "routes" not in made["spec"]
    assert ConsumerSpec.model_validate(made["spec"]).routes[0].name == "*"


def test_a_new_consumer_with_routes_may_call_only_these() -> None:
    """Each --route is a name in the consumer's namespace, or has its own."""
    made = consumers.new_consumer("team", "chat", KEY, ["llama", "shared/small"])
    assert made["spec"]["routes"] == [{"name": "llama"}, {"namespace": "shared", "name": "small"}]
    ConsumerSpec.model_validate(made["spec"])


def test_a_key_is_added_beside_the_others() -> None:
    """Keys that were given out stay valid; routes stay as they are."""
    assert consumers.with_key(consumer(keys=[KEY]), OTHER, []) == {"keys": [KEY, OTHER]}


def test_routes_are_added_only_where_they_are_not_covered() -> None:
    """A wildcard covers the routes of its namespace; nothing that was allowed is taken away."""
    present = consumer(keys=[], routes=[{"name": "*"}, {"namespace": "shared", "name": "small"}])
    change = consumers.with_key(present, KEY, ["llama", "shared/small", "shared/large"])
    assert change["routes"] == [
        {"name": "*"},
        {"namespace": "shared", "name": "small"},
        {"namespace": "shared", "name": "large"},
    ]
    assert "routes" not in consumers.with_key(present, KEY, ["chat/llama"])


def test_a_full_consumer_takes_no_more_keys() -> None:
    """The message says how many there may be and what to do."""
    full = consumer(keys=[KEY] * consumers.KEYS_MAX)
    with pytest.raises(CommandError, match="has 16 keys, the most there may be: revoke one"):
        consumers.with_key(full, OTHER, [])


def test_the_limit_is_the_apis() -> None:
    """What the command refuses is what the API server would."""
    (bound,) = [item for item in ConsumerSpec.model_fields["keys"].metadata if hasattr(item, "max_length")]
    assert bound.max_length == consumers.KEYS_MAX


def test_a_key_is_taken_away_by_its_id() -> None:
    """The others stay."""
    assert consumers.without_key(consumer(keys=[KEY, OTHER]), KEY["id"]) == {"keys": [OTHER]}


def test_an_unknown_key_is_told_with_those_that_are_there() -> None:
    """The message lists the ids to choose from."""
    with pytest.raises(CommandError, match="has no key nosuchkey; its keys: abcdefghijkl"):
        consumers.without_key(consumer(keys=[KEY]), "nosuchkey")


def test_the_table_has_a_line_for_each_key() -> None:
    """Consumers without keys are shown as well."""
    empty = {"metadata": {"name": "empty", "namespace": "chat"}, "spec": {"suspended": True}}
    assert consumers.as_table([consumer(keys=[KEY, OTHER], routes=[{"namespace": "a", "name": "b"}]), empty]) == [
        "NAMESPACE   CONSUMER   KEY            ROUTES   SUSPENDED",
        "chat        team       abcdefghijkl   a/b      no",
        "chat        team       mnopqrstuvwx   a/b      no",
        "chat        empty      -              *        yes",
    ]
