"""The Helm chart with the real helm, judged by a real API server: forms, names, rights, install to uninstall."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.controlplane import ControlPlane

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CHECKOUT = Path(__file__).resolve().parents[2]
CHART = CHECKOUT / "charts" / "overspill"
NAMESPACE = "overspill-system"
KUBE_VERSION = "1.34.0"

ALL_ON: dict[str, Any] = {
    "commonLabels": {"team": "ml"},
    "imagePullSecrets": [{"name": "registry"}],
    "images": {"operator": {"digest": f"sha256:{'0' * 64}"}},
    "operator": {
        "replicas": 2,
        "extraEnv": [{"name": "A", "value": "b"}],
        "nodeSelector": {"a": "b"},
        "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "system-cluster-critical",
        "podDisruptionBudget": {"enabled": True},
        "podLabels": {"x": "y"},
        "podAnnotations": {"x": "y"},
    },
    "gateway": {
        "replicas": 3,
        "url": "https://models.example.com/",
        "service": {"type": "LoadBalancer", "port": 8443, "annotations": {"x": "y"}},
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "gateway"}},
            }
        ],
        "podDisruptionBudget": {"enabled": True, "maxUnavailable": "50%"},
    },
    "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "networkPolicy": {"enabled": True},
}

VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything on": ALL_ON,
    "everything off": {
        "crds": {"enabled": False},
        "keyPepper": {"existingSecret": "mine"},
        "cleanup": {"enabled": False},
        "profiles": {"cpu": None},
    },
    "node port": {"gateway": {"service": {"type": "NodePort", "nodePort": 30080}}},
    "TLS, CORS, a ledger": {
        "gateway": {
            "tls": {"secretName": "gateway-tls"},
            "cors": {"origins": ["https://chat.example.com", "http://localhost:3000"]},
            "ledger": {"enabled": True},
        }
    },
    "a ledger that stays": {"gateway": {"ledger": {"enabled": True, "existingClaim": "ledger"}}},
    "kept pepper": {"keyPepper": {"keep": True}, "crds": {"keep": False}, "fullnameOverride": "ai"},
    "a local cluster": yaml.safe_load((CHECKOUT / "charts" / "overspill" / "values-local.yaml").read_text()),
}

BAD_VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt section": ({"gatway": {}}, "gatway"),
    "a misspelt field": ({"gateway": {"service": {"nodeport": 30080}}}, "nodeport"),
    "a misspelt profile field": ({"profiles": {"cpu": {"nodeselector": {}}}}, "nodeselector"),
    "a Service of no kind": ({"gateway": {"service": {"type": "Nodeport"}}}, "/gateway/service/type"),
    "a duration in days": ({"profiles": {"cpu": {"startupTimeout": "1d"}}}, "/profiles/cpu/startupTimeout"),
    "a price with a unit": ({"profiles": {"cpu": {"usdPerReplicaHour": "$1"}}}, "/profiles/cpu/usdPerReplicaHour"),
    "a profile without image": ({"profiles": {"mine": {"args": []}}}, "image"),
    "a URL without scheme": ({"gateway": {"url": "models.example.com"}}, "/gateway/url"),
    "an origin with a path": ({"gateway": {"cors": {"origins": ["https://a/b"]}}}, "/gateway/cors/origins"),
    "root": ({"profiles": {"cpu": {"runAsUser": 0}}}, "/profiles/cpu/runAsUser"),
}


class Charts:
    """helm and kubectl on one control plane."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.folder = folder
        tools = os.environ.get("OVERSPILL_TOOLS") or Path(plane.kubectl).parent
        self.helm_path = str(Path(tools) / "helm") if (Path(tools) / "helm").exists() else shutil.which("helm")
        assert self.helm_path, "helm is missing: `make binaries` builds it, and OVERSPILL_TOOLS names its folder"

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """One command with the control plane's kubeconfig, whether it succeeds or not."""
        environment = {**os.environ, "KUBECONFIG": str(self.plane.kubeconfig), "HELM_CACHE_HOME": str(self.folder)}
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)

    def helm(self, *arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """One helm command with values."""
        assert self.helm_path
        return self.run(self.helm_path, *arguments, "--values", "-", stdin=json.dumps(values or {}))

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """One kubectl command."""
        return self.run(self.plane.kubectl, *arguments, stdin=stdin)

    def rendered(
        self, values: dict[str, Any], release: str = "overspill", namespace: str = NAMESPACE
    ) -> list[dict[str, Any]]:
        """Objects of a release."""
        template = self.helm(
            "template", release, str(CHART), "--namespace", namespace, "--kube-version", KUBE_VERSION, values=values
        )
        assert template.returncode == 0, template.stderr
        return [document for document in yaml.safe_load_all(template.stdout) if document]


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Charts]:
    """A control plane whose release namespace warns of every pod that is not "restricted"."""
    with ControlPlane(controllers=False) as plane:
        running = Charts(plane, tmp_path_factory.mktemp("helm"))
        running.kubectl("create", "namespace", NAMESPACE)
        label = "pod-security.kubernetes.io/warn=restricted"
        assert running.kubectl("label", "namespace", NAMESPACE, label).returncode == 0
        yield running


