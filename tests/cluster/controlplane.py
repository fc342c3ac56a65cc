"""A real control plane for one test: etcd, API server, controllers, on free loopback ports, without root.

    with ControlPlane() as plane:
        subprocess.run([plane.kubectl, "--kubeconfig", plane.kubeconfig, "get", "namespaces"])

Several run side by side. Everything ends with the `with` block, and also when the test's process is killed:
the supervisor sees its end, and the kernel kills the components with the supervisor.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster import binaries, certificates, controllers, gpu_nodes, machine
from cluster.api import Api, has_default_service_account, ready, wait_until
from cluster.places import SOURCES, cache_folder
from cluster.plan import Plan

START_SECONDS = 60.0
"""A busy machine needs ten times the 3 s that it takes alone."""
ATTEMPTS = 3
"""Another process may take a port between finding it free and using it."""


@dataclass(frozen=True)
class Options:
    """What runs beside etcd and the API server."""

    controllers: bool = True
    """kube-controller-manager: Deployments make pods, owners' ends are followed, namespaces get accounts."""
    scheduler: bool = False
    """kube-scheduler; always on with kwok nodes."""
    kwok_nodes: int = 0
    """Nodes that kwok plays: pods scheduled to them turn Ready."""
    gpus_per_node: int = 8
    """`nvidia.com/gpu` of each kwok node."""
    fast_controllers: bool = False
    """See `controllers.Settings`."""


class ControlPlane:
    """A control plane that lives as long as a `with` block."""

    def __init__(
        self,
        *,
        controllers: bool = True,
        scheduler: bool = False,
        kwok_nodes: int = 0,
        gpus_per_node: int = 8,
        fast_controllers: bool = False,
    ) -> None:
        self.options = Options(controllers, scheduler or kwok_nodes > 0, kwok_nodes, gpus_per_node, fast_controllers)
        self.folder = Path()
        """Certificates, data and logs; deleted at the end."""
        self.url = ""
        """The API server, for example https://127.0.0.1:40123."""
        self.kubeconfig = Path()
        """An administrator's access, by client certificate."""
        self.kubectl = ""
        """The path of a kubectl of the same version."""
        self._supervisor: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        machine.prepare_control_plane()
        with_kwok = [binaries.KWOK] if self.options.kwok_nodes else []
        built = binaries.ensure(cache_folder(), [*binaries.CONTROL_PLANE_MODULES, *with_kwok])
        self.kubectl = built.command("kubectl")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._start(built)
            except TimeoutError as error:
                self._stop()
                if attempt == ATTEMPTS or "address already in use" not in str(error):
                    raise
            except BaseException:
                self._stop()
                raise
            else:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def ca_file(self) -> Path:
        """The authority that signed the API server's certificate."""
        return self.folder / "pki" / "ca.crt"

    @property
    def client_certificate(self) -> tuple[Path, Path]:
        """The administrator's certificate and key."""
        return self.folder / "pki" / "admin.crt", self.folder / "pki" / "admin.key"

    def log(self, component: str) -> str:
        """What a component has written so far, for example of `kube-apiserver`."""
        path = self.folder / "log" / f"{component}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _start(self, built: binaries.Binaries) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="control-plane-"))
        client, peer, api_port = _free_ports(3)
        settings = controllers.Settings(
            built,
            self.folder,
            client,
            peer,
            api_port,
            controllers_share_identity=True,
            fast_controllers=self.options.fast_controllers,
        )
        self.url = settings.api_url
        self.kubeconfig = self.folder / "admin.kubeconfig"
        self._write_access(settings)
        self._supervise(self._plan(settings))
        api = Api(self.url, self.folder / "pki")
        wait_until(lambda: api.holds(ready), "the API server is ready", START_SECONDS, self._last_words)
        if self.options.controllers:
            check = has_default_service_account
            wait_until(lambda: api.holds(check), "the default service account exists", START_SECONDS, self._last_words)
        if self.options.kwok_nodes:
            gpu_nodes.set_number(api, self.options.kwok_nodes, self.options.gpus_per_node)
            nodes_ready = gpu_nodes.all_ready(self.options.kwok_nodes)
            wait_until(lambda: api.holds(nodes_ready), "kwok's nodes are Ready", START_SECONDS, self._last_words)
        api.close()

    def _write_access(self, settings: controllers.Settings) -> None:
        pki = self.folder / "pki"
        server = certificates.api_server(["127.0.0.1", controllers.KUBERNETES_SERVICE])
        users = [certificates.ADMIN, certificates.SCHEDULER]
        certificates.make(pki, [server, certificates.FRONT_PROXY, *users])
        for identity in users:
            path = self.folder / f"{identity.file}.kubeconfig"
            certificates.write_kubeconfig(path, settings.api_url, pki, identity, "control-plane")

    def _plan(self, settings: controllers.Settings) -> Plan:
        components = [controllers.etcd(settings), controllers.api_server(settings)]
        if self.options.controllers:
            components.append(controllers.controller_manager(settings))
        if self.options.scheduler:
            components.append(controllers.scheduler(settings))
        if self.options.kwok_nodes:
            components.append(controllers.kwok(settings))
        folder = str(self.folder)
        return Plan(folder, f"{folder}/log", f"{folder}/status.json", components, remove_at_end=folder)

    def _supervise(self, plan: Plan) -> None:
        path = self.folder / "plan.json"
        path.write_text(plan.to_json())
        with (self.folder / "supervisor.log").open("wb") as log:
            # The supervisor reads the pipe to its end, which comes when this process ends, however it ends.
            self._supervisor = subprocess.Popen(
                [sys.executable, str(SOURCES), "supervise", str(path), "--until-input-ends"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _stop(self) -> None:
        if self._supervisor is not None:
            assert self._supervisor.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._supervisor.stdin.close()
            self._supervisor.wait()
            self._supervisor = None
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _last_words(self) -> str:
        """The ends of all logs: the folder is gone when someone reads the error."""
        logs = [self.folder / "supervisor.log", *sorted((self.folder / "log").glob("*.log"))]
        ends = (f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs if log.exists())
        return "\n".join(ends)


def _free_ports(count: int) -> list[int]:
    """Ports that nothing uses now; all are held at once, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]
