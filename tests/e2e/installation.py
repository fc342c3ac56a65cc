"""Overspill as the scenario installs it: the Helm release, the hosted stand-in, an API key, an OpenAI client."""

import time
from pathlib import Path

import openai

from e2e.kubernetes_cli import Cluster, wait_until

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
CHART = CHECKOUT / "charts" / "overspill"
SAMPLES = CHECKOUT / "manifests" / "samples"
RELEASE = "overspill"
RELEASE_NAMESPACE = "overspill-system"


def install(cluster: Cluster) -> float:
    """Install the chart and wait until its pods are Ready; the seconds from the command to the last pod."""
    started = time.monotonic()
    cluster.run(
        "helm",
        "install",
        RELEASE,
        str(CHART),
        "--namespace",
        RELEASE_NAMESPACE,
        "--create-namespace",
        "--values",
        str(CHART / "values-local.yaml"),
    )
    for deployment in ("overspill-operator", "overspill-gateway"):
        cluster.kubectl("-n", RELEASE_NAMESPACE, "rollout", "status", f"deployment/{deployment}", "--timeout=120s")
    return time.monotonic() - started


def uninstall(cluster: Cluster) -> None:
    """Remove the release; nothing happens where there is none."""
    cluster.run("helm", "uninstall", RELEASE, "--namespace", RELEASE_NAMESPACE, "--ignore-not-found", "--wait")


def remove(cluster: Cluster, *namespaces: str) -> None:
    """Uninstall the release and delete these namespaces beside its own: also what an interrupted run has left."""
    uninstall(cluster)
    cluster.delete_namespaces(*namespaces, RELEASE_NAMESPACE)


def start_hosted_standin(cluster: Cluster, namespace: str) -> None:
    """Run the hosted API's stand-in as Service ``hosted`` of a namespace, which is made if needed."""
    cluster.apply(f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}")
    cluster.apply((HERE / "standin.yaml").read_text(), namespace)
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/hosted", "--timeout=60s")


def create_key(cluster: Cluster, consumer: str, namespace: str) -> str:
    """An API key for all routes of a namespace, usable at the gateway."""
    key = cluster.kubectl(
        "-n",
        RELEASE_NAMESPACE,
        "exec",
        "deployment/overspill-operator",
        "--",
        "overspill",
        "keys",
        "create",
        consumer,
        "--namespace",
        namespace,
    ).strip()
    client = openai_client(cluster, key)

    def key_is_known() -> bool:
        try:
            client.models.list()
        except (openai.AuthenticationError, openai.APIConnectionError):
            return False
        return True

    wait_until("the gateway knows the new API key", key_is_known, seconds=10)
    return key


def openai_client(cluster: Cluster, key: str, timeout_seconds: float = 180) -> openai.OpenAI:
    """The OpenAI SDK pointed at the gateway; it never retries, so that a failure is seen."""
    return openai.OpenAI(base_url=f"{cluster.gateway_url}/v1", api_key=key, max_retries=0, timeout=timeout_seconds)