@pytest.fixture(scope="module")
def installed(charts: Charts) -> Charts:
    """The same with the release, as it comes."""
    result = charts.helm("upgrade", "--install", "overspill", str(CHART), "--namespace", NAMESPACE)
    assert result.returncode == 0, result.stderr
    return charts


@pytest.mark.parametrize("name", VALUES)
def test_lint(charts: Charts, name: str) -> None:
    """``helm lint --strict`` has nothing to say about any set of values."""
    result = charts.helm("lint", "--strict", "--kube-version", KUBE_VERSION, str(CHART), values=VALUES[name])
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", VALUES)
def test_every_object_is_what_the_api_server_takes(charts: Charts, name: str) -> None:
    """No unknown field, no wrong form, and no pod beyond the "restricted" security standard."""
    documents = charts.rendered(VALUES[name])
    foreign = [document for document in documents if document["kind"] == "ServiceMonitor"]
    assert bool(foreign) == bool(VALUES[name].get("metrics"))
    own = {"apiVersion": "v1", "kind": "List", "items": [item for item in documents if item not in foreign]}

    result = charts.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(own))

    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


@pytest.mark.parametrize("name", BAD_VALUES)
def test_bad_values_are_refused_by_name(charts: Charts, name: str) -> None:
    """A typo or a wrong form ends the command and is named."""
    values, named = BAD_VALUES[name]
    result = charts.helm("template", "overspill", str(CHART), "--kube-version", KUBE_VERSION, values=values)
    assert result.returncode != 0
    assert named in result.stderr


def test_the_names_that_others_rely_on(charts: Charts) -> None:
    """With the release called overspill, names are the ones that the parts know each other by."""
    names = {(document["kind"], document["metadata"]["name"]) for document in charts.rendered({})}
    assert {
        ("Deployment", "overspill-operator"),
        ("Deployment", "overspill-gateway"),
        ("Service", "overspill-gateway"),
        ("Service", "overspill-gateway-admin"),
        ("ConfigMap", "overspill-profiles"),
        ("CustomResourceDefinition", "modelroutes.overspill.dev"),
        ("CustomResourceDefinition", "consumers.overspill.dev"),
    } <= names


def test_two_releases_do_not_meet(charts: Charts) -> None:
    """Cluster-wide objects of releases in two namespaces have different names; only the CRDs are shared."""
    first, second = (
        {
            (document["kind"], document["metadata"]["name"])
            for document in charts.rendered({"crds": {"enabled": False}}, namespace=namespace)
            if "namespace" not in document["metadata"]
        }
        for namespace in ("overspill-system", "other")
    )
    assert first
    assert not first & second


def test_rights_are_spelt_out(charts: Charts) -> None:
    """No role has a wildcard, and only the operator may read Secrets outside the release's namespace, one by one."""
    for document in charts.rendered(ALL_ON):
        for rule in document.get("rules", []) if document["kind"] in ("ClusterRole", "Role") else []:
            for granted in (rule["apiGroups"], rule["resources"], rule["verbs"]):
                assert "*" not in granted, document["metadata"]["name"]
            if document["kind"] == "ClusterRole" and "secrets" in rule["resources"]:
                assert document["metadata"]["name"] == "overspill-operator"
                assert rule["verbs"] in (["get"], ["create"])


