"""A start as its pod tells it: whatever clocks say, and whoever has written them."""

from typing import Any

import pytest

from overspill_operator.core.conditions import timestamp
from overspill_operator.core.pod_starts import PROBE_SLACK_SECONDS, pod_start, starts

Json = dict[str, Any]
BEGUN = 1_790_000_000.0


def at(seconds: float | None) -> str | None:
    """So long after the pod was made, as Kubernetes writes it."""
    return None if seconds is None else timestamp(BEGUN + seconds)


def pod(
    *,
    scheduled: float | None = 1,
    volumes: float | None = 3,
    initialized: float | None = 1,
    started: float | None = 44,
    ready: float | None = 76,
    written: float | None = 76,
    restarts: int = 0,
    init: bool = False,
    node_ahead: float = 0.0,
    **spec: Any,
) -> Json:
    """A pod of route ``tiny``; ``node_ahead``: by how much its node's clock is ahead of the API server's."""

    def on_node(seconds: float | None) -> str | None:
        return at(None if seconds is None else seconds + node_ahead)

    times = {
        "PodScheduled": at(scheduled),
        "PodReadyToStartContainers": on_node(volumes),
        "Initialized": on_node(initialized),
        "Ready": on_node(ready),
    }
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": time} for kind, time in times.items() if time is not None
    ]
    state = {"running": {"startedAt": on_node(started)}} if started is not None else {"waiting": {}}
    container = {"name": "engine", "state": state, "restartCount": restarts}
    status: Json = {"conditions": conditions, "containerStatuses": [{"name": "sidecar", "state": {}}, container]}
    if init:
        status["initContainerStatuses"] = [{"name": "weights", "state": {}}]
    probe = {"periodSeconds": 2, "failureThreshold": 30}
    meta = {
        "name": "tiny-engine-6d-x",
        "uid": "u1",
        "creationTimestamp": at(0),
        "ownerReferences": [{"kind": "ReplicaSet", "name": "tiny-engine-6d", "controller": True}],
        "managedFields": [{"manager": "controller", "time": at(0)}, {"subresource": "status", "time": at(written)}],
    }
    return {
        "metadata": meta,
        "spec": {"containers": [{"name": "engine", "startupProbe": probe}], **spec},
        "status": status,
    }


def phases(subject: Json) -> list[tuple[str, float]] | None:
    """Names and seconds of its start; None: it is none."""
    start = pod_start(subject)
    return None if start is None else [(phase.name, phase.seconds) for phase in start.phases]


USUAL = [("scheduled", 1), ("volumes", 2), ("image", 41), ("weights and engine start", 32)]


def test_phases_come_from_conditions_and_the_container() -> None:
    """What is between them, up to readiness."""
    assert phases(pod()) == USUAL


def test_init_containers_are_a_phase_of_their_own() -> None:
    """Where there are any: one that fetches weights is seen."""
    assert phases(pod(init=True, initialized=40)) == [
        ("scheduled", 1),
        ("volumes", 2),
        ("init containers", 37),
        ("image", 4),
        ("weights and engine start", 32),
    ]


def test_weights_in_an_image_volume_come_with_the_image() -> None:
    """The kubelet pulls both before it starts the container."""
    told = phases(pod() | {"spec": {"volumes": [{"name": "model", "image": {"reference": "r"}}]}})
    assert told == [("scheduled", 1), ("volumes", 2), ("image and weights", 41), ("engine start", 32)]


def test_an_older_kubernetes_tells_less_and_it_is_told_together() -> None:
    """Before 1.29 a pod does not say when its volumes and network were there."""
    assert phases(pod(volumes=None)) == [("scheduled", 1), ("volumes and image", 43), ("weights and engine start", 32)]


def test_an_engine_that_failed_before_says_so() -> None:
    """Until its last start, image and failures cannot be told apart."""
    told = phases(pod(restarts=2))
    assert told is not None
    assert told[2] == ("image and failed starts", 41)


@pytest.mark.parametrize("ahead", [-3600.0, -30.0, 30.0, 3600.0])
def test_a_node_whose_clock_is_wrong_is_put_right(ahead: float) -> None:
    """Nothing happens before the pod has a node, and nothing after the API server's last word of it.

    Behind, the node's first word counts as said at once, so that what it did before that is lost.
    """
    told = phases(pod(node_ahead=ahead))
    assert told is not None
    assert [name for name, _ in told] == [name for name, _ in USUAL]
    assert told[2:] == USUAL[2:]
    assert sum(seconds for _, seconds in told) == pytest.approx(76, abs=2)


def test_clocks_that_contradict_themselves_are_no_start() -> None:
    """No difference of clocks explains them."""
    assert phases(pod(volumes=-3600, initialized=-3600, started=40, ready=76)) is None


def test_one_that_became_ready_again_is_no_start() -> None:
    """Its startup probe would have ended it long before."""
    assert phases(pod(ready=44 + 60 + PROBE_SLACK_SECONDS, written=200)) is not None
    assert phases(pod(ready=44 + 61 + PROBE_SLACK_SECONDS, written=200)) is None


@pytest.mark.parametrize("missing", [{"ready": None}, {"started": None}])
def test_one_that_is_not_ready_is_no_start_yet(missing: Json) -> None:
    """Nor one whose container does not run."""
    assert phases(pod(**missing)) is None


@pytest.mark.parametrize("lie", ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "yesterday", "", "-1"])
@pytest.mark.parametrize("where", ["PodScheduled", "PodReadyToStartContainers", "Initialized", "Ready", "startedAt"])
def test_lies_make_no_long_start_and_no_error(where: str, lie: str) -> None:
    """Whatever is written in whichever place."""
    subject = pod()
    for condition in subject["status"]["conditions"]:
        if condition["type"] == where:
            condition["lastTransitionTime"] = lie
    if where == "startedAt":
        subject["status"]["containerStatuses"][1]["state"]["running"]["startedAt"] = lie
    told = phases(subject)
    assert told is None or 0 <= sum(seconds for _, seconds in told) <= 80


def test_only_pods_that_the_routes_deployment_made_count() -> None:
    """Labels may be anybody's; one on its way out has had its start."""
    ours, foreign, leaving, bare = pod(), pod(), pod(), pod()
    foreign["metadata"]["ownerReferences"][0]["name"] = "other-6d"
    leaving["metadata"]["deletionTimestamp"] = at(90)
    del bare["metadata"]["ownerReferences"]
    found = list(starts("tiny", [foreign, ours, leaving, bare]))
    assert [(uid, start.replica) for uid, start in found] == [("u1", "tiny-engine-6d-x")]
