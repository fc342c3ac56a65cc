"""How a cluster is reached and whether it is well, seen from the host. Nothing is changed here."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from cluster import dns, node, processes
from cluster.api import Api, has_condition, ready
from cluster.places import Places
from cluster.supervisor import QUICK_FAILURE_SECONDS

QUICK_FAILURES_MAX = 3
"""A component that fails this often, each time soon after its start, is not going to run."""


class NotRunningError(Exception):
    """There is no such cluster."""

    def __init__(self, name: str) -> None:
        super().__init__(f"cluster {name} does not run: start it with `python3 tests/cluster up --name {name}`")


@dataclass(frozen=True)
class Options:
    """What can be chosen for a cluster. A value is kept until `up` is told another."""

    api_port: int = 0
    """Port on the host's loopback; 0: 16443, or a free one if that is taken."""
    gateway_port: int = 0
    """Port on the host's loopback that leads to NodePort 30080; 0: 8080, or a free one."""
    fast_controllers: bool = False
    """See `controllers.Settings`."""


@dataclass(frozen=True)
class Access:
    """How the host reaches a running cluster."""

    kubeconfig: Path
    api_url: str
    gateway_url: str
    """Leads to NodePort 30080, whatever serves there."""


def options_of(places: Places) -> Options | None:
    """The options of the cluster that runs or ran; None without one."""
    try:
        return Options(**json.loads((places.state / "options.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def access(places: Places) -> Access:
    """Addresses and kubeconfig of a cluster that has been started."""
    options = options_of(places)
    if options is None:
        raise NotRunningError(places.name)
    return Access(
        places.kubeconfig,
        f"https://127.0.0.1:{options.api_port}",
        f"http://127.0.0.1:{options.gateway_port}",
    )


def components(places: Places) -> dict[str, dict[str, int | None]]:
    """What the supervisor says: pid inside (None: stopped), number of starts and last exit status by name."""
    try:
        status: dict[str, dict[str, int | None]] = json.loads(places.status.read_text())
    except (OSError, ValueError):
        return {}
    return status


def _keeps_failing(component: dict[str, int | None]) -> bool:
    age = time.time() - (component.get("startedAt") or 0)
    return (component.get("quickFailures") or 0) >= QUICK_FAILURES_MAX and age < QUICK_FAILURE_SECONDS


def trouble(places: Places) -> str:
    """What is wrong with a cluster, seen from the host; empty when nothing is."""
    if processes.first_process(places.state) is None:
        return "its first process is gone"
    status = components(places)
    try:
        api = Api(access(places).api_url, places.pki)
    except (OSError, ValueError, NotRunningError):
        return "its state folder is damaged"
    if not status or not places.kubeconfig.exists():
        return "its state folder is damaged"
    if stopped := [name for name, component in status.items() if component["pid"] is None]:
        return f"not running: {', '.join(stopped)}"
    if failing := [name for name, component in status.items() if _keeps_failing(component)]:
        return f"starts and fails again and again: {', '.join(failing)}"
    checks = {
        "the API server is not ready": ready,
        "its node is not Ready": has_condition(f"/api/v1/nodes/{node.NAME}", "Ready"),
        "its DNS is not available": has_condition(dns.DEPLOYMENT_PATH, "Available"),
    }
    found = next((what for what, check in checks.items() if not api.holds(check)), "")
    api.close()
    return found
