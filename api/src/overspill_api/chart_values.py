"""Values of the Helm chart as types, from which ``values.schema.json`` is made: a value that is misspelt is refused.

The defaults stand in ``values.yaml`` and are not repeated here. Profiles have a module of their own.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from overspill_api.profile import Profile
from overspill_api.quantities import DNS_LABEL_PATTERN, Duration
from overspill_api.schema import Strict

Labels = dict[str, str]
PodObject = dict[str, Any]
Replicas = Annotated[int, Field(ge=0, le=100)]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Image(Strict):
    """Where an image comes from."""

    repository: Annotated[str, Field(min_length=1)]
    """Name with registry."""
    tag: str
    """Empty: the chart's appVersion."""
    digest: Annotated[str, Field(pattern="^(sha256:[0-9a-f]{64})?$")]
    """sha256:...; wins over the tag."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"]
    """Kubernetes' pull policy."""


class Images(Strict):
    """Images of the chart's own pods."""

    registry: Annotated[str, Field(pattern=r"^[^\s@]*$")]
    """Registry for all images, those of profiles as well; empty: as they are written."""

    operator: Image
    """The operator, also for the clean-up Job."""
    gateway: Image
    """The gateway."""


class CustomResourceDefinitions(Strict):
    """What happens to the CustomResourceDefinitions."""

    enabled: bool
    """Install and upgrade them with the release."""
    keep: bool
    """Leave them at uninstall."""


class CaBundle(Strict):
    """Certificates that operator and gateway trust instead of the system's."""

    config_map: str
    """ConfigMap with them."""
    secret_name: str
    """Secret with them, where no ConfigMap is named."""
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$")]
    """Key of the PEM file in it."""


class Autoscaling(Strict):
    """A HorizontalPodAutoscaler by CPU."""

    enabled: bool
    """Make one."""
    min_replicas: Annotated[int, Field(ge=1, le=1000)]
    """The fewest pods."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    """The most pods."""
    target_cpu_utilization_percentage: Annotated[int, Field(ge=1, le=1000, alias="targetCPUUtilizationPercentage")]
    """CPU that pods shall use on average, of what they request."""


class KeyPepper(Strict):
    """The pepper under which API keys are hashed."""

    existing_secret: str
    """Secret with a key pepper, made by you; empty: the operator makes one."""
    keep: bool
    """Leave the Secret at uninstall."""


class DisruptionBudget(Strict):
    """A PodDisruptionBudget."""

    enabled: bool
    """Make one."""
    max_unavailable: int | str
    """Pods that may be down at a time, or a percentage."""


class Component(Strict):
    """What operator and gateway have in common."""

    replicas: Replicas | None = None
    """Number of pods; null: left out."""
    log_level: LogLevel
    """Of the JSON log on standard error."""
    resources: dict[str, dict[str, str | int | float]]
    """Requests and limits, as in a pod."""
    extra_env: list[PodObject]
    """More environment variables, as in a pod."""
    pod_security_context: PodObject
    """securityContext of the pods; a field that is null is left out."""
    container_security_context: PodObject
    """securityContext of the container."""
    extra_volumes: list[PodObject]
    """More volumes, as in a pod."""
    extra_volume_mounts: list[PodObject]
    """Where they are mounted, as in a container."""
    pod_annotations: Labels
    """Annotations of the pods."""
    pod_labels: Labels
    """Labels of the pods."""
    node_selector: Labels
    """Labels of the nodes that fit."""
    tolerations: list[PodObject]
    """Taints to tolerate, as in a pod."""
    affinity: PodObject
    """Affinity, as in a pod."""
    topology_spread_constraints: list[PodObject]
    """Spreading, as in a pod."""
    priority_class_name: str
    """PriorityClass of the pods."""
    pod_disruption_budget: DisruptionBudget
    """Pods that may be down at a time."""


class DemandFrom(Strict):
    """Where the operator reads demand."""

    prometheus_url: Annotated[str, Field(alias="prometheusURL", pattern=r"^(https?://.+)?$")]
    """A Prometheus that scrapes the gateways' /metrics/demand; empty: the gateways' streams."""
    matchers: str
    """PromQL's matchers that only this release's gateways have; empty: namespace="<the release's>"."""


class Operator(Component):
    """The operator."""

    demand_from: DemandFrom
    """Where it reads what scaling goes by."""

    watch_namespaces: list[Annotated[str, Field(pattern=DNS_LABEL_PATTERN, max_length=63)]]
    """Namespaces of this release; empty: all."""


class GatewayService(Strict):
    """The Service that clients reach."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    """Kind of the Service."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """Port of the Service."""
    node_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port on every node; null: Kubernetes chooses."""
    annotations: Labels
    """Annotations of the Service."""


