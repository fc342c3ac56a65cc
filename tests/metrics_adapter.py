"""A metrics adapter as small as one can be: external.metrics.k8s.io from the operator's own /metrics.

It does what prometheus-adapter does with its rule for an external metric: series by name, namespace and labels.
"""

import http.server
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from operator_rig import Rig

GROUP_VERSION = "external.metrics.k8s.io/v1beta1"
Json = dict[str, Any]


def values(text: str, name: str, namespace: str, selector: str) -> list[Json]:
    """Series of a metric in a namespace, as items of an ExternalMetricValueList."""
    wanted = {"namespace": namespace, **dict(part.split("=", 1) for part in selector.split(",") if part)}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        {"metricName": name, "metricLabels": sample.labels, "timestamp": now, "value": str(int(sample.value))}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and wanted.items() <= sample.labels.items()
    ]


@contextmanager
def metrics_adapter(world: Rig, metrics: Callable[[], str], names: tuple[str, ...]) -> Iterator[None]:
    """Serves the API through the API server's aggregation while the block runs. ``metrics``: the text to serve from."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Discovery, or the values of one metric."""
            address = urllib.parse.urlsplit(self.path)
            parts = address.path.removeprefix(f"/apis/{GROUP_VERSION}").strip("/").split("/")
            if parts[0] == "namespaces" and len(parts) == 3:
                selector = urllib.parse.parse_qs(address.query).get("labelSelector", [""])[0]
                items = values(metrics(), parts[2], parts[1], selector)
                answer: Json = {"kind": "ExternalMetricValueList", "apiVersion": GROUP_VERSION, "items": items}
            else:
                kind = {"namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"], "singularName": ""}
                resources = [{"name": name, **kind} for name in names]
                answer = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION}
                answer["resources"] = resources
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: a test's output is its own."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pki = world.plane.folder / "pki"
    context.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics-adapter"},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }  # fmt: skip
    group, _, version = GROUP_VERSION.partition("/")
    api_service = {
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": f"{version}.{group}"},
        "spec": {
            "group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "default", "name": "metrics-adapter", "port": server.server_address[1]},
        },
    }  # fmt: skip
    world.apply("/api/v1/namespaces/default/services/metrics-adapter", service)
    world.apply(f"/apis/apiregistration.k8s.io/v1/apiservices/{version}.{group}", api_service)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
