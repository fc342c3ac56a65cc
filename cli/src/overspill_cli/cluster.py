"""The API server, as far as the commands need it: Consumers and the pepper. Errors become what a person can act on."""

import base64
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, cast

from overspill_api.names import GROUP, PEPPER_KEY, VERSION
from overspill_cli.errors import CommandError

PLURAL: Final = "consumers"
ROUTES: Final = "modelroutes"
CONFLICT_ATTEMPTS: Final = 5
"""Somebody else may change the object between reading and writing; a person's command meets that once, if ever."""
TIMEOUT_SECONDS: Final = 10.0

Object = dict[str, Any]


class Cluster(Protocol):
    """What the commands ask of a cluster."""

    @property
    def namespace(self) -> str:
        """Namespace of objects whose namespace is not said."""
        ...

    def pepper(self, namespace: str, secret: str) -> bytes | None:
        """Pepper of the release in a namespace; None where its Secret is not there."""
        ...

    def consumer(self, namespace: str, name: str) -> Object | None:
        """One Consumer, None where there is none."""
        ...

    def consumers(self, namespace: str | None) -> list[Object]:
        """Consumers of one namespace, or of all."""
        ...

    def has_namespace(self, name: str) -> bool | None:
        """Whether there is such a namespace; None where this account may not know."""
        ...

    def create_namespace(self, name: str) -> None:
        """Make a namespace."""
        ...

    def route_names(self, namespace: str) -> frozenset[str] | None:
        """Names of the ModelRoutes in a namespace; None where this account may not know."""
        ...

    def create(self, consumer: Object) -> None:
        """Create a Consumer."""
        ...

    def change(self, namespace: str, name: str, change: Callable[[Object], Object]) -> None:
        """Change the spec of a Consumer by what ``change`` gives for its present state."""
        ...


