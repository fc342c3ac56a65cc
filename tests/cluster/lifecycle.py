"""Starts and ends a whole cluster. What it consists of is told elsewhere, and so is whether it is well.

The cluster is one process tree in PID, mount and network namespaces of its own. Ending its first process
ends everything; what can outlive that are files and empty cgroups, and both are found by name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster import certificates, cgroups, controllers, dns, gpu_nodes, machine, network, node, processes
from cluster.api import Api, has_condition, has_default_service_account, ready, wait_until
from cluster.binaries import Binaries
from cluster.files import exclusive, write_whole
from cluster.health import NotRunningError, Options, access, options_of, trouble
from cluster.health import components as running_components
from cluster.image_store import CommandImage
from cluster.places import SOURCES, Places
from cluster.plan import MARK, Component, Plan

API_PORT, GATEWAY_PORT, GATEWAY_NODE_PORT = 16443, 8080, 30080
START_SECONDS = 120.0
REPAIR_SECONDS = 15.0
"""How long a running cluster gets to be well again, by the supervisor's restarts, before it is built anew."""


@dataclass(frozen=True)
class Wanted:
    """What the caller of `up` insists on; None leaves it as it is."""

    api_port: int | None = None
    gateway_port: int | None = None
    fast_controllers: bool | None = None

    def over(self, options: Options) -> Options:
        """Options with these in their place."""
        return Options(
            self.api_port or options.api_port,
            self.gateway_port or options.gateway_port,
            options.fast_controllers if self.fast_controllers is None else self.fast_controllers,
        )


def up(places: Places, binaries: Binaries, wanted: Wanted) -> bool:
    """Make the cluster run. True if it was started anew, False if it ran."""
    with exclusive(places.lock, f"cluster {places.name}: another start or end of it is under way; waiting"):
        existing = options_of(places)
        options = wanted.over(existing or Options())
        if processes.of_cluster(places.state):
            if existing is not None and _well_again(places) and _ports(options) == _ports(existing):
                _adjust(places, binaries, existing, options)
                return False
            reason = trouble(places) or "other ports are wanted"
            print(f"cluster {places.name}: {reason}: building it anew, its contents are lost", flush=True)
        _clear(places)
        try:
            _start(places, binaries, options, wanted)
        except BaseException:
            processes.end_all(places.state)
            cgroups.remove(places.cgroup)
            raise
        return True


def down(places: Places) -> int:
    """End the cluster and remove all of it but logs and images; returns how many processes there were."""
    with exclusive(places.lock, f"cluster {places.name}: another start or end of it is under way; waiting"):
        return _clear(places)


def clean(cache: Path) -> int:
    """Delete all that clusters, images, builds and tests keep in the cache; returns its size in bytes.

    Raises RuntimeError while a cluster runs: its images would vanish under it.
    """
    for state in sorted(path for path in (cache / "clusters").glob("*") if path.is_dir()):
        if processes.of_cluster(state):
            raise RuntimeError(f"cluster {state.name} runs: end it first, with `down --name {state.name}`")
    _refuse_mounts(cache)
    ran = subprocess.run(["du", "-sxk", str(cache)], capture_output=True, text=True, check=False)
    shutil.rmtree(cache, ignore_errors=True)
    if cache.exists():
        raise RuntimeError(f"not all of {cache} could be deleted: as root it can")
    return int(ran.stdout.split()[0]) * 1024 if ran.stdout else 0


def _ports(options: Options) -> tuple[int, int]:
    return options.api_port, options.gateway_port


def _well_again(places: Places) -> bool:
    """The supervisor starts again what has died: give it the time."""
    deadline = time.monotonic() + REPAIR_SECONDS
    while problem := trouble(places):
        if time.monotonic() > deadline or "gone" in problem or "damaged" in problem:
            return False
        time.sleep(0.2)
    return True


