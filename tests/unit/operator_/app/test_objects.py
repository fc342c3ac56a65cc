"""Routes that exist: what is news, who claims a name, what belongs to nobody."""

from typing import Any

from overspill_operator.app.objects import Routes
from unit.operator_.core.builders import raw_route

Json = dict[str, Any]
HOSTED = "hosted: [{name: x, baseURL: 'https://x.test', model: m}]"


def changed(raw: Json, **meta: Any) -> Json:
    """The same object later."""
    return {**raw, "metadata": {**raw["metadata"], **meta}}


def test_an_echo_of_what_was_written_is_no_news() -> None:
    """A status written here comes back by the watch."""
    heard: list[str] = []
    routes = Routes(heard.append)
    raw = raw_route(HOSTED)
    routes.put(raw)
    written = changed({**raw, "status": {"url": "u"}}, resourceVersion="2")
    routes.wrote(written)
    routes.put(written)
    assert heard == ["chat/tiny"]
    routes.put(changed({**raw, "status": {"url": "tampered"}}, resourceVersion="3"))
    assert heard == ["chat/tiny"] * 2
    routes.put(changed(raw, generation=2))
    assert heard == ["chat/tiny"] * 3


def test_rivals_for_a_name_are_told_when_one_comes_changes_or_goes() -> None:
    """Who keeps the name may have changed."""
    heard: list[str] = []
    routes = Routes(heard.append)
    elder = raw_route(f"{{model: shared, {HOSTED}}}", name="elder", created="2026-01-01T00:00:00Z")
    younger = raw_route(f"{{model: shared, {HOSTED}}}", name="younger", created="2026-02-01T00:00:00Z")
    routes.put(elder)
    routes.put(younger)
    assert heard == ["chat/elder", "chat/elder", "chat/younger"]
    found = routes.get("chat/younger")
    assert found is not None
    assert [keeper.key for keeper in routes.lost_names(found).values()] == ["chat/elder"]

    heard.clear()
    routes.remove("chat/elder", elder["metadata"]["uid"])
    assert set(heard) == {"chat/elder", "chat/younger"}
    assert routes.lost_names(found) == {}


def test_a_late_deletion_of_a_predecessor_changes_nothing() -> None:
    """An object made anew under the same name is another one."""
    routes = Routes(lambda _key: None)
    raw = raw_route(HOSTED)
    routes.put(changed(raw, uid="new"))
    routes.remove("chat/tiny", raw["metadata"]["uid"])
    assert routes.get("chat/tiny") is not None


def test_what_belongs_to_nobody() -> None:
    """A child of a route that is gone; not one that was let go, nor one whose owner is still leaving."""
    routes = Routes(lambda _key: None)
    raw = raw_route(HOSTED)
    uid = raw["metadata"]["uid"]
    child = {"metadata": {"ownerReferences": [{"kind": "ModelRoute", "uid": uid}]}}
    assert routes.is_orphan(child)
    routes.put(raw)
    assert not routes.is_orphan(child)
    routes.put(changed(raw, deletionTimestamp="2026-01-01T00:00:00Z"))
    assert routes.get("chat/tiny") is None
    assert not routes.is_orphan(child)
    routes.remove("chat/tiny", uid)
    assert routes.is_orphan(child)
    assert not routes.is_orphan({"metadata": {}})
    assert not routes.is_orphan(None)


def test_a_name_in_force_is_held_though_the_spec_no_longer_has_it() -> None:
    """A rename with a fault leaves the last good document, and the gateways serve the old name by it."""
    told: list[str] = []
    routes = Routes(told.append)
    hosted = "hosted: [{name: x, baseURL: 'https://x.test', model: m}]"
    routes.put(raw_route(f"{{model: gpt-a, {hosted}}}", name="ra", created="2026-01-01T00:00:00Z"))
    routes.note_in_force("chat/ra", frozenset({"gpt"}))
    routes.put(raw_route(f"{{model: gpt, {hosted}}}", name="rb", created="2026-02-01T00:00:00Z"))
    younger = routes.get("chat/rb")
    assert younger is not None
    assert {name: keeper.key for name, keeper in routes.lost_names(younger).items()} == {"gpt": "chat/ra"}

    told.clear()
    routes.note_in_force("chat/ra", frozenset({"gpt-a"}))
    assert told == ["chat/rb"]
    assert routes.lost_names(younger) == {}


def test_names_of_a_route_that_is_gone_are_free() -> None:
    """Whatever its document held."""
    routes = Routes(lambda _: None)
    hosted = "hosted: [{name: x, baseURL: 'https://x.test', model: m}]"
    raw = raw_route(f"{{model: gpt-a, {hosted}}}", name="ra", created="2026-01-01T00:00:00Z")
    routes.note_in_force("chat/ra", frozenset({"gpt"}))
    routes.put(raw)
    routes.put(raw_route(f"{{model: gpt, {hosted}}}", name="rb", created="2026-02-01T00:00:00Z"))
    younger = routes.get("chat/rb")
    assert younger is not None
    assert routes.lost_names(younger)
    routes.remove("chat/ra", raw["metadata"]["uid"])
    assert routes.lost_names(younger) == {}