class KubernetesCluster:
    """The cluster of the pod that this runs in, else of the kubeconfig's current context."""

    def __init__(self, context: str | None = None) -> None:
        # Imported late: it takes half a second, which `overspill version` and `--help` need not wait for.
        from kubernetes import client  # noqa: PLC0415
        from kubernetes import config as untyped_config  # noqa: PLC0415

        config: Any = untyped_config

        try:
            if context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config()
                self.namespace = os.environ.get("POD_NAMESPACE", "default")
            else:
                config.load_kube_config(context=context)
                contexts, active = config.list_kube_config_contexts()
                chosen = next((entry for entry in contexts if entry["name"] == context), active)
                self.namespace = chosen["context"].get("namespace", "default")
        except config.ConfigException as error:
            raise CommandError(f"no cluster to talk to: {error}; set KUBECONFIG or --context") from error
        self._core = client.CoreV1Api()
        self._objects = client.CustomObjectsApi()

    def pepper(self, namespace: str, secret: str) -> bytes | None:
        """Pepper of the release in a namespace; None where its Secret is not there."""
        with _readable_errors(f"read Secret {namespace}/{secret}"):
            secret_object = _or_none(
                lambda: self._core.read_namespaced_secret(secret, namespace, _request_timeout=TIMEOUT_SECONDS)
            )
        if secret_object is None:
            return None
        if PEPPER_KEY not in (secret_object.data or {}):
            raise CommandError(
                f"Secret {namespace}/{secret} has no key {PEPPER_KEY}: put one into it, or delete it and the operator "
                "makes a new one"
            )
        return base64.b64decode(secret_object.data[PEPPER_KEY])

    def consumer(self, namespace: str, name: str) -> Object | None:
        """One Consumer, None where there is none."""
        with _readable_errors(f"read Consumer {namespace}/{name}"):
            return cast(
                "Object | None",
                _or_none(
                    lambda: self._objects.get_namespaced_custom_object(
                        GROUP, VERSION, namespace, PLURAL, name, _request_timeout=TIMEOUT_SECONDS
                    )
                ),
            )

    def consumers(self, namespace: str | None) -> list[Object]:
        """Consumers of one namespace, or of all."""
        with _readable_errors(f"list Consumers of {f'namespace {namespace}' if namespace else 'all namespaces'}"):
            if namespace is None:
                listing: Any = self._objects.list_cluster_custom_object(
                    GROUP, VERSION, PLURAL, _request_timeout=TIMEOUT_SECONDS
                )
            else:
                listing = self._objects.list_namespaced_custom_object(
                    GROUP, VERSION, namespace, PLURAL, _request_timeout=TIMEOUT_SECONDS
                )
        return cast("list[Object]", listing["items"])

    def has_namespace(self, name: str) -> bool | None:
        """Whether there is such a namespace; None where this account may not know."""
        with _readable_errors(f"read namespace {name}"):
            answer = _unless_forbidden(
                lambda: _or_none(lambda: self._core.read_namespace(name, _request_timeout=TIMEOUT_SECONDS)) or False
            )
        return None if answer is None else bool(answer)

    def create_namespace(self, name: str) -> None:
        """Make a namespace."""
        from kubernetes import client  # noqa: PLC0415

        with _readable_errors(f"create namespace {name}"):
            namespace = client.V1Namespace(metadata=client.V1ObjectMeta(name=name))
            self._core.create_namespace(namespace, _request_timeout=TIMEOUT_SECONDS)

    def route_names(self, namespace: str) -> frozenset[str] | None:
        """Names of the ModelRoutes in a namespace; None where this account may not know."""
        with _readable_errors(f"list ModelRoutes of namespace {namespace}"):
            listing = _unless_forbidden(
                lambda: self._objects.list_namespaced_custom_object(
                    GROUP, VERSION, namespace, ROUTES, _request_timeout=TIMEOUT_SECONDS
                )
            )
        return None if listing is None else frozenset(item["metadata"]["name"] for item in listing["items"])

    def create(self, consumer: Object) -> None:
        """Create a Consumer."""
        namespace, name = consumer["metadata"]["namespace"], consumer["metadata"]["name"]
        with _readable_errors(f"create Consumer {namespace}/{name}"):
            self._objects.create_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, consumer, _request_timeout=TIMEOUT_SECONDS
            )

    def change(self, namespace: str, name: str, change: Callable[[Object], Object]) -> None:
        """Change the spec of a Consumer by what ``change`` gives for its present state."""
        from kubernetes.client import ApiException  # noqa: PLC0415

        for attempt in range(1, CONFLICT_ATTEMPTS + 1):
            present = self.consumer(namespace, name)
            if present is None:
                raise CommandError(f"there is no Consumer {name} in namespace {namespace}")
            patch = {
                "metadata": {"resourceVersion": present["metadata"]["resourceVersion"]},  # refused if it has changed
                "spec": change(present),
            }
            with _readable_errors(f"change Consumer {namespace}/{name}"):
                try:
                    self._objects.patch_namespaced_custom_object(
                        GROUP,
                        VERSION,
                        namespace,
                        PLURAL,
                        name,
                        patch,
                        _content_type="application/merge-patch+json",
                        _request_timeout=TIMEOUT_SECONDS,
                    )
                except ApiException as error:
                    if error.status == 409 and attempt < CONFLICT_ATTEMPTS:
                        continue
                    raise
                return


def _or_none(call: Callable[[], Any]) -> Any:
    from kubernetes.client import ApiException  # noqa: PLC0415

    try:
        return call()
    except ApiException as error:
        if error.status == 404:
            return None
        raise


def _unless_forbidden(call: Callable[[], Any]) -> Any:
    """What a call answers; None where this account may not make it: what it was for is a courtesy."""
    from kubernetes.client import ApiException  # noqa: PLC0415

    try:
        return call()
    except ApiException as error:
        if error.status == 403:
            return None
        raise


@contextlib.contextmanager
def _readable_errors(action: str) -> Iterator[None]:
    import urllib3  # noqa: PLC0415  the client's own HTTP library, whose errors it lets through
    from kubernetes.client import ApiException  # noqa: PLC0415

    try:
        yield
    except ApiException as error:
        raise CommandError(_explained(action, error.status, error.reason, error.body)) from error
    except urllib3.exceptions.HTTPError as error:
        raise CommandError(f"could not {action}: the API server does not answer: {error}") from error


def _explained(action: str, status: int | None, reason: str | None, body: str | None) -> str:
    import json  # noqa: PLC0415

    message = reason or "unknown error"
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        message = json.loads(body or "").get("message", message)
    if status == 404:
        message += "; are Overspill's CustomResourceDefinitions installed, and is the namespace there?"
    if status == 403:
        message += "; ask for the role that the chart adds to edit and admin, and for get on the pepper's Secret"
    return f"could not {action}: {message}"
