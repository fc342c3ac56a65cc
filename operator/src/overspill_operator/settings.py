"""What the environment says: names, places, the log level. Read once at the start."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from overspill_api.log_levels import read_log_level


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the process."""

    pod_name: str
    """Who this is, in the Lease and in Events."""
    namespace: str
    """The release's namespace: compiled documents, the Lease and the gateways are there."""
    profiles: Path
    """File with hardware profiles."""
    gateway_url: str
    """Base of ``status.url``, without ``/v1``."""
    gateway_admin_service: str
    """Headless Service of the gateways' admin port."""
    gateway_addresses: tuple[str, ...]
    """``host:port`` of gateways outside the cluster's Services, for an operator that runs on a workstation."""
    deployment: str
    """This operator's own Deployment, in that namespace; empty: it has none."""
    pepper_secret: str
    """Secret with the pepper, to be made where it is missing; empty: somebody else makes it."""
    watched_namespaces: tuple[str, ...]
    """Namespaces of this release; none: all."""
    engine_network_policies: bool
    """Whether engines get a NetworkPolicy."""
    engine_metrics_from: tuple[Mapping[str, str], ...]
    """Labels of namespaces that may reach engines as well, such as Prometheus' own."""
    prometheus_url: str
    """Prometheus that demand is read from; empty: from the gateways' streams."""
    prometheus_matchers: str
    """PromQL's matchers of the series of this release's gateways, such as ``namespace="overspill"``; empty: all."""
    port: int
    """Of /healthz, /readyz and /metrics."""
    log_level: str
    """Of the log."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Settings from environment variables; see operator/README.md. Raises ValueError for one that is none."""
        namespace = environment.get("POD_NAMESPACE") or "default"
        port = environment.get("OVERSPILL_PORT") or "8081"
        if not port.isdigit():
            raise ValueError(f"OVERSPILL_PORT is {port!r}; it must be a TCP port such as 8081")
        log_level = environment.get("OVERSPILL_LOG_LEVEL") or "INFO"
        try:
            log_level = read_log_level(log_level)
        except ValueError as error:
            raise ValueError(f"OVERSPILL_LOG_LEVEL is {log_level!r}; {error}") from None
        return cls(
            pod_name=environment.get("POD_NAME") or socket.gethostname(),
            namespace=namespace,
            profiles=Path(environment.get("OVERSPILL_PROFILES") or "/etc/overspill/profiles.yaml"),
            gateway_url=(environment.get("OVERSPILL_GATEWAY_URL") or f"http://overspill-gateway.{namespace}").rstrip(
                "/"
            ),
            gateway_admin_service=environment.get("OVERSPILL_GATEWAY_ADMIN_SERVICE") or "overspill-gateway-admin",
            gateway_addresses=tuple(filter(None, environment.get("OVERSPILL_GATEWAY_ADDRESSES", "").split(","))),
            deployment=environment.get("OVERSPILL_DEPLOYMENT", ""),
            pepper_secret=environment.get("OVERSPILL_MAKE_KEY_PEPPER", ""),
            watched_namespaces=_namespaces(environment.get("OVERSPILL_WATCH_NAMESPACES", "")),
            engine_network_policies=_switch(environment, "OVERSPILL_ENGINE_NETWORK_POLICIES"),
            engine_metrics_from=_label_sets(environment.get("OVERSPILL_ENGINE_METRICS_FROM") or "[]"),
            prometheus_url=_url(environment.get("OVERSPILL_PROMETHEUS_URL", "")),
            prometheus_matchers=environment.get("OVERSPILL_PROMETHEUS_MATCHERS", "").strip(", "),
            port=int(port),
            log_level=log_level,
        )


def _namespaces(text: str) -> tuple[str, ...]:
    return tuple(sorted({part.strip() for part in text.split(",") if part.strip()}))


def _url(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise ValueError("OVERSPILL_PROMETHEUS_URL is no URL; write one such as http://prometheus.monitoring:9090")
    return text


def _switch(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name) or "false"
    if text not in ("true", "false"):
        raise ValueError(f"{name} is {text!r}; write true or false")
    return text == "true"


def _label_sets(text: str) -> tuple[Mapping[str, str], ...]:
    try:
        sets = json.loads(text)
    except ValueError:
        sets = None
    if not isinstance(sets, list) or not all(isinstance(labels, dict) for labels in sets):
        raise ValueError(f"OVERSPILL_ENGINE_METRICS_FROM is {text!r}; write a JSON list of labels of namespaces")
    return tuple(sets)
