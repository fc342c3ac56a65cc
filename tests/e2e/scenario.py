"""The main job as eight steps on real parts, each a function that returns what a person should know of it.

A step raises (AssertionError, GaveUpError, CommandError, an SDK error) when what it is about does not happen. The demo
prints them, the end-to-end test asserts them; both run them in order on one World.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import openai

from e2e import installation
from e2e.kubernetes_cli import Cluster, wait_until

NAMESPACE = "demo"
ROUTE = "tiny"
HOLD_ROUTE = "tiny-hold"
ENGINE_START_SECONDS = 240.0
"""The longest that vLLM may take to load the tiny model on a busy machine; 35 to 60 s are usual."""


@dataclass
class World:
    """What the steps hand on."""

    cluster: Cluster
    """Where it all happens."""
    say: Callable[[str], None] = lambda _: None
    """Told of what is going on inside a step."""
    key: str = ""
    """API key of the demo's consumer, from step 3 on."""
    cold_request_at: float = 0.0
    """When the cold request was answered, on the clock of time.monotonic."""

    @property
    def client(self) -> openai.OpenAI:
        """The OpenAI SDK with the demo's key."""
        return installation.openai_client(self.cluster, self.key)


@dataclass(frozen=True)
class Answer:
    """What a client saw of one answer."""

    served_by: str
    """The x-overspill-served-by header."""
    reason: str
    """The x-overspill-reason header."""
    seconds: float
    """From the call to the whole answer."""
    pieces: int
    """Pieces with text that a stream had; 1 for a plain answer."""


def ask(client: openai.OpenAI, model: str, *, tokens: int = 8) -> Answer:
    """One plain chat request."""
    started = time.monotonic()
    raw = client.chat.completions.with_raw_response.create(
        model=model, max_tokens=tokens, messages=[{"role": "user", "content": "Say something."}]
    )
    raw.parse()
    return Answer(
        raw.headers.get("x-overspill-served-by", ""),
        raw.headers.get("x-overspill-reason", ""),
        time.monotonic() - started,
        1,
    )


def ask_streamed(client: openai.OpenAI, model: str, *, tokens: int = 16) -> Answer:
    """One streamed chat request, read to its end. After a long wait who served comes as a comment in the stream."""
    started = time.monotonic()
    pieces = 0
    said: dict[str, str] = {}
    with client.chat.completions.with_streaming_response.create(
        model=model, max_tokens=tokens, stream=True, messages=[{"role": "user", "content": "Tell me a story."}]
    ) as response:
        for line in response.iter_lines():
            pieces += line.startswith("data: {")
            if line.startswith(": x-overspill-"):
                name, _, value = line[2:].partition(": ")
                said[name] = value
        said |= response.headers
    return Answer(
        said.get("x-overspill-served-by", ""),
        said.get("x-overspill-reason", ""),
        time.monotonic() - started,
        pieces,
    )


def install(world: World) -> str:
    """1. helm install; the pods become Ready."""
    seconds = installation.install(world.cluster)
    installation.start_hosted_standin(world.cluster, NAMESPACE)
    return f"operator and gateway Ready {seconds:.1f} s after helm install; hosted stand-in runs"


def apply_route(world: World) -> str:
    """2. kubectl apply the CPU sample; kubectl get mr shows it Ready with no replica."""
    cluster = world.cluster
    cluster.kubectl("-n", NAMESPACE, "apply", "-f", str(installation.SAMPLES / "cpu-tiny.yaml"))
    cluster.kubectl("-n", NAMESPACE, "wait", f"mr/{ROUTE}", "--for=condition=Ready", "--timeout=30s")
    deployment = wait_until("the engine's Deployment is there", lambda: engine(world, ROUTE), seconds=10)
    assert deployment["spec"]["replicas"] == 0, deployment["spec"]["replicas"]
    world.say(cluster.kubectl("-n", NAMESPACE, "get", "mr"))
    return "ModelRoute Ready, 0 replicas"


def cold_request(world: World) -> str:
    """3. A chat request is answered by the hosted stand-in at once, while the Deployment goes from 0 to 1."""
    world.key = installation.create_key(world.cluster, "demo-team", NAMESPACE)
    answer = ask(world.client, ROUTE)
    assert answer.served_by.startswith("hosted/"), answer
    world.cold_request_at = time.monotonic()
    wait_until("the Deployment is scaled to 1", lambda: engine(world, ROUTE)["spec"]["replicas"] == 1, seconds=5)
    return f"served-by {answer.served_by} ({answer.reason}) in {answer.seconds:.2f} s; Deployment scaled to 1"


def served_by_vllm(world: World) -> str:
    """4. When vLLM is ready, requests are served by it, streamed."""
    seconds = wait_until_local(world, ROUTE)
    answer = ask_streamed(world.client, ROUTE)
    assert answer.served_by.startswith("local/"), answer
    assert answer.pieces > 1, answer
    world.say(world.cluster.kubectl("-n", NAMESPACE, "get", "mr,pods"))
    return f"vLLM answers {seconds:.0f} s after the first request; served-by {answer.served_by}, {answer.pieces} events"


def kill_engine(world: World) -> str:
    """5. The vLLM pod is killed: requests go to the hosted stand-in, none fails; then back to a new pod."""
    cluster = world.cluster
    with Load(world.client, ROUTE) as load:
        load.wait_for(10)
        cluster.kubectl(
            "-n", NAMESPACE, "delete", "pod", "-l", f"overspill.dev/route={ROUTE}", "--force", "--grace-period=0"
        )
        killed = time.monotonic()
        wait_until("requests go to the hosted API", lambda: load.last_served_by.startswith("hosted/"), seconds=10)
        wait_until("requests come back to vLLM", lambda: load.last_served_by.startswith("local/"), ENGINE_START_SECONDS)
        back = time.monotonic() - killed
    assert not load.failures, load.failures
    counts = Counter(served.split("/")[0] for served in load.served_by)
    return (
        f"{len(load.served_by)} requests, 0 failed ({counts['local']} local, {counts['hosted']} hosted); "
        f"back on vLLM after {back:.0f} s"
    )


