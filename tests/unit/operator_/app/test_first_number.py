"""The first number of a route that another autoscaler scales."""

import asyncio

import pytest

from overspill_operator.app.first_number import first_number, write_first_number
from overspill_operator.ports import ClusterError
from unit.operator_.core.builders import Json, route
from unit.operator_.fakes import FakeCluster

ENGINE: Json = {"source": "hf://org/model", "profile": "cpu"}
EXTERNAL: Json = {"autoscaler": "External", "maxReplicas": 4}
SCALE = "/apis/overspill.dev/v1alpha1/namespaces/chat/modelroutes/tiny/scale"


def spec(**scaling: object) -> Json:
    """A spec whose replicas another autoscaler decides."""
    return {"selfHosted": ENGINE, "scaling": EXTERNAL | scaling}


@pytest.mark.parametrize(("desired", "written"), [(0, 1), (3, 3), (9, 4)])
def test_it_is_what_runs_within_bounds(desired: int, written: int) -> None:
    """At least one, since a HorizontalPodAutoscaler leaves alone what is at zero."""
    assert first_number(route(spec()), desired) == written


def test_only_where_another_autoscaler_is_to_scale_and_nobody_has_written() -> None:
    """A number that is there, 0 as well, is never written over; without External there is none."""
    assert first_number(route(spec(replicas=0)), 2) is None
    assert first_number(route(spec(autoscaler="Overspill")), 2) is None
    assert first_number(route({"selfHosted": ENGINE}), 2) is None
    hosted = {"name": "a", "baseURL": "https://a.example.com/v1", "model": "m"}
    assert first_number(route({"hosted": [hosted], "scaling": EXTERNAL}), 2) is None


def test_it_is_written_to_the_route_as_it_was_seen() -> None:
    """With its resourceVersion: who writes at the same moment wins, and then it is looked at again."""
    cluster = FakeCluster()
    assert asyncio.run(write_first_number(cluster, route(spec()), 0))
    assert cluster.calls == [("PATCH", SCALE)]
    assert cluster.objects[SCALE]["spec"] == {"replicas": 1}

    cluster.errors = [ClusterError(409, "Conflict", "changed")]
    assert not asyncio.run(write_first_number(cluster, route(spec()), 0))
    cluster.errors = [ClusterError(403, "Forbidden", "no")]
    with pytest.raises(ClusterError):
        asyncio.run(write_first_number(cluster, route(spec()), 0))