def _adjust(places: Places, binaries: Binaries, existing: Options, options: Options) -> None:
    """Change a running cluster's controllers and DNS where they differ; nothing else is touched."""
    plan = Plan.from_json(places.plan.read_text())
    coredns = CommandImage("coredns", Path(binaries.command("coredns")))
    if coredns.argument in plan.setup[-1]:  # otherwise it was started from other binaries, and lacks this image
        with contextlib.closing(Api(access(places).api_url, places.pki)) as api:
            _apply_dns(api, coredns)
    if existing.fast_controllers == options.fast_controllers:
        return
    settings = _settings(places, binaries, options)
    changed = {component.name: component for component in _controllers(settings)}
    components = [changed.get(component.name, component) for component in plan.components]
    write_whole(places.state / "options.json", json.dumps(asdict(options)))
    _change_plan(places, dataclasses.replace(plan, components=components))


def _clear(places: Places) -> int:
    ended = processes.end_all(places.state)
    cgroups.remove(places.cgroup)
    if places.state.is_dir():
        _refuse_mounts(places.state)
        for entry in places.state.iterdir():
            if entry == places.logs:
                continue
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return ended


def _refuse_mounts(folder: Path) -> None:
    """The cluster mounts only in its own namespace: a mount here is someone else's, and not to be deleted."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if inside := [point for point in points if point.startswith(f"{folder}/")]:
        raise RuntimeError(f"something is mounted on {inside[0]}, not by this cluster: unmount it, then try again")


def _settings(places: Places, binaries: Binaries, options: Options) -> controllers.Settings:
    return controllers.Settings(
        binaries,
        places.state,
        bind_address="0.0.0.0",
        advertised=True,
        fast_controllers=options.fast_controllers,
    )


def _controllers(settings: controllers.Settings) -> list[Component]:
    return [controllers.controller_manager(settings), controllers.scheduler(settings)]


def _start(places: Places, binaries: Binaries, options: Options, wanted: Wanted) -> None:
    shutil.rmtree(places.logs, ignore_errors=True)
    places.logs.mkdir(parents=True)
    places.image_store.mkdir(parents=True, exist_ok=True)
    cgroups.create(places.cgroup)
    images = {name: CommandImage(name, Path(binaries.command(name))) for name in ("pause", "coredns")}
    with (
        listen(wanted.api_port, options.api_port or API_PORT) as api_socket,
        listen(wanted.gateway_port, options.gateway_port or GATEWAY_PORT) as gateway_socket,
    ):
        options = Options(api_socket.getsockname()[1], gateway_socket.getsockname()[1], options.fast_controllers)
        settings = _settings(places, binaries, options)
        _write_access(places, options)
        cni_folder = machine.cni_folder()
        assert cni_folder is not None, "machine.prepare_cluster comes first"
        node.configure(places, images["pause"].reference, cni_folder)
        forward = Component(
            "forward",
            [
                binaries.command("forward"),
                f"{api_socket.fileno()}=127.0.0.1:6443",
                f"{gateway_socket.fileno()}={controllers.NODE_ADDRESS}:{GATEWAY_NODE_PORT}",
            ],
            descriptors=[api_socket.fileno(), gateway_socket.fileno()],
        )
        components = [controllers.etcd(settings), controllers.api_server(settings), *_controllers(settings)]
        components += [*node.components(places, binaries, settings), forward]
        store = [sys.executable, str(SOURCES), "prepare-store", str(places.image_store), str(places.state)]
        store += [image.argument for image in images.values()]
        setup = [*network.setup_commands(places.state), store]
        plan = Plan(str(places.state), str(places.logs), str(places.status), components, setup)
        write_whole(places.plan, plan.to_json())
        write_whole(places.state / "options.json", json.dumps(asdict(options)))
        supervisor = _launch(places, forward.descriptors)
    _wait_until_up(places, supervisor, images["coredns"])
    names = {component.name for component in components}
    wait_until(
        lambda: {name for name, component in running_components(places).items() if component["pid"]} >= names,
        "every component runs",
        START_SECONDS,
        lambda: _log_ends(places),
    )


def listen(required: int | None, preferred: int = 0) -> socket.socket:
    """A socket on the host's loopback, handed to the cluster: at no time can another process take its port.

    Without a required port it is the preferred one, or a free one if that is taken.
    """
    reason: OSError | None = None
    for port in [required] if required else [preferred, 0]:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
            listening.listen(1024)
        except OSError as error:
            listening.close()
            reason = error
        else:
            return listening
    raise RuntimeError(f"port {required} of 127.0.0.1 cannot be had ({reason}): choose another") from reason


def _write_access(places: Places, options: Options) -> None:
    addresses = ["127.0.0.1", controllers.NODE_ADDRESS, controllers.KUBERNETES_SERVICE]
    users = [certificates.ADMIN, certificates.CONTROLLER_MANAGER, certificates.SCHEDULER, certificates.PROXY]
    users.append(certificates.kubelet(node.NAME, controllers.NODE_ADDRESS))
    certificates.make(places.pki, [certificates.api_server(addresses), certificates.FRONT_PROXY, *users])
    inside, outside = "https://127.0.0.1:6443", f"https://127.0.0.1:{options.api_port}"
    for identity in users:
        path = places.state / f"{identity.file}.kubeconfig"
        certificates.write_kubeconfig(path, inside, places.pki, identity, places.name)
    certificates.write_kubeconfig(places.kubeconfig, outside, places.pki, certificates.ADMIN, places.name)


def _launch(places: Places, descriptors: list[int]) -> subprocess.Popen[bytes]:
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    with (places.logs / "supervisor.log").open("wb") as log:
        return subprocess.Popen(
            [*namespaces, sys.executable, str(SOURCES), "supervise", str(places.plan)],
            # kubelet and containerd call runc, mount, nft and others by name.
            env={
                **os.environ,
                MARK: str(places.state),
                "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin",
            },
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )


def _wait_until_up(places: Places, supervisor: subprocess.Popen[bytes], coredns: CommandImage) -> None:
    api = Api(access(places).api_url, places.pki)

    def is_ready() -> bool:
        if supervisor.poll() is not None:
            raise RuntimeError(f"the cluster's first process ended:\n{_log_ends(places)}")
        return api.holds(ready)

    hint = lambda: _log_ends(places)  # noqa: E731
    wait_until(is_ready, "the API server is ready", START_SECONDS, hint)
    _apply_dns(api, coredns)
    checks = {
        "the node is Ready": has_condition(f"/api/v1/nodes/{node.NAME}", "Ready"),
        "the default service account exists": has_default_service_account,
        "DNS is available": has_condition(dns.DEPLOYMENT_PATH, "Available"),
    }
    for what, check in checks.items():
        wait_until(lambda check=check: api.holds(check), what, START_SECONDS, hint)  # type: ignore[misc]
    api.close()


def _apply_dns(api: Api, coredns: CommandImage) -> None:
    for path, manifest in dns.manifests(coredns.reference):
        api.apply(path, manifest)


def _log_ends(places: Places) -> str:
    logs = sorted(places.logs.glob("*.log"))
    return "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-1000:]}" for log in logs)


def set_gpu_nodes(places: Places, binaries: Binaries, nodes: int, gpus_per_node: int) -> None:
    """Make it this many of kwok's nodes, tainted, so that only pods that tolerate it land there."""
    _run_kwok(places, binaries)
    api = Api(access(places).api_url, places.pki)
    gpu_nodes.set_number(api, nodes, gpus_per_node, tainted=True)
    check = gpu_nodes.all_ready(nodes)
    wait_until(lambda: api.holds(check), "kwok's nodes are Ready", START_SECONDS, lambda: _log_ends(places))
    api.close()


def _run_kwok(places: Places, binaries: Binaries) -> None:
    """Add kwok to what a cluster runs, where it is not there yet."""
    options = options_of(places)
    if options is None:
        raise NotRunningError(places.name)
    plan = Plan.from_json(places.plan.read_text())
    if not any(component.name == "kwok" for component in plan.components):
        kwok = controllers.kwok(_settings(places, binaries, options))
        _change_plan(places, dataclasses.replace(plan, components=[*plan.components, kwok]))


def _change_plan(places: Places, plan: Plan) -> None:
    """Let a running cluster's supervisor start, end and change what the new plan says."""
    write_whole(places.plan, plan.to_json())
    first = processes.first_process(places.state)
    if first is not None:
        processes.send(first, signal.SIGHUP)
