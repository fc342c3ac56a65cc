"""Who may reach an engine: a NetworkPolicy that lets its release's gateways in, and nobody else.

And whether it asks for its key, which a gateway of a version from before keys would not send.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from overspill_api import names

NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""Label that Kubernetes itself gives every namespace."""
GATEWAY = {"app.kubernetes.io/part-of": "overspill", "app.kubernetes.io/component": "gateway"}
"""Labels of the gateways' pods, by the chart."""


class KeySenders(StrEnum):
    """Which gateways send replicas the keys that they have been given."""

    ALL = "All"
    """Every one that there is says so."""
    UNKNOWN = "Unknown"
    """There is no gateway, or one has not been heard."""
    NOT_ALL = "NotAll"
    """One does not say so: it is of a version from before keys."""


def asks_for_key(live_engine: Mapping[str, Any] | None, senders: KeySenders) -> bool:
    """Whether the engine shall ask for its key.

    One that does goes on doing so, whoever comes. One that does not begins once every gateway is known to send keys:
    until then an upgrade's old gateways would get 401 from it. A new one asks from the start unless such a gateway is
    there.
    """
    if live_engine is None:
        return senders is not KeySenders.NOT_ALL
    template = live_engine.get("spec", {}).get("template", {}).get("metadata", {})
    has_key = names.ANNOTATION_ENGINE_KEY in (template.get("annotations") or {})
    return has_key or senders is KeySenders.ALL


@dataclass(frozen=True, slots=True)
class EngineAccess:
    """Who is let in."""

    release_namespace: str
    """Where the gateways are."""
    others: tuple[Mapping[str, str], ...] = ()
    """Labels of further namespaces, such as Prometheus' own."""

    def spec(self, engine: Mapping[str, str]) -> dict[str, Any]:
        """The NetworkPolicy's spec. ``engine``: labels of the engine's pods.

        A kubelet's probes come from its node, which no policy keeps out.
        """
        release = {
            "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: self.release_namespace}},
            "podSelector": {"matchLabels": GATEWAY},
        }
        others = [{"namespaceSelector": {"matchLabels": dict(labels)}} for labels in self.others]
        return {
            "podSelector": {"matchLabels": dict(engine)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [release, *others], "ports": [{"port": names.ENGINE_PORT, "protocol": "TCP"}]}],
        }
