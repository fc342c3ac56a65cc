"""What Overspill costs when nobody asks: CPU and memory of operator and gateway, from the kubelet's own counters."""

import time

from e2e import installation
from e2e.kubernetes_cli import Cluster, wait_until

NODE = "node0"
CPU = "container_cpu_usage_seconds_total"
MEMORY = "container_memory_working_set_bytes"


def measure(cluster: Cluster, seconds: float = 60.0) -> dict[str, float]:
    """CPU milliseconds a second of all pods of the release together, and MiB of each part."""
    first_at, first = _read(cluster, CPU, newer_than=0.0)
    time.sleep(seconds)
    # The kubelet reads its counters every 10 to 15 s and stamps them: the stamps are the clock here.
    last_at, last = _read(cluster, CPU, newer_than=first_at + seconds / 2)
    _, memory = _read(cluster, MEMORY, newer_than=0.0)
    spent = sum(last.values()) - sum(first.values())
    return {
        "cpu_ms_per_s": round(spent / (last_at - first_at) * 1000, 2),
        **{f"{name}_mib": round(value / 2**20, 1) for name, value in memory.items()},
    }


def _read(cluster: Cluster, metric: str, newer_than: float) -> tuple[float, dict[str, float]]:
    def read() -> tuple[float, dict[str, float]] | None:
        text = cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/metrics/cadvisor")
        values: dict[str, float] = {}
        stamps: list[float] = []
        for line in text.splitlines():
            if not line.startswith(metric + "{") or f'namespace="{installation.RELEASE_NAMESPACE}"' not in line:
                continue
            labels, value, stamp = line.rsplit(" ", 2)
            if 'container="operator"' in labels or 'container="gateway"' in labels:
                name = "operator" if 'container="operator"' in labels else "gateway"
                values[name] = values.get(name, 0.0) + float(value)
                stamps.append(float(stamp) / 1000)
        found = len(values) == 2 and min(stamps) > newer_than
        return (sum(stamps) / len(stamps), values) if found else None

    found = wait_until(f"the kubelet has new figures of {metric}", read, seconds=60)
    assert found is not None
    return found
