"""Failures and waits when an engine is killed under load, by kind of kill."""

from e2e.killing import KINDS, killed_under_load
from e2e.kubernetes_cli import Cluster


def measure(cluster: Cluster, key: str) -> dict[str, dict[str, object]]:
    """With two replicas, and with one and a hosted API; plain and streamed; each kind of kill."""
    results: dict[str, dict[str, object]] = {}
    for replicas, hosted in ((2, False), (1, True)):
        for streamed in (False, True):
            for kind, kill in KINDS.items():
                outcome = killed_under_load(cluster, key, kill, replicas=replicas, hosted=hosted, streamed=streamed)
                label = f"{kind}_{replicas}_replicas{'_hosted' if hosted else ''}{'_streams' if streamed else ''}"
                results[label] = {
                    "requests": len(outcome.seconds) + len(outcome.failures),
                    "failed": len(outcome.failures),
                    "first_failures": outcome.failures[:3],
                    "longest_extra_wait_s": round(outcome.longest_extra_wait_seconds, 3),
                    "streams_cut_with_error_event": outcome.cut_with_error_event,
                    "streams_cut_silently": outcome.cut_silently,
                }
    return results
