"""CoreDNS as manifests: it knows the cluster's names, and says that no other exists, since there is no way out."""

from __future__ import annotations

import hashlib
from typing import Any

from cluster.node import DNS_ADDRESS, DNS_DOMAIN

NAMESPACE = "kube-system"
DEPLOYMENT_PATH = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/coredns"
PORT = 1053
"""Above 1023, so that the container needs no capability."""

# Two servers: within one, `template` would answer before `kubernetes`.
COREFILE = f"""{DNS_DOMAIN}:{PORT} in-addr.arpa:{PORT} ip6.arpa:{PORT} {{
    errors
    health
    ready
    kubernetes {DNS_DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
    }}
    cache 5 {{
        disable denial
    }}
}}
.:{PORT} {{
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def manifests(image: str) -> list[tuple[str, dict[str, Any]]]:
    """API path and object, in the order to apply them."""
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    account = {"kind": "ServiceAccount", "name": "coredns", "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "coredns"}
    core = f"/api/v1/namespaces/{NAMESPACE}"
    return [
        (f"{core}/serviceaccounts/coredns", _object("v1", "ServiceAccount")),
        (
            f"{rbac}/clusterroles/coredns",
            _object("rbac.authorization.k8s.io/v1", "ClusterRole", "coredns", rules=rules),
        ),
        (
            f"{rbac}/clusterrolebindings/coredns",
            _object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "coredns", roleRef=role, subjects=[account]),
        ),
        (f"{core}/configmaps/coredns", _object("v1", "ConfigMap", data={"Corefile": COREFILE})),
        (f"{core}/services/kube-dns", _object("v1", "Service", "kube-dns", spec=_service())),
        (DEPLOYMENT_PATH, _object("apps/v1", "Deployment", spec=_deployment(image))),
    ]


def _object(version: str, kind: str, name: str = "coredns", **content: object) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **content}


def _service() -> dict[str, Any]:
    ports = [
        {"name": "dns", "port": 53, "targetPort": PORT, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "targetPort": PORT, "protocol": "TCP"},
    ]
    return {"clusterIP": DNS_ADDRESS, "selector": {"k8s-app": "kube-dns"}, "ports": ports}


def _deployment(image: str) -> dict[str, Any]:
    labels = {"k8s-app": "kube-dns"}
    container = {
        "name": "coredns",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
        "terminationGracePeriodSeconds": 1,
    }
    # A changed configuration makes another template, and so new pods.
    annotations = {"configuration": hashlib.sha256(COREFILE.encode()).hexdigest()[:16]}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod}
    return {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
