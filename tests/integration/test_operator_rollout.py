"""Roll-outs on nodes that kwok plays, with Kubernetes' own controllers and scheduler."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.api import ApiError
from operator_rig import Json, Rig, deployment_path, rig, route_path, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ENGINE: Json = {"source": "hf://org/model", "profile": "gpu", "rollout": {"surgeTimeout": "1s"}}
ONE: Json = {"minReplicas": 1}
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One node with two GPUs."""
    folder: Path = tmp_path_factory.mktemp("operator")
    with rig(folder, kwok_nodes=1, gpus_per_node=2, scheduler=True) as made, made.operator():
        yield made


def pods(world: Rig, name: str) -> list[Json]:
    """A route's pods that are not on their way out."""
    found = world.live(f"{PODS}?labelSelector=overspill.dev%2Froute%3D{name}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def arguments(world: Rig, name: str) -> set[str]:
    """The arguments of all of a route's pods."""
    return {argument for pod in pods(world, name) for argument in pod["spec"]["containers"][0]["args"]}


def gone(world: Rig, name: str) -> None:
    """The route and its pods are gone: their GPUs are free."""
    world.delete(route_path(name))
    wait_for("no engine", lambda: world.get(deployment_path(name)) is None)
    wait_for("no pods", lambda: not world.live(f"{PODS}?labelSelector=overspill.dev%2Froute%3D{name}")["items"])


def describe(world: Rig, name: str) -> str:
    """What a person sees."""
    command: list[str | Path] = [
        world.plane.kubectl,
        "--kubeconfig",
        world.plane.kubeconfig,
        "describe",
        "modelroute",
        name,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_where_there_is_room_the_new_one_comes_first(world: Rig) -> None:
    """RolledOut follows; an old replica is there until a new one is ready."""
    world.route("roomy", {"selfHosted": ENGINE, "scaling": ONE})
    world.wait_condition("roomy", "RolledOut", "True", "ReplicasCurrent")
    world.route("roomy", {"selfHosted": {**ENGINE, "args": ["--max-model-len=2000"]}, "scaling": ONE})
    world.wait_condition("roomy", "RolledOut", "True", "ReplicasCurrent")
    assert "--max-model-len=2000" in arguments(world, "roomy")
    assert not [event for event in world.events("roomy") if event["reason"] == "ReplacingReplicas"]
    gone(world, "roomy")


def test_where_no_node_has_room_one_goes_before_the_other_comes(world: Rig) -> None:
    """Both GPUs are in use: the new replica is told of, then an old one goes, and the roll-out ends."""
    full = {**ENGINE, "tensorParallelSize": 2}
    world.route("full", {"selfHosted": full, "scaling": ONE})
    world.wait_condition("full", "RolledOut", "True", "ReplicasCurrent")
    world.route("full", {"selfHosted": {**full, "args": ["--max-model-len=2000"]}, "scaling": ONE})
    wait_for("it is not rolled out", lambda: world.condition("full", "RolledOut").get("status") == "False")
    world.wait_condition("full", "RolledOut", "True", "ReplicasCurrent")
    assert "--max-model-len=2000" in arguments(world, "full")
    assert any(event["reason"] == "ReplacingReplicas" for event in world.events("full"))
    strategy = wait_for(
        "the next roll-out begins with a new one again",
        lambda: world.live(deployment_path("full"))["spec"]["strategy"]["rollingUpdate"],
    )
    assert strategy is not None
    wait_for(
        "a surge again",
        lambda: world.live(deployment_path("full"))["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 1,
    )
    gone(world, "full")


def test_an_update_that_could_never_run_costs_no_replica(world: Rig) -> None:
    """No node has so many GPUs: the old replica serves on, and the condition has the scheduler's words."""
    world.route("greedy", {"selfHosted": ENGINE, "scaling": ONE})
    world.wait_condition("greedy", "RolledOut", "True", "ReplicasCurrent")
    world.route("greedy", {"selfHosted": {**ENGINE, "tensorParallelSize": 64}, "scaling": ONE})
    condition = world.wait_condition("greedy", "RolledOut", "False", "Unschedulable")
    assert "Insufficient nvidia.com/gpu" in condition["message"]
    world.wait_condition("greedy", "EngineAvailable", "True", "ReplicasReady")
    wait_for("an event", lambda: [e for e in world.events("greedy") if e["reason"] == "Unschedulable"])
    described = describe(world, "greedy")
    assert "RolledOut" in described
    assert "Insufficient nvidia.com/gpu" in described
    since = time.monotonic()
    wait_for("longer than it may wait for room", lambda: time.monotonic() - since > 3)
    assert any(_is_ready(pod) for pod in pods(world, "greedy"))
    gone(world, "greedy")


def test_scaling_is_no_roll_out(world: Rig) -> None:
    """A replica more has the template that the others have: RolledOut stays as it is."""
    world.route("scaled", {"selfHosted": ENGINE, "scaling": {"minReplicas": 1, "maxReplicas": 2}})
    said = world.wait_condition("scaled", "RolledOut", "True", "ReplicasCurrent")
    world.gateway.say("default/scaled", held=64, wants_replica=True, last_arrival_unix_seconds=time.time())

    def both_ready() -> bool:
        condition = world.condition("scaled", "RolledOut")
        assert condition["status"] == "True", condition
        return bool(world.live(route_path("scaled"))["status"].get("readyReplicas") == 2)

    wait_for("two replicas", both_ready)
    assert world.condition("scaled", "RolledOut")["lastTransitionTime"] == said["lastTransitionTime"]
    gone(world, "scaled")


def test_kubectl_wait_waits_for_a_roll_out(world: Rig) -> None:
    """Also for one that takes a fault to be mended: it is no older condition that it finds."""
    command: list[str | Path] = [
        world.plane.kubectl,
        "--kubeconfig",
        world.plane.kubeconfig,
        "wait",
        "--for=condition=RolledOut",
    ]
    world.route("waited", {"selfHosted": ENGINE, "scaling": ONE})
    subprocess.run([*command, "--timeout=60s", "modelroute/waited"], check=True, capture_output=True)
    world.route("waited", {"selfHosted": {**ENGINE, "tensorParallelSize": 64}, "scaling": ONE})
    result = subprocess.run([*command, "--timeout=3s", "modelroute/waited"], check=False, capture_output=True)
    assert result.returncode == 1
    world.route("waited", {"selfHosted": {**ENGINE, "args": ["--max-model-len=9"]}, "scaling": ONE})
    subprocess.run([*command, "--timeout=60s", "modelroute/waited"], check=True, capture_output=True)
    assert "--max-model-len=9" in arguments(world, "waited")
    gone(world, "waited")


def test_replace_takes_an_old_one_first_without_waiting(world: Rig) -> None:
    """What a person has chosen is in force at once."""
    engine = {**ENGINE, "rollout": {"strategy": "Replace"}}
    world.route("replaced", {"selfHosted": engine, "scaling": ONE})
    world.wait_condition("replaced", "RolledOut", "True", "ReplicasCurrent")
    assert world.live(deployment_path("replaced"))["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": 0, "maxUnavailable": 1,
    }  # fmt: skip
    gone(world, "replaced")


def test_a_drain_takes_no_last_replica_without_a_substitute(world: Rig) -> None:
    """An only replica stays, unless hosted APIs answer meanwhile; of two one may go."""

    def evict(name: str) -> bool:
        pod = next(pod for pod in pods(world, name) if _is_ready(pod))["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "default"}}
        try:
            world.api.request("POST", f"{PODS}/{pod}/eviction", eviction)
        except ApiError as error:
            if error.status != 429:
                raise
            return False
        return True

    def allows(count: int, *, of: int) -> bool:
        """Whether the disruption controller has judged the budget as it is now, over so many ready pods."""
        live = world.live(budget)
        status = live.get("status", {})
        judged = status.get("observedGeneration") == live["metadata"]["generation"]
        pods_seen = (status.get("expectedPods"), status.get("currentHealthy")) == (of, of)
        return judged and pods_seen and status.get("disruptionsAllowed") == count

    hosted = {"name": "api", "baseURL": "https://api.example.test/v1", "model": "big"}
    budget = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/drained-engine"
    world.route("drained", {"selfHosted": ENGINE, "scaling": ONE})
    world.wait_condition("drained", "RolledOut", "True", "ReplicasCurrent")
    wait_for("the budget is known", lambda: allows(0, of=1))
    assert not evict("drained")
    world.route("drained", {"selfHosted": ENGINE, "scaling": {"minReplicas": 2, "maxReplicas": 2}})
    wait_for("one may go", lambda: allows(1, of=2))
    assert evict("drained")
    world.route("drained", {"selfHosted": ENGINE, "scaling": ONE, "hosted": [hosted]})
    wait_for("the only one may go", lambda: allows(1, of=1))
    assert evict("drained")
    world.route("drained", {"selfHosted": {**ENGINE, "disruptionBudget": "None"}, "scaling": ONE})
    wait_for("no budget", lambda: world.get(budget) is None)
    gone(world, "drained")


def names(pod: Json) -> set[str]:
    """The names that an engine knows its model by."""
    args = pod["spec"]["containers"][0]["args"]
    start = next(index for index, argument in enumerate(args) if argument.startswith("--served-model-name"))
    given = [argument.removeprefix("--served-model-name=") for argument in args[start : args.index("--port=8000")]]
    return {name for name in given if not name.startswith("-")}


def test_no_request_asks_a_replica_for_a_name_that_it_does_not_know(world: Rig) -> None:
    """All through a rename: clients' new name at once, the replicas' one always."""

    def check() -> None:
        running = [pod for pod in pods(world, "named") if _is_ready(pod)]
        document = world.document("named")
        assert document is not None
        asked = document["local"]["served_model"]
        assert all(asked in names(pod) for pod in running), (asked, [names(pod) for pod in running])

    world.route("named", {"model": "one", "selfHosted": ENGINE, "scaling": ONE})
    world.wait_condition("named", "RolledOut", "True", "ReplicasCurrent")
    for model in ("two", "three", "one"):
        world.route("named", {"model": model, "selfHosted": ENGINE, "scaling": ONE})

        def is_renamed(model: str = model) -> bool:
            check()
            return (world.document("named") or {}).get("model") == model and bool(
                world.condition("named", "RolledOut").get("status") == "True"
            )

        wait_for(f"the name {model}", is_renamed)
        assert all(model in names(pod) for pod in pods(world, "named") if _is_ready(pod))
    gone(world, "named")


def test_a_mount_that_fails_is_said(world: Rig) -> None:
    """The kubelet (played here) tells of it in an Event alone."""
    volume = {"name": "ca", "secret": {"secretName": "corp-ca"}}
    mount = {"name": "engine", "volumeMounts": [{"name": "ca", "mountPath": "/ca"}]}
    template = {"spec": {"volumes": [volume], "containers": [mount], "schedulerName": "nobody"}}
    world.route("mounts", {"selfHosted": {**ENGINE, "podTemplate": template}, "scaling": ONE})
    pod = wait_for("a pod", lambda: pods(world, "mounts"))[0]["metadata"]
    involved = {"kind": "Pod", "namespace": "default", "name": pod["name"], "uid": pod["uid"]}
    event = {
        "metadata": {"name": "mounts.1", "namespace": "default"},
        "involvedObject": involved,
        "type": "Warning",
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "ca": secret "corp-ca" not found',
        "lastTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    world.api.request("POST", "/api/v1/namespaces/default/events", event)
    for kind in ("EngineAvailable", "RolledOut"):
        condition = world.wait_condition("mounts", kind, "False", "PodFailed")
        assert (
            'FailedMount: MountVolume.SetUp failed for volume "ca": secret "corp-ca" not found' in condition["message"]
        )
    assert "FailedMount" in describe(world, "mounts")
    gone(world, "mounts")


def test_an_update_that_crashes_is_told_while_the_old_one_serves(world: Rig) -> None:
    """Ready stays True, RolledOut is False in the kubelet's words, an event comes, and a restart changes nothing."""
    world.route("broken", {"selfHosted": ENGINE, "scaling": ONE})
    world.wait_condition("broken", "RolledOut", "True", "ReplicasCurrent")
    template = {"spec": {"schedulerName": "nobody"}}
    args = ["--max-model-len=99999999"]
    world.route("broken", {"selfHosted": {**ENGINE, "args": args, "podTemplate": template}, "scaling": ONE})
    new = wait_for("a new pod", lambda: [p for p in pods(world, "broken") if args[0] in arguments_of(p)])[0]
    killed = {"exitCode": 137, "reason": "OOMKilled", "startedAt": None, "finishedAt": None}
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}
    status = {"name": "engine", "image": "i", "imageID": "", "ready": False, "restartCount": 7}
    crash = {**status, "state": state, "lastState": {"terminated": killed}}
    path = f"{PODS}/{new['metadata']['name']}/status"
    world.patch(path, {"status": {"phase": "Running", "containerStatuses": [crash]}})

    condition = world.wait_condition("broken", "RolledOut", "False", "PodFailed")
    for part in ("CrashLoopBackOff: back-off 5m0s", "OOMKilled", "resources.limits.memory", "kubectl logs"):
        assert part in condition["message"]
    world.wait_condition("broken", "Ready", "True", "ReplicasReady")
    wait_for("an event", lambda: [e for e in world.events("broken") if e["reason"] == "PodFailed"])
    described = describe(world, "broken")
    assert "OOMKilled" in described
    gone(world, "broken")


def arguments_of(pod: Json) -> list[str]:
    """The arguments of a pod's engine."""
    found: list[str] = pod["spec"]["containers"][0]["args"]
    return found


def _is_ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
