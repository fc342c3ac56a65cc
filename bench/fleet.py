"""Many ModelRoutes at once on nodes that kwok plays, and a cold request to another route in that time."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai

from bench.watching import Watch
from e2e import installation
from e2e.kubernetes_cli import Cluster, wait_until
from e2e.routes import as_list, route

NAMESPACE = "fleet"
OTHER = "other"
READY = (
    'jsonpath={.metadata.name}{" "}{.status.readyReplicas}{" "}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
)
APPLIERS = 4


def measure(cluster: Cluster, key: str, count: int) -> dict[str, float]:
    """Seconds until all routes of a batch are Ready with their replica, and the cold request's way to its pod."""
    cluster.apply(f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}")
    cluster.apply(json.dumps(route(OTHER)), "bench")
    cluster.kubectl("-n", "bench", "wait", f"mr/{OTHER}", "--for=condition=Ready", "--timeout=60s")
    routes = [route(f"r{number:04}", profile="simulated-gpu", minimum=1) for number in range(count)]
    batches = [routes[start::APPLIERS] for start in range(APPLIERS)]
    ready: dict[str, float] = {}
    with (
        Watch(cluster, "mr", "-n", NAMESPACE, "-o", READY) as watch,
        Watch(cluster, "pods", "-n", "bench", "-l", f"overspill.dev/route={OTHER}", "-o", "name") as other_pods,
    ):
        started = time.monotonic()
        asker = threading.Timer(2.0, _ask_other, (cluster, key))
        asker.start()
        with ThreadPoolExecutor(APPLIERS) as appliers:
            list(
                appliers.map(
                    lambda batch: cluster.kubectl(
                        "-n", NAMESPACE, "create", "--validate=false", "-f", "-", stdin=as_list(batch)
                    ),
                    batches,
                )
            )
        applied = time.monotonic()
        cold_pod = other_pods.first(bool, after=started + 2.0, seconds=120)

        def all_ready() -> bool:
            for seen in watch.lines:
                if seen.text.endswith(" 1 True"):
                    ready.setdefault(seen.text.split()[0], seen.at)
            return len(ready) == count

        wait_until(f"{count} routes are Ready", all_ready, seconds=900)
    asker.join()
    return {
        "applied_s": round(applied - started, 1),
        "all_ready_s": round(max(ready.values()) - started, 1),
        "cold_request_to_pod_s": round(cold_pod.at - started - 2.0, 2),
    }


def _ask_other(cluster: Cluster, key: str) -> None:
    try:
        installation.openai_client(cluster, key, timeout_seconds=120).completions.create(
            model=OTHER, prompt="x", max_tokens=1
        )
    except openai.OpenAIError as error:
        print(f"the cold request failed: {error}", flush=True)