def test_profiles_reach_the_operator(charts: Charts) -> None:
    """Changed values come to the operator's file, and restart it: the pod's annotation changes with them."""

    def parts(values: dict[str, Any]) -> tuple[dict[str, Any], str]:
        documents = {(item["kind"], item["metadata"]["name"]): item for item in charts.rendered(values)}
        profiles = yaml.safe_load(documents["ConfigMap", "overspill-profiles"]["data"]["profiles.yaml"])
        template = documents["Deployment", "overspill-operator"]["spec"]["template"]
        return profiles, template["metadata"]["annotations"]["checksum/profiles"]

    profiles, checksum = parts({})
    changed, other_checksum = parts({"profiles": {"cpu": {"image": "mine:1"}, "nvidia-l4": None}})

    assert changed["cpu"]["image"] == "mine:1"
    assert changed["cpu"]["args"] == profiles["cpu"]["args"]
    assert "nvidia-l4" not in changed
    assert checksum != other_checksum


FORMER_PEPPER = """
apiVersion: v1
kind: Secret
metadata:
  name: overspill-key-pepper
  namespace: {{ .Release.Namespace }}
type: Opaque
data:
  pepper: {{ randAlphaNum 64 | b64enc }}
"""
"""The template with which charts before 0.2 made the pepper, as far as it matters here."""


def test_a_pepper_from_an_earlier_chart_outlives_upgrades(charts: Charts, tmp_path: Path) -> None:
    """Helm deletes what its templates no longer have; the pepper stays as it is, and with it every key given out."""

    def pepper() -> str:
        answer = charts.kubectl("-n", NAMESPACE, "get", "secret", "overspill-key-pepper", "-o", "json")
        assert answer.returncode == 0, answer.stderr
        data: dict[str, str] = json.loads(answer.stdout)["data"]
        return data["pepper"]

    def objects() -> list[str]:
        kinds = "deployments,services,configmaps,serviceaccounts,roles,rolebindings,clusterroles"
        listed = charts.kubectl("-n", NAMESPACE, "get", kinds, "-o", "name", "-l", "app.kubernetes.io/name=overspill")
        return listed.stdout.split()

    former = tmp_path / "overspill"
    shutil.copytree(CHART, former)
    (former / "templates" / "key-pepper.yaml").write_text(FORMER_PEPPER)
    first = charts.helm("install", "overspill", str(former), "--namespace", NAMESPACE)
    assert first.returncode == 0, first.stderr
    made = pepper()
    assert len(made) > 60

    for values in ({}, ALL_ON | {"metrics": {}}, {}):
        upgraded = charts.helm("upgrade", "overspill", str(CHART), "--namespace", NAMESPACE, values=values)
        assert upgraded.returncode == 0, upgraded.stderr
        assert pepper() == made

    # Nothing runs Jobs here: the hook, which deletes it at last, is the end-to-end test's.
    gone = charts.run(str(charts.helm_path), "uninstall", "overspill", "--namespace", NAMESPACE, "--no-hooks")
    assert gone.returncode == 0, gone.stderr
    assert objects() == []
    assert pepper() == made
    assert charts.kubectl("get", "crd", "modelroutes.overspill.dev", "consumers.overspill.dev").returncode == 0

    again = charts.helm("install", "overspill", str(CHART), "--namespace", NAMESPACE)
    assert again.returncode == 0, again.stderr
    assert pepper() == made
    charts.run(str(charts.helm_path), "uninstall", "overspill", "--namespace", NAMESPACE, "--no-hooks")


def test_no_template_makes_a_pepper(charts: Charts) -> None:
    """Rendering twice gives the same: a tool that renders at each sync changes nothing."""
    first, second = charts.rendered({}), charts.rendered({})
    assert first == second
    assert not [item for item in first if item["kind"] == "Secret"]


