"""The engine's pod template: vLLM, its probes, drain, volumes and confinement. Not the objects around it."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from overspill_api.modelroute import SelfHosted
from overspill_api.names import ENGINE_CONTAINER, ENGINE_KEY, ENGINE_PORT
from overspill_api.profile import Profile
from overspill_operator.core import sources
from overspill_operator.core.engine_options import misused_template
from overspill_operator.core.pod_merge import merge
from overspill_operator.core.reserved_options import VLLM_COMMAND
from overspill_operator.core.vllm_arguments import EXIT_SECONDS, drain_seconds, engine_arguments, gpus

ENDPOINT_REMOVAL_SECONDS = 3
"""Slept before SIGTERM, so that gateways have stopped sending: an endpoint vanishes within a second, three is calm."""

STARTUP_PROBE_PERIOD_SECONDS = 2
"""Short, so that Kubernetes' own word on readiness is not late; gateways find out by themselves."""

EVERY_ADDRESS = "::"
"""By default vLLM listens on IPv4 alone, and in a cluster of IPv6 nobody would reach it. Its socket for ``::`` takes
both families; on nodes whose kernel has no IPv6 at all, ``--host=0.0.0.0`` in the profile's args takes its place."""


class ReservedError(ValueError):
    """The pod template takes the engine from its gateways; says how, and what mends it."""


def pod_template(
    self_hosted: SelfHosted,
    profile: Profile,
    *,
    model: str,
    claim: str | None,
    labels: Mapping[str, str],
    served: str | None = None,
    key_secret: str | None = None,
    first_token_seconds: float | None = None,
) -> dict[str, Any]:
    """The template with ``podTemplate`` merged over it; raises MergeError where that has another form.

    ``claim`` is the cache's PersistentVolumeClaim, ``model`` the name that the engine serves under, ``served`` the one
    that gateways ask for (see ``served_model``; default the same). ``key_secret``: the Secret with the engine's key.
    ``first_token_seconds``: the route's target.
    """
    source = sources.resolve(self_hosted.source)
    container: dict[str, Any] = {
        "name": ENGINE_CONTAINER,
        "image": profile.image,
        "imagePullPolicy": profile.image_pull_policy,
        "command": list(profile.command),
        "args": engine_arguments(
            self_hosted,
            profile,
            model=model,
            served=served or model,
            port=ENGINE_PORT,
            host=EVERY_ADDRESS if tuple(profile.command) == VLLM_COMMAND else None,
            first_token_seconds=first_token_seconds,
        ),
        "env": [*_environment(self_hosted, profile, caches=claim is not None), *_key_variable(key_secret)],
        "ports": [{"name": "http", "containerPort": ENGINE_PORT, "protocol": "TCP"}],
        "resources": _resources(self_hosted, profile),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": profile.read_only_root_filesystem,
        },
        "volumeMounts": _mounts(source, claim),
        "lifecycle": {"preStop": {"sleep": {"seconds": ENDPOINT_REMOVAL_SECONDS}}},
        **_probes(profile),
    }
    if self_hosted.source_secret_name:
        container["envFrom"] = [{"secretRef": {"name": self_hosted.source_secret_name}}]
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": ENDPOINT_REMOVAL_SECONDS + drain_seconds(profile) + EXIT_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            **_user(profile),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": _volumes(profile, source, claim),
        **_placement(profile),
    }
    template = {"metadata": {"labels": dict(labels)}, "spec": pod}
    return merge(template, self_hosted.pod_template, "spec.selfHosted.podTemplate")


def check_template(made: Mapping[str, Any], merged: Mapping[str, Any]) -> None:
    """Raise ReservedError where a pod template over the generated one (``made``) takes the engine from its gateways."""
    before, after = _engine(made), _engine(merged)
    problems = list(misused_template(before, after)) if after else []
    if problems:
        place = f"spec.selfHosted.podTemplate.spec.containers[name={ENGINE_CONTAINER}]"
        raise ReservedError(" ".join(f"{place}.{problem}." for problem in problems))


