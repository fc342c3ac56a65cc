"""The generated CRDs on a real API server: what it takes, what it refuses and in which words, what kubectl shows."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient, ApiException, CustomObjectsApi
from kubernetes.config import new_client_from_config

from cluster.controlplane import ControlPlane
from spec_table import BAD_CONSUMERS, BAD_ROUTES, GOOD_CONSUMERS, GOOD_ROUTES, HOSTED, SELF_HOSTED, Bad, hybrid

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CHECKOUT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((CHECKOUT / "manifests" / "samples").glob("*.yaml"))
NOISE = "some validation rules were not checked"

ALL_BAD = [("ModelRoute", bad) for bad in BAD_ROUTES] + [("Consumer", bad) for bad in BAD_CONSUMERS]
ALL_GOOD = [("ModelRoute", name, spec) for name, spec in GOOD_ROUTES.items()]
ALL_GOOD += [("Consumer", name, spec) for name, spec in GOOD_CONSUMERS.items()]


class Server:
    """An API server that has the CRDs, by kubectl and by a client that shows errors in their parts."""

    def __init__(self, plane: ControlPlane, client: ApiClient) -> None:
        self.plane = plane
        self.objects = CustomObjectsApi(client)

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """What kubectl prints, whether it likes it or not."""
        command = [self.plane.kubectl, "--kubeconfig", str(self.plane.kubeconfig), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)

    def apply(self, *manifests: dict[str, Any]) -> str:
        """Apply objects as one list, which must succeed."""
        objects = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        result = self.kubectl("apply", "-f", "-", stdin=json.dumps(objects))
        assert result.returncode == 0, result.stderr
        return result.stdout

    def errors(self, manifest: dict[str, Any]) -> dict[str, str]:
        """The API server's complaints about an object, by field; nothing is stored."""
        plural = f"{manifest['kind'].lower()}s"
        try:
            self.objects.create_namespaced_custom_object(
                "overspill.dev", "v1alpha1", "default", plural, manifest, dry_run="All", field_validation="Strict"
            )
        except ApiException as error:
            causes = json.loads(error.body or "")["details"]["causes"]
            fields = [cause["field"] for cause in causes]
            assert len(fields) == len(set(fields)), causes
            return {cause["field"]: cause["message"] for cause in causes}
        return {}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One with the CRDs established."""
    with ControlPlane(controllers=False) as plane:
        client = new_client_from_config(str(plane.kubeconfig))  # type: ignore[no-untyped-call]
        running = Server(plane, client)
        applied = running.kubectl("apply", "-f", str(CHECKOUT / "manifests" / "crds"))
        assert applied.returncode == 0, applied.stderr
        waited = running.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
        assert waited.returncode == 0, waited.stderr
        yield running
        client.close()


def manifest(kind: str, spec: dict[str, Any], name: str = "a") -> dict[str, Any]:
    """An object."""
    return {"apiVersion": "overspill.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(("kind", "bad"), ALL_BAD, ids=[bad.name for _, bad in ALL_BAD])
def test_a_bad_spec_is_refused_where_the_mistake_is(server: Server, kind: str, bad: Bad) -> None:
    """One mistake gives one error, at the field to blame, with the words that mend it, as in Python."""
    errors = server.errors(manifest(kind, bad.spec))

    assert list(errors) == [f"spec.{bad.path}" if bad.path else "spec"], errors
    assert bad.says in next(iter(errors.values()))


@pytest.mark.parametrize(("kind", "name", "spec"), ALL_GOOD, ids=[name for _, name, _ in ALL_GOOD])
def test_a_good_spec_is_taken(server: Server, kind: str, name: str, spec: dict[str, Any]) -> None:
    """What Python's types take, the API server takes."""
    assert not server.errors(manifest(kind, spec)), name