def test_a_release_with_namespaces_of_its_own_has_rights_there_only(charts: Charts) -> None:
    """Roles instead of ClusterRoles, for the operator, the gateways and the clean-up; both processes are told."""
    documents = charts.rendered({"operator": {"watchNamespaces": ["chat", NAMESPACE]}})
    cluster_wide = {item["metadata"]["name"] for item in documents if item["kind"].startswith("ClusterRole")}
    assert cluster_wide == {"overspill-view", "overspill-edit"}
    roles = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in documents if item["kind"] == "Role"]
    assert len(roles) == len(set(roles))
    for name in ("overspill-operator-routes", "overspill-gateway-routes", "overspill-cleanup-routes"):
        assert {place for place, role in roles if role == name} == {"chat", NAMESPACE}
    for item in documents:
        if item["kind"] in ("Deployment", "Job"):
            env = {entry["name"]: entry.get("value") for entry in _container(item)["env"]}
            assert env["OVERSPILL_WATCH_NAMESPACES"] == f"chat,{NAMESPACE}"


def test_scaling_may_go_by_prometheus(charts: Charts) -> None:
    """The operator is told where and by which labels, and a ServiceMonitor scrapes demand too; not by default."""
    monitor = {"metrics": {"serviceMonitor": {"enabled": True}}}

    def paths(documents: list[dict[str, Any]]) -> set[str]:
        monitors = [item for item in documents if item["kind"] == "ServiceMonitor"]
        return {endpoint["path"] for item in monitors for endpoint in item["spec"]["endpoints"]}

    def variables(documents: list[dict[str, Any]]) -> dict[str, Any]:
        operator = _container(_deployment(documents, "overspill-operator"))
        return {entry["name"]: entry.get("value") for entry in operator["env"]}

    usual = charts.rendered(monitor)
    assert paths(usual) == {"/metrics"}
    assert "OVERSPILL_PROMETHEUS_URL" not in variables(usual)
    chosen = charts.rendered({**monitor, "operator": {"demandFrom": {"prometheusURL": "http://p:9090"}}})
    assert paths(chosen) == {"/metrics", "/metrics/demand"}
    assert variables(chosen)["OVERSPILL_PROMETHEUS_URL"] == "http://p:9090"
    assert variables(chosen)["OVERSPILL_PROMETHEUS_MATCHERS"] == f'namespace="{NAMESPACE}"'


def test_openshift_chooses_users(charts: Charts) -> None:
    """runAsUser null leaves no user and no group of ours, in pods and in engines' profiles; the rest stays strict."""
    free = {"podSecurityContext": {"runAsUser": None}}
    documents = charts.rendered({"operator": free, "gateway": free, "profiles": {"cpu": {"runAsUser": None}}})
    pods = [item["spec"]["template"]["spec"] for item in documents if item["kind"] in ("Deployment", "Job")]
    assert len(pods) == 3
    for pod in pods:
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert _profiles(documents)["cpu"]["runAsUser"] is None
    assert _profiles(documents)["nvidia-l4"]["runAsUser"] == 65534


def test_replicas_may_be_left_to_an_autoscaler(charts: Charts) -> None:
    """null leaves the field out, and so does the chart's own HorizontalPodAutoscaler."""
    for values in ({"replicas": None}, {"autoscaling": {"enabled": True}}):
        documents = charts.rendered({"gateway": values})
        gateway = _deployment(documents, "overspill-gateway")
        assert "replicas" not in gateway["spec"]
        scalers = [item for item in documents if item["kind"] == "HorizontalPodAutoscaler"]
        assert len(scalers) == ("autoscaling" in values)


def test_one_registry_serves_all_images(charts: Charts) -> None:
    """Another registry in front of a name is replaced, a path in it stays."""
    values = {
        "images": {"registry": "registry.corp:5000/mirror"},
        "profiles": {"mine": {"image": "quay.io/a/b@sha256:" + "0" * 64}},
    }
    documents = charts.rendered(values)
    profiles = _profiles(documents)
    assert _container(_deployment(documents, "overspill-gateway"))["image"].startswith(
        "registry.corp:5000/mirror/overspill-gateway:"
    )
    assert profiles["nvidia-l4"]["image"].startswith("registry.corp:5000/mirror/vllm/vllm-openai:")
    assert profiles["mine"]["image"].startswith("registry.corp:5000/mirror/a/b@sha256:")


