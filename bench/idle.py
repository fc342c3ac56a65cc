"""What Overspill costs when nobody asks: CPU and memory of operator and gateway, from the kubelet's own counters."""

import json
import time
from dataclasses import dataclass
from datetime import datetime

from e2e import installation
from e2e.kubernetes_cli import Cluster, wait_until

NODE = "node0"
PARTS = ("operator", "gateway")


@dataclass(frozen=True)
class Reading:
    """The kubelet's counters of one part at a time."""

    at: float
    """Unix seconds, to the second."""
    cpu_seconds: float
    """CPU that it has used since it was started."""
    memory_mib: float
    """Its working set."""


def measure(cluster: Cluster, seconds: float = 60.0) -> dict[str, float]:
    """CPU milliseconds a second of operator and gateway, each and together, and MiB of each."""
    time.sleep(5)  # what was just applied is settled
    began = time.time()
    first = {part: _read(cluster, part, newer_than=began) for part in PARTS}
    time.sleep(seconds)
    last = {part: _read(cluster, part, newer_than=first[part].at + seconds) for part in PARTS}
    spent = {
        part: (last[part].cpu_seconds - first[part].cpu_seconds) / (last[part].at - first[part].at) * 1000
        for part in PARTS
    }
    return {
        "cpu_ms_per_s": round(sum(spent.values()), 2),
        **{f"{part}_cpu_ms_per_s": round(value, 2) for part, value in spent.items()},
        **{f"{part}_mib": round(last[part].memory_mib, 1) for part in PARTS},
    }


def _read(cluster: Cluster, part: str, newer_than: float) -> Reading:
    def read() -> Reading | None:
        summary = json.loads(cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/stats/summary"))
        for pod in summary["pods"]:
            if pod["podRef"]["namespace"] != installation.RELEASE_NAMESPACE:
                continue
            if not pod["podRef"]["name"].startswith(f"overspill-{part}-") or "cpu" not in pod:
                continue
            at = datetime.fromisoformat(pod["cpu"]["time"]).timestamp()
            if at > newer_than:
                memory = pod["memory"]["workingSetBytes"] / 2**20
                return Reading(at, pod["cpu"]["usageCoreNanoSeconds"] / 1e9, memory)
        return None

    found = wait_until(f"the kubelet has new figures of the {part}", read, seconds=60)
    assert found is not None
    return found