def test_all_mistakes_are_told_at_once_and_nothing_else(server: Server) -> None:
    """A spec with many mistakes of all kinds is answered with one line for each, and no line about lines."""
    spec = {
        "model": "-",
        "selfHosted": {"source": "ftp://x", "cache": {"size": "big"}},
        "scaling": {"minReplicas": 5, "maxReplicas": 2, "idleAfter": "ten", "objective": "Fast"},
        "hosted": [{"baseURL": "api.openai.com", "model": "m"}, {**HOSTED, "price": {"input": "-1"}}, HOSTED],
        "overflow": {"onColdStart": "hosted", "hold": {"timeout": "1 m"}},
        "timeouts": {"total": "0s"},
        "retries": {"attempts": 99},
        "budget": {"limit": "$5", "alerts": [0, 150]},
    }

    errors = server.errors(manifest("ModelRoute", spec, name="1st"))

    assert set(errors) == {
        "metadata.name",
        "spec.model",
        "spec.selfHosted.source",
        "spec.selfHosted.profile",
        "spec.selfHosted.cache.size",
        "spec.scaling.minReplicas",
        "spec.scaling.idleAfter",
        "spec.scaling.objective",
        "spec.hosted",
        "spec.hosted[0].name",
        "spec.hosted[0].baseURL",
        "spec.hosted[1].price.input",
        "spec.hosted[1].price.output",
        "spec.hosted[2]",
        "spec.overflow.onColdStart",
        "spec.overflow.hold.timeout",
        "spec.timeouts.total",
        "spec.retries.attempts",
        "spec.budget.limit",
        "spec.budget.alerts[0]",
        "spec.budget.alerts[1]",
    }
    assert not [message for message in errors.values() if NOISE in message]


def test_kubectl_prints_the_message_as_it_was_written(server: Server) -> None:
    """The exact words that a person sees."""
    bad = manifest("ModelRoute", {"selfHosted": SELF_HOSTED, "overflow": {"onColdStart": "Hosted"}})

    result = server.kubectl("create", "-f", "-", stdin=json.dumps(bad))

    assert result.stderr == (
        'The ModelRoute "a" is invalid: spec.overflow.onColdStart: Invalid value: "object": '
        "Hosted needs somewhere to send requests; list an API under hosted, or write Hold\n"
    )


def test_unknown_fields_are_refused_all_at_once(server: Server) -> None:
    """A misspelt field does not pass unseen, on any level."""
    bad = manifest("ModelRoute", hybrid(modle="a", scaling={"maxReplica": 2}))

    result = server.kubectl("apply", "-f", "-", stdin=json.dumps(bad))

    assert result.returncode == 1
    assert 'unknown field "spec.modle"' in result.stderr
    assert 'unknown field "spec.scaling.maxReplica"' in result.stderr


@pytest.mark.parametrize("name", ["a" * 51, "1st", "with.dot"])
def test_names_that_do_not_do_are_refused(server: Server, name: str) -> None:
    """The engine's Service is named after the route: a long name is refused before anything is made."""
    errors = server.errors(manifest("ModelRoute", hybrid(), name=name))
    assert list(errors) == ["metadata.name"]
    assert "use at most 50 lower-case letters, digits and dashes" in errors["metadata.name"]


@pytest.mark.parametrize("name", ["a", "a" * 50, "llama-3-1-8b"])
def test_names_that_do(server: Server, name: str) -> None:
    """Up to 50 characters."""
    assert not server.errors(manifest("ModelRoute", hybrid(), name=name))


def test_a_missing_spec_is_one_error(server: Server) -> None:
    """An object without spec says that, and nothing else."""
    errors = server.errors({"apiVersion": "overspill.dev/v1alpha1", "kind": "ModelRoute", "metadata": {"name": "a"}})
    assert errors == {"spec": "Required value: what you want for one model"}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_samples_are_taken(server: Server, sample: Path) -> None:
    """Every sample can be applied as it is."""
    result = server.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(sample))
    assert result.returncode == 0, result.stderr