def test_a_company_authority_is_trusted(charts: Charts) -> None:
    """One value mounts it in operator and gateway and names it to TLS; further volumes go beside it."""
    volume = {"name": "more", "configMap": {"name": "corp-ca"}}
    extra = {"extraVolumes": [volume], "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}]}
    documents = charts.rendered({"caBundle": {"configMap": "corp-ca"}, "gateway": extra})
    for name in ("overspill-operator", "overspill-gateway"):
        deployment = _deployment(documents, name)
        env = {entry["name"]: entry.get("value") for entry in _container(deployment)["env"]}
        assert env["SSL_CERT_FILE"] == "/etc/overspill-ca/ca.crt"
        mounts = {mount["name"]: mount["mountPath"] for mount in _container(deployment)["volumeMounts"]}
        assert mounts["ca-bundle"] == "/etc/overspill-ca"
        assert ("more" in mounts) == (name == "overspill-gateway")
        volumes = {entry["name"] for entry in deployment["spec"]["template"]["spec"]["volumes"]}
        assert mounts.keys() <= volumes


def _leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Values with their paths; those that are handed on whole count as one."""
    whole = ("profiles", "resources", "podSecurityContext", "containerSecurityContext")
    for name, value in values.items():
        if isinstance(value, dict) and value and name not in whole:
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())

OTHERS: dict[str, Any] = {
    "gateway.service.type": "LoadBalancer",
    "gateway.service.nodePort": 30080,
    "gateway.cors.origins": ["*"],
    "gateway.url": "https://other.example",
    "metrics.serviceMonitor.interval": "7s",
    "images.operator.digest": "sha256:" + "0" * 64,
    "images.gateway.digest": "sha256:" + "0" * 64,
    "images.operator.pullPolicy": "Always",
    "images.gateway.pullPolicy": "Always",
    "operator.logLevel": "DEBUG",
    "gateway.logLevel": "DEBUG",
    "imagePullSecrets": [{"name": "x"}],
    "operator.watchNamespaces": ["x"],
    "operator.demandFrom.prometheusURL": "http://other.example",
    "networkPolicy.metricsFrom": [{"a": "b"}],
    "networkPolicy.engines.from": [{"a": "b"}],
    "crds.keep": False,
    "profiles": {"cpu": {"image": "other:1"}},
}
"""Where a value of the same type is not one that the schema takes."""

NEEDS: dict[str, dict[str, Any]] = {
    "gateway.service.nodePort": {"gateway": {"service": {"type": "NodePort"}}},
    "gateway.ledger": {"gateway": {"ledger": {"enabled": True}}},
    "gateway.autoscaling": {"gateway": {"autoscaling": {"enabled": True}}},
    "gateway.podDisruptionBudget": {"gateway": {"podDisruptionBudget": {"enabled": True}}},
    "operator.podDisruptionBudget": {"operator": {"podDisruptionBudget": {"enabled": True}}},
    "operator.demandFrom.matchers": {"operator": {"demandFrom": {"prometheusURL": "http://p.example"}}},
    "metrics.serviceMonitor": {"metrics": {"serviceMonitor": {"enabled": True}}},
    "networkPolicy.metricsFrom": {"networkPolicy": {"enabled": True}},
    "caBundle.key": {"caBundle": {"configMap": "x"}},
}
"""Sections that matter only where something is on."""


@pytest.mark.parametrize("path", [path for path, _ in _leaves(DEFAULTS)], ids=".".join)
def test_every_value_does_something(charts: Charts, path: tuple[str, ...]) -> None:
    """Another value gives other objects: one that changes nothing would be a promise that nothing keeps."""
    name = ".".join(path)
    base = next((values for prefix, values in NEEDS.items() if name.startswith(prefix)), {})
    before = charts.rendered(base)
    value = DEFAULTS
    for part in path:
        value = value[part]
    changed: Any = {path[-1]: OTHERS[name] if name in OTHERS else _another(base, path, value)}
    for part in reversed(path[:-1]):
        changed = {part: changed}
    assert charts.rendered(_merged(base, changed)) != before


def _another(base: dict[str, Any], path: tuple[str, ...], value: Any) -> Any:
    found: Any = base
    for part in path:
        found = found.get(part, {}) if isinstance(found, dict) else {}
    if isinstance(value, bool):
        return not (found or value)
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return "9Mi" if value.endswith("Mi") else f"{value}other"
    if isinstance(value, list):
        return [{"name": "x", "key": "x"}]
    return {"x": {"cpu": "1"} if path[-1] == "resources" else "y"}


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        former = merged.get(name)
        merged[name] = _merged(former, value) if isinstance(former, dict) and isinstance(value, dict) else value
    return merged


def _deployment(documents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in documents if (item["kind"], item["metadata"]["name"]) == ("Deployment", name))


def _container(item: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = item["spec"]["template"]["spec"]["containers"][0]
    return container


def _profiles(documents: list[dict[str, Any]]) -> dict[str, Any]:
    item = next(item for item in documents if item["metadata"]["name"] == "overspill-profiles")
    profiles: dict[str, Any] = yaml.safe_load(item["data"]["profiles.yaml"])
    return profiles


RIGHTS = (
    ("operator", "get", "secrets", "chat", True),
    ("operator", "list", "secrets", "chat", False),
    ("operator", "create", "secrets", "chat", True),
    ("operator", "patch", "secrets", "chat", False),
    ("operator", "delete", "secrets", "chat", False),
    ("operator", "patch", "networkpolicies.networking.k8s.io", "chat", True),
    ("operator", "delete", "leases.coordination.k8s.io", "chat", False),
    ("operator", "create", "secrets", NAMESPACE, True),
    ("operator", "patch", "deployments.apps/scale", "chat", True),
    ("operator", "patch", "modelroutes.overspill.dev/status", "chat", True),
    ("operator", "patch", "modelroutes.overspill.dev", "chat", False),
    ("operator", "delete", "modelroutes.overspill.dev", "chat", False),
    ("operator", "create", "pods/exec", "chat", False),
    ("operator", "list", "endpointslices.discovery.k8s.io", "chat", False),
    ("operator", "watch", "endpointslices.discovery.k8s.io", NAMESPACE, True),
    ("gateway", "watch", "secrets", NAMESPACE, True),
    ("gateway", "get", "secrets", "chat", False),
    ("gateway", "watch", "endpointslices.discovery.k8s.io", "chat", True),
    ("gateway", "create", "secrets", NAMESPACE, False),
    ("gateway", "list", "pods", NAMESPACE, False),
)


@pytest.mark.parametrize(("who", "verb", "resource", "namespace", "allowed"), RIGHTS)
def test_what_the_accounts_may_do(
    installed: Charts,
    who: str,
    verb: str,
    resource: str,
    namespace: str,
    allowed: bool,  # noqa: FBT001
) -> None:
    """The API server's own word on the rights that matter."""
    account = f"system:serviceaccount:{NAMESPACE}:overspill-{who}"
    resource, _, subresource = resource.partition("/")
    asked = ["auth", "can-i", verb, resource, "--as", account, "-n", namespace]
    answer = installed.kubectl(*asked, *([f"--subresource={subresource}"] if subresource else []))
    assert answer.stdout.strip() == ("yes" if allowed else "no"), answer.stderr


def test_the_static_manifest_has_not_drifted(charts: Charts) -> None:
    """manifests/install.yaml is what manifests/render makes of the chart."""
    path = f"{Path(str(charts.helm_path)).parent}:{os.environ['PATH']}"
    rendered = subprocess.run(
        [str(CHECKOUT / "manifests" / "render")], capture_output=True, text=True, check=True, env={"PATH": path}
    ).stdout
    assert (CHECKOUT / "manifests" / "install.yaml").read_text() == rendered, (
        "manifests/install.yaml has drifted from the chart: manifests/render > manifests/install.yaml"
    )
