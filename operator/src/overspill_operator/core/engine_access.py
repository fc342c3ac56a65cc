"""Who may reach an engine: a NetworkPolicy that lets its release's gateways and operator in, and nobody else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from overspill_api import names

NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""Label that Kubernetes itself gives every namespace."""


@dataclass(frozen=True, slots=True)
class EngineAccess:
    """Who is let in."""

    release_namespace: str
    """Where gateways and operator are."""
    others: tuple[Mapping[str, str], ...] = ()
    """Labels of further namespaces, such as Prometheus' own."""

    def spec(self, engine: Mapping[str, str]) -> dict[str, Any]:
        """The NetworkPolicy's spec. ``engine``: labels of the engine's pods.

        A kubelet's probes come from its node, which no policy keeps out.
        """
        release = {
            "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: self.release_namespace}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "overspill"}},
        }
        others = [{"namespaceSelector": {"matchLabels": dict(labels)}} for labels in self.others]
        return {
            "podSelector": {"matchLabels": dict(engine)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [release, *others], "ports": [{"port": names.ENGINE_PORT, "protocol": "TCP"}]}],
        }