def test_a_list_of_objects_is_taken_and_defaults_are_shown(server: Server) -> None:
    """Objects in a ``kind: List`` may leave out what has a default; ``kubectl get -o yaml`` shows it."""
    items = [manifest("ModelRoute", hybrid(), "one"), manifest("Consumer", {}, "two")]

    server.apply(*items)

    route = json.loads(server.kubectl("get", "mr", "one", "-o", "json").stdout)["spec"]
    assert route["scaling"] == {
        "minReplicas": 0,
        "maxReplicas": 1,
        "idleAfter": "10m",
        "objective": "Latency",
        "autoscaler": "Overspill",
        "paused": False,
        "targets": {"concurrency": 32, "queueDepth": 4},
    }
    assert route["timeouts"] == {"connect": "2s", "firstToken": "30s", "idle": "20s", "total": "10m"}
    assert "aliases" not in route
    consumer = json.loads(server.kubectl("get", "consumer", "two", "-o", "json").stdout)["spec"]
    assert consumer == {"priority": 0, "routes": [{"name": "*"}], "suspended": False}


def test_columns(server: Server) -> None:
    """``kubectl get mr`` shows what is asked first, and ``kubectl get all`` shows routes."""
    server.apply(manifest("ModelRoute", hybrid(), "columns"))
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "ScaledToZero",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {
        "conditions": [condition],
        "replicas": 1,
        "desiredReplicas": 2,
        "spend": {"USD": "1.50"},
        "url": "http://gateway/v1",
        "servedBy": "local 93%, hosted 7%",
    }
    patch = json.dumps({"status": status})
    patched = server.kubectl("patch", "mr", "columns", "--subresource=status", "--type=merge", "-p", patch)
    assert patched.returncode == 0, patched.stderr

    narrow = server.kubectl("get", "mr", "columns").stdout.splitlines()
    wide = server.kubectl("get", "mr", "columns", "-o", "wide").stdout.splitlines()

    assert narrow[0].split() == ["NAME", "MODEL", "READY", "REASON", "REPLICAS", "DESIRED", "SPEND", "AGE"]
    assert narrow[1].split()[-6:-1] == ["True", "ScaledToZero", "1", "2", "1.50"]
    assert wide[0].split()[-2:] == ["URL", "SERVED-BY"]
    assert "http://gateway/v1   local 93%, hosted 7%" in wide[1]
    assert "modelroute.overspill.dev/columns" in server.kubectl("get", "all").stdout


def test_scale(server: Server) -> None:
    """``kubectl scale`` writes the fixed number, within the route's bounds; /scale tells replicas and selector."""
    server.apply(manifest("ModelRoute", hybrid(scaling={"maxReplicas": 3}), "scaled"))
    status = json.dumps({"status": {"replicas": 1, "selector": "overspill.dev/route=scaled"}})
    server.kubectl("patch", "mr", "scaled", "--subresource=status", "--type=merge", "-p", status)

    assert server.kubectl("scale", "mr", "scaled", "--replicas=2").returncode == 0
    too_many = server.kubectl("scale", "mr", "scaled", "--replicas=4")

    assert "replicas is above maxReplicas; lower it or raise maxReplicas" in too_many.stderr
    path = "/apis/overspill.dev/v1alpha1/namespaces/default/modelroutes/scaled/scale"
    scale = json.loads(server.kubectl("get", "--raw", path).stdout)
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 1, "selector": "overspill.dev/route=scaled"}


def test_a_status_does_not_pass_without_what_a_condition_needs(server: Server) -> None:
    """The operator's own mistakes are refused as well."""
    server.apply(manifest("ModelRoute", hybrid(), "status"))
    patch = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "Yes"}]}})
    result = server.kubectl("patch", "mr", "status", "--subresource=status", "--type=merge", "-p", patch)
    assert "status.conditions[0].reason: Required value" in result.stderr
    assert 'supported values: "True", "False", "Unknown"' in result.stderr


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("modelroute.spec", "Hosted APIs in order of preference."),
        ("modelroute.spec.scaling.windows", "Bounds that hold during certain hours."),
        ("modelroute.spec.selfHosted.source", "Where the weights come from: hf://org/model"),
        ("modelroute.spec.overflow.onColdStart", "One of: Hosted, Hold."),
        ("modelroute.status.conditions", "One word in CamelCase"),
        ("consumer.spec.keys", "HMAC-SHA256 of the whole key"),
    ],
)
def test_explain_reads_like_documentation(server: Server, path: str, says: str) -> None:
    """Every field is explained in the words of its docstring."""
    explained = server.kubectl("explain", path)
    assert explained.returncode == 0, explained.stderr
    assert says in " ".join(explained.stdout.split())
