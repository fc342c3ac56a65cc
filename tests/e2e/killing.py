"""What eight connections see when an engine is killed under load, or the gateway is replaced."""

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import openai

from e2e import installation
from e2e.kubernetes_cli import Cluster, CommandError, wait_until
from e2e.routes import route

NAMESPACE = "bench"
CONNECTIONS = 8
SECONDS = 6.0
ANSWER_MS = 50

Kill = Callable[[Cluster, str], None]


def sigkill(cluster: Cluster, pod: str) -> None:
    """The engine's process dies at once: its container is told to die by the stand-in's own endpoint."""
    try:
        cluster.kubectl("-n", NAMESPACE, "exec", pod, "--", "vllm", "die")
    except CommandError as error:
        # The command dies with the container that it ran in.
        if "137" not in str(error):
            raise


def delete(cluster: Cluster, pod: str) -> None:
    """``kubectl delete pod``."""
    cluster.kubectl("-n", NAMESPACE, "delete", "pod", pod, "--wait=false")


def force_delete(cluster: Cluster, pod: str) -> None:
    """``kubectl delete pod --force``."""
    cluster.kubectl("-n", NAMESPACE, "delete", "pod", pod, "--force", "--grace-period=0")


def roll_out(cluster: Cluster, pod: str) -> None:
    """A change of the spec replaces every replica; ends when all of them are new."""
    name = pod.rsplit("-engine-", 1)[0]
    before = set(_ready_pods(cluster, name))
    patch = {"spec": {"selfHosted": {"args": [f"--seed={time.time_ns()}"]}}}
    cluster.kubectl("-n", NAMESPACE, "patch", "mr", name, "--type=merge", "-p", json.dumps(patch))

    def is_new() -> bool:
        ready = set(_ready_pods(cluster, name))
        return len(ready) == len(before) and not ready & before

    wait_until("all replicas are new", is_new, seconds=60)


def roll_out_gateway(cluster: Cluster, pod: str) -> None:  # noqa: ARG001 - the engine stays
    """Every gateway is replaced, as by a new version; ends when the old ones are gone."""
    namespace = installation.RELEASE_NAMESPACE

    def gateways() -> set[str]:
        found = cluster.items("pods", "-n", namespace, "-l", "app.kubernetes.io/component=gateway")
        return {pod["metadata"]["name"] for pod in found}

    before = gateways()
    assert before, "no gateway has the label that this looks for"
    cluster.kubectl("-n", namespace, "rollout", "restart", "deployment/overspill-gateway")
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/overspill-gateway", "--timeout=120s")
    wait_until("the old gateways are gone", lambda: not gateways() & before, seconds=150)


KINDS: dict[str, Kill] = {"sigkill": sigkill, "delete": delete, "force_delete": force_delete, "roll_out": roll_out}


@dataclass
class Outcome:
    """What the connections saw."""

    seconds: list[float] = field(default_factory=list)
    """Of each answered request."""
    failures: list[str] = field(default_factory=list)
    """Of each failed one."""
    cut_with_error_event: int = 0
    """Streams that ended with an in-band error."""
    cut_silently: int = 0
    """Streams that ended without [DONE] and without an error."""

    @property
    def longest_extra_wait_seconds(self) -> float:
        """How much longer the slowest answered request took than the median."""
        ordered = sorted(self.seconds)
        return ordered[-1] - ordered[len(ordered) // 2] if ordered else 0.0


def killed_under_load(
    cluster: Cluster, key: str, kill: Kill, *, replicas: int, hosted: bool, streamed: bool, token_ms: int = 20
) -> Outcome:
    """What eight connections see of a route whose first replica is killed after a third of the time.

    ``token_ms``: milliseconds from one token of a stream to the next; a stream has 20.
    """
    # One route for each way to be asked: were its engines' settings changed between two runs, they would roll out.
    name = f"kill-{replicas}{f'-streams-{token_ms}' if streamed else ''}"
    environment = {"STANDIN_ANSWER_DELAY_MS": str(ANSWER_MS), "STANDIN_TOKENS": "20"}
    if streamed:
        environment["STANDIN_TOKEN_DELAY_MS"] = str(token_ms)
    manifest = route(
        name,
        minimum=replicas,
        maximum=replicas,
        hosted=hosted,
        on_cold_start="Hosted" if hosted else "Hold",
        engine_environment=environment,
    )
    cluster.apply(json.dumps(manifest), NAMESPACE)
    wait_until("all replicas are ready", lambda: len(_ready_pods(cluster, name)) == replicas, seconds=120)
    outcome, ended = Outcome(), threading.Event()
    client = installation.openai_client(cluster, key, timeout_seconds=60)
    work = _stream if streamed else _plain
    threads = [
        threading.Thread(target=work, args=(client, name, outcome, ended), daemon=True) for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    time.sleep(SECONDS / 3)
    kill(cluster, _ready_pods(cluster, name)[0])
    time.sleep(SECONDS * 2 / 3)
    ended.set()
    for thread in threads:
        thread.join(timeout=90)
    return outcome


def _new_conversation() -> str:
    """One of many: a gateway keeps each conversation at one replica while that is not busy."""
    return f"Conversation {random.random()}."


def _plain(client: openai.OpenAI, name: str, outcome: Outcome, ended: threading.Event) -> None:
    while not ended.is_set():
        started = time.monotonic()
        try:
            client.completions.create(model=name, prompt=_new_conversation(), max_tokens=20)
            outcome.seconds.append(time.monotonic() - started)
        except openai.OpenAIError as error:
            outcome.failures.append(f"{type(error).__name__}: {error}"[:300])


def _stream(client: openai.OpenAI, name: str, outcome: Outcome, ended: threading.Event) -> None:
    while not ended.is_set():
        started = time.monotonic()
        done = error_event = False
        try:
            with client.completions.with_streaming_response.create(
                model=name, prompt=_new_conversation(), max_tokens=20, stream=True
            ) as response:
                for line in response.iter_lines():
                    done = done or line == "data: [DONE]"
                    error_event = error_event or line.startswith('data: {"error"')
        except openai.OpenAIError as error:
            outcome.failures.append(f"{type(error).__name__}: {error}"[:300])
            continue
        if error_event and not done:
            outcome.cut_with_error_event += 1
        elif not done:
            outcome.cut_silently += 1
        else:
            outcome.seconds.append(time.monotonic() - started)


def _ready_pods(cluster: Cluster, name: str) -> list[str]:
    pods = cluster.items("pods", "-n", NAMESPACE, "-l", f"overspill.dev/route={name}")
    return [
        pod["metadata"]["name"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    ]
