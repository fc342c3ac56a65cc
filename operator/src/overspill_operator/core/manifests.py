"""The Kubernetes objects of a route and of a compiled document, as the API server is to have them."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from overspill_api import names
from overspill_operator.core.engine_access import EngineAccess
from overspill_operator.core.engine_labels import selector_labels
from overspill_operator.core.engine_pod import check_template, pod_template
from overspill_operator.core.objects import Metadata
from overspill_operator.core.plan import EngineSpec
from overspill_operator.core.served_model import ANNOTATION_SERVED_MODEL

ANNOTATION_HASH = f"{names.GROUP}/applied-hash"
"""On every object made here: what it was made from, so that a field taken away is noticed as well."""

SURGE: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
"""Strategy of a roll-out: a new replica serves before an old one goes."""

REPLACE: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
"""Strategy of a roll-out: an old replica goes before a new one comes."""

NO_DEADLINE = 2**31 - 1
"""Kubernetes' way to say that a roll-out has no deadline."""

Manifest = dict[str, Any]


def cache_claim_name(route_name: str) -> str:
    """Name of the PersistentVolumeClaim that keeps a route's weights."""
    return f"{route_name}-cache"


def deployment(meta: Metadata, engine: EngineSpec) -> Manifest:
    """The engine.

    Raises MergeError where the pod template has a wrong form, ReservedError where gateways would lose the engine by it.

    The number of replicas and the strategy are not part of the hash: they say how many there are and how a change
    comes, and change while the engine is the same.
    """
    self_hosted = engine.self_hosted
    labels = {**selector_labels(meta.name), "app.kubernetes.io/name": "engine", "app.kubernetes.io/instance": meta.name}
    claim = cache_claim_name(meta.name) if self_hosted.cache else None
    key_secret = names.engine_key_secret(meta.name) if engine.api_key else None
    template = partial(
        pod_template,
        profile=engine.profile,
        model=engine.model,
        served=engine.served,
        claim=claim,
        labels=labels,
        key_secret=key_secret,
        first_token_seconds=engine.first_token_seconds,
    )
    merged = template(self_hosted)
    if self_hosted.pod_template:
        check_template(template(self_hosted.model_copy(update={"pod_template": {}})), merged)
    manifest = _object("apps/v1", "Deployment", meta, names.engine_name(meta.name), labels)
    if engine.api_key:
        digest = hashlib.blake2b(engine.api_key.encode(), digest_size=4).hexdigest()
        merged["metadata"].setdefault("annotations", {})[names.ANNOTATION_ENGINE_KEY] = digest
    manifest["spec"] = {
        "selector": {"matchLabels": selector_labels(meta.name)},
        "revisionHistoryLimit": 2,
        # None: loads take as long as they take, and each change of progress would cost a write of status.
        "progressDeadlineSeconds": NO_DEADLINE,
        "template": merged,
    }
    manifest = _with_hash(manifest)
    manifest["metadata"]["annotations"][ANNOTATION_SERVED_MODEL] = engine.served
    manifest["spec"]["replicas"] = engine.replicas
    manifest["spec"]["strategy"] = SURGE
    return manifest


def service(meta: Metadata) -> Manifest:
    """The headless Service whose EndpointSlices tell the gateways of the replicas."""
    manifest = _object("v1", "Service", meta, names.engine_name(meta.name), selector_labels(meta.name))
    manifest["spec"] = {
        "clusterIP": "None",
        "publishNotReadyAddresses": False,
        "selector": selector_labels(meta.name),
        "ports": [{"name": "http", "port": names.ENGINE_PORT, "targetPort": "http", "protocol": "TCP"}],
    }
    return _with_hash(manifest)


def cache_claim(meta: Metadata, engine: EngineSpec, live: Mapping[str, Any] | None) -> Manifest:
    """The volume that keeps downloaded weights. Access modes of one that exists stay: they cannot be changed."""
    cache = engine.self_hosted.cache
    if cache is None:
        raise ValueError("a claim is made only where spec.selfHosted.cache is set")
    manifest = _object("v1", "PersistentVolumeClaim", meta, cache_claim_name(meta.name), selector_labels(meta.name))
    modes = (live or {}).get("spec", {}).get("accessModes") or [
        "ReadWriteMany" if engine.replicas_max > 1 else "ReadWriteOnce"
    ]
    manifest["spec"] = {"accessModes": modes, "resources": {"requests": {"storage": cache.size}}}
    if cache.storage_class_name is not None:
        manifest["spec"]["storageClassName"] = cache.storage_class_name
    return _with_hash(manifest)


def disruption_budget(meta: Metadata, *, hosted_stands_in: bool) -> Manifest:
    """What keeps a drain from taking the last replica without a substitute.

    Where hosted APIs answer meanwhile, one replica may go at a time, the only one too: a node can always be emptied.
    Elsewhere half of them stay, rounded up, so an only one stays until there is another.
    """
    manifest = _object(
        "policy/v1", "PodDisruptionBudget", meta, names.engine_name(meta.name), selector_labels(meta.name)
    )
    bound = {"maxUnavailable": 1} if hosted_stands_in else {"minAvailable": "50%"}
    manifest["spec"] = {
        "selector": {"matchLabels": selector_labels(meta.name)},
        # A replica that does not serve keeps no node from being emptied.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        **bound,
    }
    return _with_hash(manifest)


def network_policy(meta: Metadata, access: EngineAccess) -> Manifest:
    """What keeps everybody but the release's own pods from an engine."""
    labels = selector_labels(meta.name)
    manifest = _object("networking.k8s.io/v1", "NetworkPolicy", meta, names.engine_name(meta.name), labels)
    manifest["spec"] = access.spec(labels)
    return _with_hash(manifest)


def mark_release(manifest: Manifest, release_namespace: str) -> None:
    """Say on an object which release made it. Not part of the hash: the engine is the same."""
    manifest["metadata"]["labels"] = manifest["metadata"]["labels"] | {names.LABEL_RELEASE: release_namespace}


def compiled_secret(
    release_namespace: str, name: str, kind: str, meta: Metadata, document: bytes, accepted: bytes | None = None
) -> Manifest:
    """The Secret that carries a compiled document to the gateways. ``kind``: ``route`` or ``consumer``.

    ``accepted``: the spec that it was made from, for the operator's own use.
    """
    contents = {names.COMPILED_KEY: document} | ({names.ACCEPTED_KEY: accepted} if accepted is not None else {})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": release_namespace,
            "labels": {
                names.LABEL_MANAGED_BY: names.MANAGED_BY,
                names.LABEL_COMPILED: kind,
                names.LABEL_SOURCE_NAMESPACE: meta.namespace,
                names.LABEL_SOURCE_NAME: meta.name,
            },
        },
        "type": "Opaque",
        "data": {key: b64encode(content).decode() for key, content in contents.items()},
    }


def _object(api_version: str, kind: str, owner: Metadata, name: str, labels: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": dict(labels),
            "ownerReferences": [owner_reference(owner)],
        },
    }


def owner_reference(owner: Metadata) -> dict[str, Any]:
    """What makes Kubernetes delete an object with its ModelRoute."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelRoute",
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def applied_hash(live: Mapping[str, Any] | None) -> str | None:
    """What a live object was made from."""
    return ((live or {}).get("metadata", {}).get("annotations") or {}).get(ANNOTATION_HASH)


def _with_hash(manifest: Manifest) -> Manifest:
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    manifest["metadata"]["annotations"] = {ANNOTATION_HASH: digest}
    return manifest
