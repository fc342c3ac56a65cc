"""From zero: a request's way to the Deployment's scale, to the pod object, to the first byte."""

import json
import statistics
import time

from bench.watching import Watch
from e2e import installation
from e2e.kubernetes_cli import Cluster, wait_until
from e2e.routes import route

NAMESPACE = "bench"
NAME = "wake"
REPLICAS = 'jsonpath={.spec.replicas}{"\\n"}'
POD = 'jsonpath={.metadata.name}{" "}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}'


def measure(cluster: Cluster, key: str, rounds: int = 10) -> dict[str, dict[str, float]]:
    """Milliseconds of two engines with onColdStart: Hold, median and highest of some rounds.

    One that serves as soon as its process runs (what is measured then is mostly Kubernetes: the kubelet tells a pod's
    address up to a second after it has one), and one that loads for a few seconds, as every real engine does.
    """
    return {
        "instant": _measure_engine(cluster, key, rounds, load_seconds=0),
        "loading_3_s": _measure_engine(cluster, key, rounds, load_seconds=3),
    }


def _measure_engine(cluster: Cluster, key: str, rounds: int, load_seconds: float) -> dict[str, float]:
    environment = {"STANDIN_LOAD_MS": f"{load_seconds * 1000:.0f}"}
    cluster.apply(json.dumps(route(NAME, idle_after="1s", engine_environment=environment)), NAMESPACE)
    cluster.kubectl("-n", NAMESPACE, "wait", f"mr/{NAME}", "--for=condition=Ready", "--timeout=60s")
    samples: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, value in _one_round(cluster, key).items():
            samples.setdefault(name, []).append(value)
    cluster.kubectl("-n", NAMESPACE, "delete", "mr", NAME, "--wait=true")
    medians = {f"{name}_p50": round(statistics.median(values), 1) for name, values in samples.items()}
    worst = {f"{name}_max": round(max(values), 1) for name, values in samples.items()}
    return {**medians, **worst}


def _one_round(cluster: Cluster, key: str) -> dict[str, float]:
    _wait_for_zero(cluster)
    labels = ("-n", NAMESPACE, "-l", f"overspill.dev/route={NAME}")
    with (
        Watch(cluster, "deployment", f"{NAME}-engine", "-n", NAMESPACE, "-o", REPLICAS) as scales,
        Watch(cluster, "pods", *labels, "-o", POD) as pods,
    ):
        scales.first(lambda text: text == "0", after=0, seconds=20)
        client = installation.openai_client(cluster, key, timeout_seconds=60)
        client.models.list()  # the connection is made: what is measured is the request
        time.sleep(0.5)  # both watches are established once kubectl has printed the list it began with
        asked = time.monotonic()
        with client.completions.with_streaming_response.create(
            model=NAME, prompt="x", max_tokens=2, stream=True
        ) as response:
            next(response.iter_bytes())
            first_byte = time.monotonic()
            began = float(response.headers.get("x-standin-listening-unix", "nan"))
            now = time.time() - time.monotonic()
        scaled = scales.first(lambda text: text == "1", after=asked, seconds=10)
        created = pods.first(bool, after=asked, seconds=10)
        ready = pods.first(lambda text: text.endswith(" True"), after=asked, seconds=30)
    return {
        "request_to_scale_ms": (scaled.at - asked) * 1000,
        "request_to_pod_ms": (created.at - asked) * 1000,
        "request_to_first_byte_ms": (first_byte - asked) * 1000,
        # Negative: the client had its first byte before Kubernetes called the pod Ready.
        "pod_ready_to_first_byte_ms": (first_byte - ready.at) * 1000,
        "engine_able_to_first_byte_ms": (first_byte + now - began) * 1000,
    }


def _wait_for_zero(cluster: Cluster) -> None:
    def is_zero() -> bool:
        deployment = cluster.get("deployment", f"{NAME}-engine", "-n", NAMESPACE)
        pods = cluster.items("pods", "-n", NAMESPACE, "-l", f"overspill.dev/route={NAME}")
        return deployment["spec"]["replicas"] == 0 and not pods

    wait_until("the engine is at zero", is_zero, seconds=90)
