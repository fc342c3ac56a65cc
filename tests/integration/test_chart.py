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
        ("Secret", "overspill-key-pepper"),
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
                assert rule["verbs"] == ["get"]


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


def test_the_release_lives_and_dies(charts: Charts) -> None:
    """Installed, upgraded, uninstalled and installed again: the pepper outlives an upgrade, the CRDs an uninstall."""

    def pepper() -> str:
        answer = charts.kubectl("-n", NAMESPACE, "get", "secret", "overspill-key-pepper", "-o", "json")
        data: dict[str, str] = json.loads(answer.stdout)["data"]
        return data["pepper"]

    def objects() -> list[str]:
        kinds = "deployments,services,configmaps,secrets,serviceaccounts,roles,rolebindings,clusterroles"
        listed = charts.kubectl("-n", NAMESPACE, "get", kinds, "-o", "name", "-l", "app.kubernetes.io/name=overspill")
        return listed.stdout.split()

    install = ("install", "overspill", str(CHART), "--namespace", NAMESPACE)
    first = charts.helm(*install)
    assert first.returncode == 0, first.stderr
    made = pepper()
    assert len(made) > 60

    upgraded = charts.helm(
        "upgrade", "overspill", str(CHART), "--namespace", NAMESPACE, values=ALL_ON | {"metrics": {}}
    )
    assert upgraded.returncode == 0, upgraded.stderr
    assert pepper() == made

    # Nothing runs Jobs here: the hook is the end-to-end test's.
    gone = charts.run(str(charts.helm_path), "uninstall", "overspill", "--namespace", NAMESPACE, "--no-hooks")
    assert gone.returncode == 0, gone.stderr
    assert objects() == []
    assert charts.kubectl("get", "crd", "modelroutes.overspill.dev", "consumers.overspill.dev").returncode == 0

    again = charts.helm(*install)
    assert again.returncode == 0, again.stderr
    assert pepper() != made


RIGHTS = (
    ("operator", "get", "secrets", "chat", True),
    ("operator", "list", "secrets", "chat", False),
    ("operator", "create", "secrets", "chat", False),
    ("operator", "create", "secrets", NAMESPACE, True),
    ("operator", "patch", "deployments.apps/scale", "chat", True),
    ("operator", "patch", "modelroutes.overspill.dev/status", "chat", True),
    ("operator", "patch", "modelroutes.overspill.dev", "chat", False),
    ("operator", "delete", "modelroutes.overspill.dev", "chat", False),
    ("operator", "create", "pods/exec", "chat", False),
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
