"""Names that both sides and the chart must agree on: API group, labels, annotations, Secret keys."""

GROUP = "overspill.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

FIELD_MANAGER = "overspill-operator"
"""Field manager of every server-side apply and of every scale that the operator writes."""

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "overspill"
"""Value of ``app.kubernetes.io/managed-by`` on all that the operator makes."""

LABEL_ROUTE = f"{GROUP}/route"
"""On engines, their pods, Services and (copied by Kubernetes) EndpointSlices: the ModelRoute's name."""

LABEL_COMPILED = f"{GROUP}/compiled"
"""On Secrets in the release's namespace: which compiled document they hold, ``route`` or ``consumer``."""

LABEL_SOURCE_NAMESPACE = f"{GROUP}/source-namespace"
"""On compiled Secrets: the namespace of the object they were compiled from."""

LABEL_SOURCE_NAME = f"{GROUP}/source-name"
"""On compiled Secrets: the name of the object they were compiled from."""

COMPILED_KEY = "document.json"
"""Key of the JSON document inside a compiled Secret."""

ACCEPTED_KEY = "accepted.json"
"""Key, in the same Secret, of the spec that the document was made from: what is in force while a newer one is wrong.
For the operator alone."""

ANNOTATION_ADOPT = f"{GROUP}/adopt"
"""A person puts it on an object of his own, with the name of the ModelRoute that may have it."""

PEPPER_KEY = "pepper"
"""Key of the pepper inside its Secret."""

LABEL_RELEASE = f"{GROUP}/release"
"""On what a release has made in the namespaces of ModelRoutes: the release's own namespace, by which it is known."""

ENGINE_KEY = "api-key"
"""Key inside the Secret that has the key of a route's engine."""

ANNOTATION_ENGINE_KEY = f"{GROUP}/engine-key"
"""On engines' pods: which key they were started with, as a short digest. Another one rolls them."""

ENGINE_PORT = 8000
"""TCP port on which an engine serves the OpenAI API."""

ENGINE_CONTAINER = "engine"
"""Name of the engine's container, for ``kubectl logs -c`` and for podTemplate merges."""


def engine_name(route_name: str) -> str:
    """Name of the Deployment and the Service that run a route's engine."""
    return f"{route_name}-engine"


ROUTE_NAME_LENGTH_MAX = 63 - len(engine_name(""))
"""A Service's name is one DNS label, and the name of a route that has an engine is part of it."""


def engine_key_secret(route_name: str) -> str:
    """Name of the Secret, in a route's namespace, with the key of its engine."""
    return f"{route_name}-engine-key"


def compiled_route_secret_name(namespace: str, name: str) -> str:
    """Name of the Secret with a route's compiled document; a namespace holds no dot, so it is unique."""
    return f"route.{namespace}.{name}"


def compiled_consumer_secret_name(namespace: str, name: str) -> str:
    """Name of the Secret with a consumer's compiled document."""
    return f"consumer.{namespace}.{name}"
