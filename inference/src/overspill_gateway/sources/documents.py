"""Reads what a source holds: compiled documents out of Secrets, endpoints out of EndpointSlices. No I/O here."""

import base64
import binascii
import re
from typing import Final

import msgspec
from pydantic import ValidationError

from overspill_api.compiled import DOCUMENT_VERSION, CompiledConsumer, CompiledRoute
from overspill_api.names import COMPILED_KEY, ENGINE_PORT, LABEL_COMPILED
from overspill_api.quantities import OBJECT_NAME_PATTERN
from overspill_gateway.core.backends.rotation import EndpointFact

SERVICE_LABEL: Final = "kubernetes.io/service-name"
_PORT_NAME: Final = "http"
_POD_NAME: Final = re.compile(OBJECT_NAME_PATTERN)
"""It goes into a header of answers; whoever may write EndpointSlices may write any text there."""
_ADDRESS: Final = re.compile(r"[0-9A-Za-z.:-]+")


class DocumentError(Exception):
    """A document can't be used; the message says where and why, and never holds a secret."""


class Metadata(msgspec.Struct):
    """As much of an object's metadata as is needed."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815 - Kubernetes' name
    labels: dict[str, str] = {}


class Secret(msgspec.Struct):
    """As much of a Secret as is needed."""

    metadata: Metadata
    data: dict[str, str] | None = None


class TargetReference(msgspec.Struct):
    """The pod behind an endpoint."""

    name: str = ""
    uid: str = ""


class Conditions(msgspec.Struct):
    """State of an endpoint; None means unknown."""

    ready: bool | None = None
    terminating: bool | None = None


class Endpoint(msgspec.Struct):
    """One endpoint of a slice."""

    addresses: list[str]
    conditions: Conditions = msgspec.field(default_factory=Conditions)
    targetRef: TargetReference | None = None  # noqa: N815 - Kubernetes' name


class Port(msgspec.Struct):
    """One port of a slice."""

    name: str | None = None
    port: int | None = None


class EndpointSlice(msgspec.Struct):
    """As much of an EndpointSlice as is needed."""

    metadata: Metadata
    endpoints: list[Endpoint] | None = None
    ports: list[Port] | None = None


def read_document(kind: str, text: bytes) -> CompiledRoute | CompiledConsumer:
    """The compiled route or consumer that a text is; raises DocumentError."""
    types: dict[str, type[CompiledRoute | CompiledConsumer]]
    types = {"route": CompiledRoute, "consumer": CompiledConsumer}
    if kind not in types:
        raise DocumentError(f"it is labelled {LABEL_COMPILED}={kind!r}, which this gateway does not know")
    try:
        document: CompiledRoute | CompiledConsumer = types[kind].model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise DocumentError(f"it is not a compiled {kind} ({faults})") from None
    if document.version > DOCUMENT_VERSION:
        raise DocumentError(
            f"it has version {document.version}, this gateway reads up to {DOCUMENT_VERSION}; upgrade the gateway"
        )
    return document


def text_of_secret(secret: Secret) -> bytes:
    """The text in a compiled Secret; raises DocumentError."""
    encoded = (secret.data or {}).get(COMPILED_KEY)
    if encoded is None:
        raise DocumentError(f"it has no key {COMPILED_KEY}")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):  # ValueError: characters beyond ASCII
        raise DocumentError(f"its key {COMPILED_KEY} is not base64") from None


def facts_of_slice(slice_: EndpointSlice) -> tuple[EndpointFact, ...]:
    """The endpoints of a slice that have an address."""
    ports = [listed.port for listed in slice_.ports or [] if listed.name == _PORT_NAME and listed.port]
    ports += [listed.port for listed in slice_.ports or [] if listed.port and not ports]
    port = ports[0] if ports else ENGINE_PORT
    facts = []
    for endpoint in slice_.endpoints or []:
        target = endpoint.targetRef or TargetReference()
        # One address only: Kubernetes promises that all of an endpoint's addresses are the same backend.
        for address in filter(_ADDRESS.fullmatch, endpoint.addresses[:1]):
            fact = EndpointFact(
                address=address,
                port=port,
                pod=target.name if _POD_NAME.fullmatch(target.name) else address,
                uid=target.uid,
                ready=endpoint.conditions.ready is not False,
                terminating=bool(endpoint.conditions.terminating),
            )
            facts.append(fact)
    return tuple(facts)
