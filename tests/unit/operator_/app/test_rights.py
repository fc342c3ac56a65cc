"""A right to watch that is missing is told, once, with what mends it."""

import logging
from itertools import islice

import pytest

from overspill_operator.app.rights import Rights
from overspill_operator.core.rights import is_missing_right, unwatched
from overspill_operator.edge.kopf_app import _Backoffs
from overspill_operator.ports import ClusterError, Json
from unit.operator_.fakes import FakeCluster
from unit.operator_.virtual_clock import VirtualClock


class Reviews(FakeCluster):
    """An API server that says what an account may."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden: set[tuple[str, str]] = set()
        self.asked: list[Json] = []

    async def create(self, path: str, manifest: Json) -> Json:
        """See ``ports.Cluster``."""
        assert path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        if self.errors:
            raise self.errors.pop(0)
        wanted = manifest["spec"]["resourceAttributes"]
        self.asked.append(wanted)
        return {"status": {"allowed": (wanted["resource"], wanted.get("namespace", "")) not in self.forbidden}}


async def test_what_may_not_be_watched_is_told_until_it_may(caplog: pytest.LogCaptureFixture) -> None:
    """To whoever asks whether the process is ready each time, in the log once; an answer that fails changes nothing."""
    cluster, told = Reviews(), list[str]()
    rights = Rights(cluster, VirtualClock(), (), told.append)
    with caplog.at_level(logging.INFO):
        await rights.look()
        cluster.forbidden = {("modelroutes", "")}
        await rights.look()
        await rights.look()
        cluster.errors = [ClusterError(0, "Unreachable", "")]
        await rights.look()
        cluster.forbidden = set()
        await rights.look()
    assert told[0] == told[3] == ""
    assert told[1] == told[2]
    assert told[1].startswith("modelroutes can't be watched, so changes")
    assert is_missing_right(told[1])
    assert [record.getMessage() for record in caplog.records] == [told[1], "what is written is watched again"]


async def test_each_namespace_of_the_release_is_asked_about() -> None:
    """And no other one; without namespaces of its own, all at once."""
    cluster, told = Reviews(), list[str]()
    cluster.forbidden = {("consumers", "b")}
    await Rights(cluster, VirtualClock(), ("a", "b"), told.append).look()
    assert "consumers can't be watched in namespace b" in told[0]
    assert {(wanted["resource"], wanted["namespace"], wanted["verb"]) for wanted in cluster.asked} == {
        (resource, namespace, "watch") for resource in ("modelroutes", "consumers") for namespace in ("a", "b")
    }


def test_several_are_told_in_one_sentence() -> None:
    """By kind."""
    assert unwatched([]) == ""
    told = unwatched([("modelroutes", "a"), ("modelroutes", "b"), ("consumers", "b")])
    assert told.startswith(
        "modelroutes can't be watched in namespace a, b; consumers can't be watched in namespace b, so"
    )


def test_kopf_tries_for_ever_and_ever_more_seldom() -> None:
    """After the last of its own pauses a missing right ended the process, once a minute; from the start each time."""
    pauses = _Backoffs()
    for _ in range(2):
        assert list(islice(pauses, 8)) == [1, 2, 4, 8, 16, 30, 30, 30]