def go_idle(world: World) -> str:
    """6. Nobody asks: scaled to zero."""
    patch = '{"spec": {"scaling": {"idleAfter": "5s"}}}'
    world.cluster.kubectl("-n", NAMESPACE, "patch", "mr", ROUTE, "--type=merge", "-p", patch)
    started = time.monotonic()
    wait_until("the Deployment is scaled to 0", lambda: engine(world, ROUTE)["spec"]["replicas"] == 0, seconds=60)
    scaled = time.monotonic() - started
    wait_until("its pod is gone", lambda: not pods(world, ROUTE), seconds=120)
    world.say(world.cluster.kubectl("-n", NAMESPACE, "get", "mr"))
    return f"idleAfter set to 5s: scaled to 0 after {scaled:.0f} s, pod gone after {time.monotonic() - started:.0f} s"


def hold(world: World) -> str:
    """7. A second route with onColdStart: Hold keeps the request until vLLM answers it."""
    cluster = world.cluster
    cluster.kubectl("-n", NAMESPACE, "apply", "-f", str(installation.SAMPLES / "cpu-tiny-hold.yaml"))
    cluster.kubectl("-n", NAMESPACE, "wait", f"mr/{HOLD_ROUTE}", "--for=condition=Ready", "--timeout=30s")
    answer = ask_streamed(installation.openai_client(cluster, world.key, ENGINE_START_SECONDS), HOLD_ROUTE)
    assert answer.served_by.startswith("local/"), answer
    return f"held for {answer.seconds:.0f} s, then served-by {answer.served_by}"


def uninstall(world: World) -> str:
    """8. helm uninstall leaves nothing but the CRDs, the objects that people wrote, and the keys of their engines."""
    cluster = world.cluster
    started = time.monotonic()
    installation.uninstall(cluster)

    def leftovers() -> list[str]:
        kinds = "deployments,services,pods,secrets,configmaps,leases,serviceaccounts,roles,rolebindings,jobs"
        ours = cluster.kubectl("get", kinds, "-A", "-l", "app.kubernetes.io/managed-by=overspill", "-o", "name")
        release = cluster.kubectl("get", kinds, "-n", installation.RELEASE_NAMESPACE, "-o", "name")
        cluster_wide = cluster.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
        standard = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
        # A key belongs to its ModelRoute, which stays: whoever installs again goes on with it.
        found = [name for name in ours.split() if not name.endswith("-engine-key")]
        found += [name for name in release.split() if name not in standard]
        return found + [name for name in cluster_wide.split() if "overspill" in name]

    wait_until("nothing of the release is left", lambda: not leftovers(), seconds=60)
    seconds = time.monotonic() - started
    crds = cluster.kubectl("get", "crds", "-o", "name").split()
    kept = sorted(name.rsplit("/", 1)[1] for name in crds if "overspill.dev" in name)
    assert kept == ["consumers.overspill.dev", "modelroutes.overspill.dev"], kept
    cluster.delete_namespaces(NAMESPACE, installation.RELEASE_NAMESPACE)
    return f"gone after {seconds:.0f} s; only the CRDs stay: {', '.join(kept)}"


Step = Callable[[World], str]
STEPS: tuple[tuple[str, Step], ...] = (
    ("helm install", install),
    ("apply a ModelRoute", apply_route),
    ("cold request, hosted at once", cold_request),
    ("served by vLLM, streamed", served_by_vllm),
    ("vLLM killed, nobody notices", kill_engine),
    ("idle, scaled to zero", go_idle),
    ("hold until vLLM answers", hold),
    ("helm uninstall", uninstall),
)


def engine(world: World, route: str) -> dict[str, dict[str, int]]:
    """The Deployment of a route's engine; empty where there is none."""
    return world.cluster.get("deployment", f"{route}-engine", "-n", NAMESPACE)


def pods(world: World, route: str) -> list[str]:
    """Names of the pods of a route's engine."""
    return world.cluster.kubectl(
        "-n", NAMESPACE, "get", "pods", "-l", f"overspill.dev/route={route}", "-o", "name"
    ).split()


def wait_until_local(world: World, route: str) -> float:
    """Ask until a replica serves; the seconds since the cold request."""
    client = world.client

    def is_local() -> bool:
        time.sleep(0.5)  # a person would not ask more often, and vLLM needs the cores to load
        return ask(client, route).served_by.startswith("local/")

    wait_until("vLLM serves", is_local, ENGINE_START_SECONDS)
    return time.monotonic() - world.cold_request_at


class Load:
    """One client that asks all the time, in a thread; it remembers who served and what failed."""

    def __init__(self, client: openai.OpenAI, model: str, *, pause_seconds: float = 0.2) -> None:
        self.served_by: list[str] = []
        self.failures: list[str] = []
        self._client = client
        self._model = model
        self._pause_seconds = pause_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    @property
    def last_served_by(self) -> str:
        """Who served the newest answer."""
        return self.served_by[-1] if self.served_by else ""

    def wait_for(self, requests: int) -> None:
        """Wait until so many requests have been answered."""
        wait_until(f"{requests} requests are answered", lambda: len(self.served_by) >= requests, seconds=60)

    def _run(self) -> None:
        while not self._ended.wait(self._pause_seconds):
            try:
                self.served_by.append(ask(self._client, self._model).served_by)
            except openai.OpenAIError as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=120)
