"""The operator as a real process against a real API server, with a gateway played by the test.

A test writes ModelRoutes as a person would, plays Kubernetes' kubelets by writing status where it must, and waits for
conditions; it never sleeps for a time that it hopes is long enough.
"""

import base64
import http.server
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import waiting
from cluster.api import Api, ApiError
from cluster.controlplane import ControlPlane

CHECKOUT = Path(__file__).resolve().parents[1]
RELEASE = "overspill-system"
GATEWAY = "gateway-1"
WAIT_SECONDS = 30.0

PROFILES = """
cpu:
  image: example.test/engine:1
  resources: {requests: {cpu: 500m, memory: 1024Mi}, limits: {memory: 2048Mi}}
  startupTimeout: 60s
gpu:
  image: example.test/engine:1
  gpus: {count: 1}
  nodeSelector: {type: kwok}
"""

Json = dict[str, Any]


def wait_for(what: str, look: Callable[[], waiting.Found | None], seconds: float = WAIT_SECONDS) -> waiting.Found:
    """``waiting.wait_for``, with the patience of these tests."""
    return waiting.wait_for(what, look, seconds)


class Gateway:
    """A gateway's ``/demand``: streams the lines that the test gives it."""

    def __init__(self) -> None:
        self._lines: set[queue.Queue[bytes | None]] = set()
        self._routes: dict[str, Json] = {}
        self.sends_engine_keys = True
        self._closed = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Answer with a stream that ends when the gateway does."""
                self.send_response(200)
                self.send_header("Content-Type", "application/x-ndjson")
                self.send_header("Connection", "close")
                self.end_headers()
                outer.stream(self.wfile.write)

            def log_message(self, *_: object) -> None:
                """Nothing: a test's output is its own."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def say(self, route: str, **figures: Any) -> float:
        """Tell every listener of a route's demand; when that was, by ``time.monotonic``."""
        self._routes[route] = {"route": route, **figures}
        line = self._line([self._routes[route]])
        said = time.monotonic()
        for lines in tuple(self._lines):
            lines.put(line)
        return said

    @property
    def heard(self) -> bool:
        """Whether anyone listens."""
        return bool(self._lines)

    def close(self) -> None:
        """End all streams and stop listening."""
        self._closed.set()
        for lines in tuple(self._lines):
            lines.put(None)
        self._server.shutdown()
        self._server.server_close()

    def stream(self, write: Callable[[bytes], object]) -> None:
        """One listener's stream."""
        lines: queue.Queue[bytes | None] = queue.Queue()
        try:
            write(self._line(list(self._routes.values())))
            self._lines.add(lines)
            while not self._closed.is_set():
                try:
                    line = lines.get(timeout=5)
                except queue.Empty:
                    line = self._line([])
                if line is None:
                    return
                write(line)
        except OSError:
            pass
        finally:
            self._lines.discard(lines)

    def _line(self, routes: list[Json]) -> bytes:
        said: Json = {"gateway": GATEWAY, "now_unix_seconds": time.time(), "version": 2, "routes": routes}
        if self.sends_engine_keys:  # those of a version from before keys do not know the word
            said["sends_engine_keys"] = True
        return json.dumps(said).encode() + b"\n"


class Operator:
    """One operator process."""

    def __init__(self, rig: "Rig", pod: str, kubeconfig: Path | None = None, **variables: str) -> None:
        self.pod = pod
        self.port = _free_port()
        self.log = rig.folder / f"{pod}.log"
        environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(kubeconfig or rig.plane.kubeconfig),
            "POD_NAME": pod,
            "POD_NAMESPACE": RELEASE,
            "OVERSPILL_PROFILES": str(rig.profiles),
            "OVERSPILL_PORT": str(self.port),
            "OVERSPILL_GATEWAY_ADDRESSES": rig.gateway.address,
            "OVERSPILL_LOG_LEVEL": "DEBUG",
            **variables,
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "overspill_operator.main"], env=environment, stderr=log
            )

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of its own port; (0, "") while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    @property
    def leads(self) -> bool:
        """Whether it is the leader and has seen everything."""
        assert self.process.poll() is None, f"the operator has ended:\n{self.log.read_text()[-3000:]}"
        return self.get("/readyz")[0] == 200 and "overspill_operator_leader 1.0" in self.get("/metrics")[1]

    def stop(self) -> int:
        """Ask it to end, as Kubernetes does; its exit status."""
        self.process.terminate()
        return self.process.wait(20)

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self.process.kill()
        self.process.wait(20)


