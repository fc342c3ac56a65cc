"""Objects out of files: who they are stays, and each change of a spec is another generation."""

from typing import Any

import pytest

from overspill_box.app.objects import Objects
from overspill_box.core.written_files import WrittenObject
from overspill_operator.core.objects import read_metadata
from unit.operator_.virtual_clock import VirtualClock


class Told:
    """Who is told of routes."""

    def __init__(self, kept: Any = None) -> None:
        self.put: list[Any] = []
        self.removed: list[str] = []
        self.objects = Objects(
            VirtualClock(),
            kept or {},
            put={"ModelRoute": self.put.append},
            remove={"ModelRoute": lambda key, _uid: self.removed.append(key)},
        )


def route(spec: Any = None, name: str = "a") -> WrittenObject:
    """A route as it is written."""
    return WrittenObject("ModelRoute", "default", name, spec or {"model": "m"})


def test_only_what_has_changed_is_told() -> None:
    """With its generation raised."""
    told = Told()
    told.objects.take([route(), route(name="b")])
    told.objects.take([route(), route(name="b")])
    told.objects.take([route({"model": "n"}), route(name="b")])

    assert [(raw["metadata"]["name"], raw["metadata"]["generation"]) for raw in told.put] == [
        ("a", 1),
        ("b", 1),
        ("a", 2),
    ]


def test_the_next_process_knows_who_they_are() -> None:
    """Identity, generation and age: what budgets and names hang on."""
    told = Told()
    told.objects.take([route()])
    told.objects.take([route({"model": "n"})])
    after = Told(told.objects.kept)

    after.objects.take([route({"model": "n"})])
    assert after.put[-1] == told.put[-1]
    after.objects.take([route({"model": "o"})])
    assert after.put[-1]["metadata"]["generation"] == 3


def test_what_was_kept_and_is_nonsense_is_nothing() -> None:
    """Somebody has written into the file."""
    told = Told({"ModelRoute default/a": 5, "x": {}})
    told.objects.take([route()])

    assert told.put[0]["metadata"]["generation"] == 1


def test_one_that_is_gone_is_told() -> None:
    """With it goes its status."""
    told = Told()
    told.objects.take([route()])
    told.objects.take([])

    assert told.removed == ["default/a"]


async def test_a_status_is_kept_and_told() -> None:
    """Of an object that is not there any more there is none."""
    told = Told()
    told.objects.take([route()])
    seen: list[Any] = []
    told.objects.on_status = lambda _kind, raw: seen.append(raw["status"])
    meta = read_metadata(told.put[0])

    written = await told.objects.report("ModelRoute", meta, {"model": "m", "url": None})

    assert written == {"model": "m"}
    assert seen == [{"model": "m"}]
    told.objects.take([])
    assert await told.objects.report("ModelRoute", meta, {"model": "m"}) is None


@pytest.mark.parametrize("name", ["a", "b"])
def test_identity_is_the_name_alone(name: str) -> None:
    """Wherever the file lies."""
    first, second = Told(), Told()
    first.objects.take([route(name=name)])
    second.objects.take([route({"model": "other"}, name)])

    assert first.put[0]["metadata"]["uid"] == second.put[0]["metadata"]["uid"]