class GatewayTls(Strict):
    """TLS on the port that clients reach."""

    secret_name: str
    """Secret with tls.crt and tls.key, as cert-manager makes it; empty: plain HTTP."""


class GatewayCors(Strict):
    """Browsers' pages of other origins."""

    origins: list[Annotated[str, Field(pattern=r"^(\*|https?://[^\s/,]+)$")]]
    """Origins whose pages may read answers, or *; empty: none."""


class GatewayLedger(Strict):
    """The file in which a gateway keeps what budgets have spent."""

    enabled: bool
    """Keep one; without it a restarted gateway begins its budgets anew."""
    existing_claim: str
    """PersistentVolumeClaim for it, with one replica only; empty: it lives as long as the pod."""
    size_limit: str
    """The most that it may take where it lives as long as the pod."""


class Gateway(Component):
    """The gateway."""

    autoscaling: Autoscaling
    """A HorizontalPodAutoscaler by CPU."""
    url: Annotated[str, Field(pattern=r"^(https?://[^\s?#]+)?$")]
    """Where clients reach it, without /v1; empty: the Service's name."""
    service: GatewayService
    """The Service that clients reach."""
    drain_seconds: Annotated[int, Field(ge=1, le=86400)]
    """The longest that a gateway going away may finish its requests."""
    tls: GatewayTls
    """TLS on the port that clients reach."""
    cors: GatewayCors
    """Browsers' pages of other origins."""
    ledger: GatewayLedger
    """The file in which a gateway keeps what budgets have spent."""


class Cleanup(Strict):
    """The Job at uninstall."""

    enabled: bool
    """Remove engines, compiled documents and the Lease."""


class ServiceMonitor(Strict):
    """ServiceMonitors of the Prometheus operator."""

    enabled: bool
    """Make them."""
    interval: Duration
    """Time between two scrapes."""
    labels: Labels
    """Labels by which your Prometheus finds them."""


class Metrics(Strict):
    """Who reads metrics."""

    service_monitor: ServiceMonitor
    """ServiceMonitors of the Prometheus operator."""


class EngineNetworkPolicy(Strict):
    """NetworkPolicies of engines."""

    enabled: bool
    """Have the operator make one beside each engine."""
    from_: Annotated[list[Labels], Field(alias="from")]
    """Namespaces that may reach engines as well, by label."""


class NetworkPolicy(Strict):
    """NetworkPolicies for incoming connections."""

    engines: EngineNetworkPolicy
    """NetworkPolicies of engines."""
    enabled: bool
    """Make them."""
    metrics_from: list[Labels]
    """Namespaces that may scrape metrics, by label."""


class ChartValues(Strict):
    """Values of the chart overspill."""

    fullname_override: Annotated[str, Field(max_length=40)]
    """Replaces the release's name in front of all names."""
    image_pull_secrets: list[PodObject]
    """Secrets with registry credentials."""
    common_labels: Labels
    """Labels on all objects."""
    common_annotations: Labels
    """Annotations on Deployments, Services and the HorizontalPodAutoscaler."""
    ca_bundle: CaBundle
    """Certificates that operator and gateway trust instead of the system's."""
    images: Images
    """Images of the chart's own pods."""
    crds: CustomResourceDefinitions
    """What happens to the CustomResourceDefinitions."""
    key_pepper: KeyPepper
    """The pepper under which API keys are hashed."""
    operator: Operator
    """The operator."""
    gateway: Gateway
    """The gateway."""
    cleanup: Cleanup
    """The Job at uninstall."""
    metrics: Metrics
    """Who reads metrics."""
    network_policy: NetworkPolicy
    """NetworkPolicies for incoming connections."""
    profiles: dict[str, Profile | None]
    """Hardware profiles by name; null takes one away."""
    global_: Annotated[dict[str, Any], Field(alias="global")] = {}
    """Helm's own, where this chart is part of another."""


def values_schema() -> dict[str, Any]:
    """Write the JSON schema that Helm checks values against."""
    schema: dict[str, Any] = _plain(ChartValues.model_json_schema(by_alias=True))
    profile = schema["definitions"]["Profile"]
    profile["required"] = ["image"]  # a file for one machine does without it, a pod does not
    del profile["properties"]["image"]["default"]
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema}


def _plain(schema: Any) -> Any:
    """Leave out what only Kubernetes reads, titles, and line breaks of descriptions; definitions by draft 7's name."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema.replace("#/$defs/", "#/definitions/") if isinstance(schema, str) else schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            result["definitions" if key == "$defs" else key] = {name: _plain(part) for name, part in value.items()}
        elif key == "description":
            result[key] = " ".join(value.replace("``", "").split())
        elif not key.startswith("x-kubernetes-") and not (key == "title" and isinstance(value, str)):
            result[key] = _plain(value)
    return result