class Rig:
    """A control plane, a gateway and operators."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.folder = folder
        self.api = Api(plane.url, plane.folder / "pki")
        self.gateway = Gateway()
        self.profiles = folder / "profiles.yaml"
        self.profiles.write_text(PROFILES)
        self.leader: Operator | None = None

    def apply(self, path: str, manifest: Json) -> Json:
        """Server-side apply, as another field manager than the operator."""
        query = "?fieldManager=test&force=true"
        answer: Json = self.api.request("PATCH", path + query, manifest, "application/apply-patch+yaml")
        return answer

    def route(self, name: str, spec: Json, namespace: str = "default") -> Json:
        """Apply a ModelRoute."""
        manifest = {"apiVersion": "overspill.dev/v1alpha1", "kind": "ModelRoute"}
        return self.apply(route_path(name, namespace), {**manifest, "metadata": {"name": name}, "spec": spec})

    def secret(self, name: str, data: dict[str, str], namespace: str = "default") -> None:
        """Apply a Secret."""
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
        self.apply(f"/api/v1/namespaces/{namespace}/secrets/{name}", manifest)

    def get(self, path: str) -> Json | None:
        """An object, or None."""
        try:
            answer: Json = self.api.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return answer

    def live(self, path: str) -> Json:
        """An object that must be there."""
        found = self.get(path)
        assert found is not None, f"there is no {path}"
        return found

    def serves(self, path: str) -> bool:
        """Whether a collection can be listed: a kind that was just made cannot, for a moment."""
        try:
            return self.get(path) is not None
        except ApiError:
            return False

    def delete(self, path: str) -> None:
        """Away with it."""
        self.api.request("DELETE", path)

    def patch(self, path: str, patch: Json) -> Json:
        """A merge patch."""
        answer: Json = self.api.request("PATCH", path, patch, "application/merge-patch+json")
        return answer

    def condition(self, name: str, kind: str, namespace: str = "default") -> Json:
        """A condition of a ModelRoute; empty while it is not there, or speaks of an older spec."""
        live = self.get(route_path(name, namespace)) or {}
        generation = live.get("metadata", {}).get("generation")
        for condition in live.get("status", {}).get("conditions", ()):
            if condition["type"] == kind and condition["observedGeneration"] == generation:
                found: Json = condition
                return found
        return {}

    def wait_condition(self, name: str, kind: str, status: str, reason: str, namespace: str = "default") -> Json:
        """Wait until a condition says this."""

        def look() -> Json:
            condition = self.condition(name, kind, namespace)
            said = (condition.get("status"), condition.get("reason"))
            return condition if said == (status, reason) else {}

        return wait_for(f"{name}: {kind} {status} {reason}", look)

    def document(self, name: str, namespace: str = "default", release: str = RELEASE) -> Json | None:
        """A route's compiled document, or None."""
        secret = self.get(f"/api/v1/namespaces/{release}/secrets/route.{namespace}.{name}")
        if secret is None:
            return None
        document: Json = json.loads(base64.b64decode(secret["data"]["document.json"]))
        return document

    def replicas(self, name: str, namespace: str = "default") -> int | None:
        """Replicas that a route's Deployment asks for, or None."""
        live = self.get(deployment_path(name, namespace))
        return None if live is None else int(live["spec"]["replicas"])

    def make_ready(self, name: str, ready: int, namespace: str = "default") -> None:
        """Play the kubelets: the Deployment's replicas are ready (there must be no deployment controller)."""
        path = deployment_path(name, namespace)
        live = self.get(path)
        assert live is not None
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        available = {"type": "Available", "status": "True", "reason": "Test", "lastTransitionTime": now}
        status = {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": ready,
            "updatedReplicas": ready,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "conditions": [{**available, "lastUpdateTime": now, "message": ""}],
        }
        self.patch(f"{path}/status", {"status": status})

    def events(self, name: str, namespace: str = "default") -> list[Json]:
        """Events about a ModelRoute."""
        found = self.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events") or {}
        return [event for event in found.get("items", ()) if event["regarding"].get("name") == name]

    @contextmanager
    def operator(self, pod: str = "operator-1", kubeconfig: Path | None = None) -> Iterator[Operator]:
        """An operator that leads, by default with an administrator's rights."""
        operator = Operator(self, pod, kubeconfig)
        try:
            wait_for(f"{pod} leads", lambda: operator.leads)
            wait_for("it listens to the gateway", lambda: self.gateway.heard)
            self.leader = operator
            yield operator
        finally:
            if operator.process.poll() is None:
                operator.stop()

    @contextmanager
    def for_thread(self) -> Iterator["Rig"]:
        """The same for another thread, with a connection of its own."""
        beside = copy(self)
        beside.api = Api(self.plane.url, self.plane.folder / "pki")
        try:
            yield beside
        finally:
            beside.api.close()

    def close(self) -> None:
        """End what is played here."""
        self.gateway.close()
        self.api.close()


@contextmanager
def rig(folder: Path, *, crds: bool = True, **options: Any) -> Iterator[Rig]:
    """A control plane with the release's namespace and, unless the test brings them, the CRDs."""
    with ControlPlane(**options) as plane:
        made = Rig(plane, folder)
        try:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RELEASE}}
            made.apply(f"/api/v1/namespaces/{RELEASE}", namespace)
            if crds:
                _install_kinds(made)
            yield made
        finally:
            made.close()


def _install_kinds(made: Rig) -> None:
    command: list[str | Path] = [
        made.plane.kubectl,
        "--kubeconfig",
        made.plane.kubeconfig,
        "apply",
        "-f",
        CHECKOUT / "manifests" / "crds",
    ]
    subprocess.run(command, check=True, capture_output=True)
    paths = [f"/apis/overspill.dev/v1alpha1/{kind}" for kind in ("modelroutes", "consumers")]
    wait_for("the kinds are served", lambda: all(made.serves(path) for path in paths))


def route_path(name: str, namespace: str = "default") -> str:
    """Path of a ModelRoute."""
    return f"/apis/overspill.dev/v1alpha1/namespaces/{namespace}/modelroutes/{name}"


def deployment_path(name: str, namespace: str = "default") -> str:
    """Path of a route's Deployment."""
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}-engine"


def service_path(name: str, namespace: str = "default") -> str:
    """Path of a route's Service."""
    return f"/api/v1/namespaces/{namespace}/services/{name}-engine"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