def _engine(template: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = (template.get("spec") or {}).get("containers") or ()
    named = (entry for entry in containers if isinstance(entry, Mapping) and entry.get("name") == ENGINE_CONTAINER)
    return next(named, {})


def _user(profile: Profile) -> dict[str, Any]:
    """User and groups; none of them where the namespace chooses, as on OpenShift."""
    user = profile.run_as_user
    if user is None:
        return {}
    return {"runAsUser": user, "runAsGroup": user, "fsGroup": user, "fsGroupChangePolicy": "OnRootMismatch"}


def _resources(self_hosted: SelfHosted, profile: Profile) -> dict[str, dict[str, str]]:
    resources = {kind: dict(amounts) for kind, amounts in profile.resources.items()}
    if profile.gpus is not None:
        amount = str(gpus(self_hosted, profile))
        # An extended resource cannot be overcommitted: request and limit are equal.
        for kind in ("limits", "requests"):
            resources.setdefault(kind, {})[profile.gpus.resource] = amount
    return resources


def _environment(self_hosted: SelfHosted, profile: Profile, *, caches: bool) -> list[dict[str, str]]:
    """Everything that vLLM and its libraries write goes below /tmp or the cache: the root is read-only."""
    values = {
        "HOME": "/tmp",  # noqa: S108 - a path in the engine's container
        "USER": "engine",  # the user has no entry in the image's passwd, and torch asks for its name
        "TORCHINDUCTOR_CACHE_DIR": "/tmp/.cache/torchinductor",  # noqa: S108
    }
    if caches:
        values |= {
            "HF_HOME": f"{sources.CACHE_MOUNT}/huggingface",
            "VLLM_CACHE_ROOT": f"{sources.CACHE_MOUNT}/vllm",
        }
    values |= profile.env
    values |= {variable.name: variable.value for variable in self_hosted.env}
    return [{"name": name, "value": value} for name, value in values.items()]


def _key_variable(key_secret: str | None) -> list[dict[str, Any]]:
    """The key that vLLM asks for on /v1; /health and /metrics need none."""
    if key_secret is None:
        return []
    return [{"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": key_secret, "key": ENGINE_KEY}}}]


def _mounts(source: sources.Source, claim: str | None) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 - a path in the engine's container
        {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108
    ]
    if source.volume:
        mounts.append({"name": "model", "mountPath": sources.MODEL_MOUNT, "readOnly": True})
    if claim:
        mounts.append({"name": "cache", "mountPath": sources.CACHE_MOUNT})
    return mounts


def _volumes(profile: Profile, source: sources.Source, claim: str | None) -> list[dict[str, Any]]:
    """Few: each costs start-up time."""
    volumes: list[dict[str, Any]] = [
        {"name": "scratch", "emptyDir": {}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": profile.shared_memory}},
    ]
    if source.volume:
        volumes.append(source.volume)
    if claim:
        volumes.append({"name": "cache", "persistentVolumeClaim": {"claimName": claim}})
    return volumes


def _probes(profile: Profile) -> dict[str, Any]:
    """Loading may take the profile's whole start-up time; a busy engine is slow to answer and is left alive."""
    health = {"httpGet": {"path": "/health", "port": "http"}}
    attempts = max(1, ceil(profile.startup_timeout.seconds / STARTUP_PROBE_PERIOD_SECONDS))
    return {
        "startupProbe": {
            **health,
            "periodSeconds": STARTUP_PROBE_PERIOD_SECONDS,
            "timeoutSeconds": 2,
            "failureThreshold": attempts,
        },
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**health, "periodSeconds": 15, "timeoutSeconds": 15, "failureThreshold": 8},
    }


def _placement(profile: Profile) -> dict[str, Any]:
    """Only what the profile sets: an empty field would be one more to compare."""
    placement: dict[str, Any] = {
        "nodeSelector": profile.node_selector,
        "tolerations": profile.tolerations,
        "affinity": profile.affinity,
        "runtimeClassName": profile.runtime_class_name,
        "priorityClassName": profile.priority_class_name,
        "imagePullSecrets": [{"name": name} for name in profile.image_pull_secrets],
    }
    return {field: value for field, value in placement.items() if value}
