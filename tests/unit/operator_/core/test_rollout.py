"""When an old replica goes before a new one comes: only where its room is what the new one lacks."""

from typing import Any

import pytest

from overspill_api.modelroute import Rollout, RolloutStrategy
from overspill_operator.core.manifests import REPLACE, SURGE
from overspill_operator.core.plan import plan_route
from overspill_operator.core.rollout import no_room_since, strategy
from unit.operator_.core.builders import objects, route, world

SINCE = "1970-01-01T00:01:40Z"
LACKS_GPU = (
    "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) didn't match Pod's node affinity/selector."
)
AUTO = Rollout()


def deployment(*, updated: int, replicas: int, surge: int = 1, observed: int = 2) -> dict[str, Any]:
    """A Deployment in the middle of a roll-out or after it."""
    rolling = {"maxSurge": surge, "maxUnavailable": 1 - surge}
    status = {"observedGeneration": observed, "replicas": replicas, "updatedReplicas": updated, "readyReplicas": 1}
    spec = {"replicas": 1, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}
    return {"metadata": {"generation": 2}, "spec": spec, "status": status}


def pod(template: str, gpus: str = "1", message: str = "", **more: Any) -> dict[str, Any]:
    """A pod of a template: on a node, or without one for the reason that is given."""
    containers = [{"name": "engine", "resources": {"limits": {"nvidia.com/gpu": gpus}}}]
    spec: dict[str, Any] = {"containers": containers, **more}
    status: dict[str, Any] = {"phase": "Running"}
    if message:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        status = {"phase": "Pending", "conditions": [{**condition, "lastTransitionTime": SINCE}]}
    else:
        spec["nodeName"] = "n"
    return {"metadata": {"name": template, "labels": {"pod-template-hash": template}}, "spec": spec, "status": status}


def test_by_default_a_roll_out_loses_nothing() -> None:
    """A new engine, one that is not rolling, and one whose new replica only loads."""
    assert strategy(AUTO, None, 0.0, 1e9) == SURGE
    assert strategy(AUTO, deployment(updated=1, replicas=1), 0.0, 1e9) == SURGE
    assert strategy(AUTO, deployment(updated=1, replicas=2), None, 1e9) == SURGE


def test_where_no_node_has_room_an_old_one_goes_first_after_a_while() -> None:
    """After surgeTimeout, and until the last replica is a new one."""
    rolling = deployment(updated=1, replicas=2)
    assert strategy(AUTO, rolling, 100.0, 129.0) == SURGE
    assert strategy(AUTO, rolling, 100.0, 130.0) == REPLACE
    assert strategy(Rollout(surge_timeout="10m"), rolling, 100.0, 699.0) == SURGE
    begun = deployment(updated=1, replicas=2, surge=0)
    assert strategy(AUTO, begun, None, 131.0) == REPLACE
    assert strategy(AUTO, deployment(updated=1, replicas=1, surge=0), None, 131.0) == SURGE


def test_what_a_person_chooses_holds() -> None:
    """Surge waits for ever, Replace never surges."""
    rolling = deployment(updated=1, replicas=2)
    assert strategy(Rollout(strategy=RolloutStrategy.SURGE), rolling, 0.0, 1e9) == SURGE
    assert strategy(Rollout(strategy=RolloutStrategy.REPLACE), None, None, 0.0) == REPLACE


def test_the_room_of_an_old_replica_is_what_a_new_one_lacks() -> None:
    """The scheduler says that something is taken, and the new one needs no more than the old one has."""
    assert no_room_since({}, [pod("old"), pod("new", message=LACKS_GPU)], "") == 100.0
    assert no_room_since({}, [pod("old", gpus="2"), pod("new", message=LACKS_GPU)], "") == 100.0


@pytest.mark.parametrize(
    "words",
    [
        "1 node(s) didn't have free ports for the requested pod ports",
        "1 node(s) didn't match pod anti-affinity rules",
        "1 node(s) had volume node affinity conflict",
        "1 Too many pods",
        "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
    ],
)
def test_room_is_more_than_devices(words: str) -> None:
    """Ports, places and volumes are taken as well."""
    assert no_room_since({}, [pod("old"), pod("new", message=words)], "") == 100.0


@pytest.mark.parametrize(
    "new",
    [
        pod("new", gpus="2", message=LACKS_GPU),
        pod("new", message=LACKS_GPU, nodeSelector={"no": "such"}),
        pod("new", message=LACKS_GPU, tolerations=[{"key": "other", "operator": "Exists"}]),
        pod("new", message="0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
        pod("new"),
    ],
)
def test_an_update_that_could_never_run_costs_no_replica(new: dict[str, Any]) -> None:
    """More than there is, another place, or no room that is taken: the old one serves on."""
    assert no_room_since({}, [pod("old"), new], "") is None


def test_a_first_replica_waits_for_room_and_takes_none() -> None:
    """Replicas of one template are no rivals, nor is one that leaves."""
    assert no_room_since({}, [pod("new"), pod("new", message=LACKS_GPU)], "") is None
    leaving = pod("old")
    leaving["metadata"]["deletionTimestamp"] = SINCE
    assert no_room_since({}, [leaving, pod("new", message=LACKS_GPU)], "") is None


def test_a_quota_that_is_used_up_is_a_lack_of_room() -> None:
    """There is no pod that could say so: the template is compared."""
    refused = 'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: 1, limited: 1'
    assert no_room_since({"spec": pod("new")["spec"]}, [pod("old")], refused) == 0.0
    assert no_room_since({"spec": pod("new", gpus="2")["spec"]}, [pod("old")], refused) is None
    assert no_room_since({"spec": pod("new")["spec"]}, [pod("old")], "denied by a policy") is None


def test_a_device_that_the_kubelet_finds_taken() -> None:
    """The scheduler thought otherwise."""
    new = pod("new")
    new["status"] = {"phase": "Failed", "reason": "UnexpectedAdmissionError"}
    assert no_room_since({}, [pod("old"), new], "") == 0.0


def test_what_is_known_of_one_template_says_nothing_of_the_next() -> None:
    """A template that changes in the middle of it begins with a surge again."""
    engine = "selfHosted: {source: hf://a/b, profile: cpu}"
    made = objects(plan_route(route(engine), world())).deployment
    assert made is not None
    live = {**deployment(updated=1, replicas=2), "metadata": {**made["metadata"], "generation": 2}}
    waiting = {"live_engine": live, "no_room_since_unix": 0.0, "now_unix": 1e9}
    same = objects(plan_route(route(engine), world(**waiting))).deployment
    other = "selfHosted: {source: hf://a/c, profile: cpu}"
    changed = objects(
        plan_route(route(other), world(live_engine=live, no_room_since_unix=0.0, now_unix=1e9))
    ).deployment
    assert same is not None
    assert changed is not None
    assert (same["spec"]["strategy"], changed["spec"]["strategy"]) == (REPLACE, SURGE)
