"""Routes, consumers and endpoints from a Kubernetes API server: Secrets and EndpointSlices, listed and watched.

The gateway keeps serving what it knows while the API server is away. Reading documents is in ``documents``, the
list-and-watch loop in ``reflector``.
"""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from overspill_api.names import LABEL_COMPILED, LABEL_ROUTE, LABEL_SOURCE_NAME, LABEL_SOURCE_NAMESPACE
from overspill_gateway.sources.documents import (
    SERVICE_LABEL,
    DocumentError,
    EndpointSlice,
    Secret,
    facts_of_slice,
    read_document,
    text_of_secret,
)
from overspill_gateway.sources.documents_by_object import DocumentsByObject, Subject, subject_of
from overspill_gateway.sources.pepper import PepperReader
from overspill_gateway.sources.port import Sink
from overspill_gateway.sources.reflector import Reflector

logger = logging.getLogger(__name__)

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 90.0
"""The longest a watch may say nothing: the API server bookmarks every 60 s, so a silent one is a dead one."""


@dataclass(frozen=True, slots=True)
class KubernetesAccess:
    """How to reach and convince an API server."""

    url: str
    """Such as https://10.0.0.1:443."""
    ca_file: Path | None = None
    """Authority of the server's certificate; None: the system's."""
    token_file: Path | None = None
    """Bearer token, read anew for each call since it rotates."""
    client_certificate: tuple[Path, Path] | None = None
    """Certificate and key, for use outside a cluster."""

    @staticmethod
    def in_cluster(host: str, port: str) -> "KubernetesAccess":
        """The pod's service account."""
        shown = f"[{host}]" if ":" in host else host
        return KubernetesAccess(f"https://{shown}:{port}", _ACCOUNT / "ca.crt", _ACCOUNT / "token")

    def headers(self) -> dict[str, str]:
        """Authorization, where a token is used."""
        return {"authorization": f"Bearer {self.token_file.read_text().strip()}"} if self.token_file else {}

    def check(self) -> None:
        """Whether a client can be made; raises OSError (ssl.SSLError is one) or ValueError, which say what is wrong."""
        self.context()
        self.headers()
        httpx.URL(self.url)

    def context(self) -> ssl.SSLContext:
        """Trusts this server only."""
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        if self.client_certificate is not None:
            context.load_cert_chain(*self.client_certificate)
        return context

    def client(self) -> httpx.AsyncClient:
        """A client that trusts this server only."""
        timeout = httpx.Timeout(CONNECT_SECONDS, read=SILENCE_SECONDS, pool=None)
        return httpx.AsyncClient(base_url=self.url, verify=self.context(), timeout=timeout, trust_env=False)


class KubernetesSource:
    """Watches Secrets of one namespace, and EndpointSlices of all or of some."""

    def __init__(
        self,
        access: KubernetesAccess,
        namespace: str,
        sink: Sink,
        *,
        pepper_secret: str = "",
        watched: Sequence[str] = (),
    ) -> None:
        """``pepper_secret``: where the pepper will be, if it is not known yet; ``watched``: namespaces, none: all."""
        self._access = access
        self._sink = sink
        self._documents = DocumentsByObject(sink)
        self._slices: dict[str, tuple[str, str]] = {}
        self._secrets = Reflector(
            f"/api/v1/namespaces/{namespace}/secrets", LABEL_COMPILED, Secret, self._put_secret, self._drop_secret
        )
        group = "/apis/discovery.k8s.io/v1"
        places = [f"{group}/namespaces/{place}/endpointslices" for place in watched] or [f"{group}/endpointslices"]
        self._endpoints = [
            Reflector(path, LABEL_ROUTE, EndpointSlice, self._put_slice, self._drop_slice) for path in places
        ]
        self._pepper = PepperReader(namespace, pepper_secret, sink.set_pepper)

    @property
    def errors_total(self) -> int:
        """Documents refused and calls failed."""
        return self._documents.errors_total + sum(reflector.errors_total for reflector in self._reflectors)

    def missing(self) -> str | None:
        """What has not been listed yet."""
        waiting = [reflector for reflector in self._reflectors if not reflector.listed]
        lists = [f"{reflector.path} has not been listed: {reflector.state}" for reflector in waiting]
        return "; ".join(filter(None, [*lists, self._pepper.missing()])) or None

    @property
    def _reflectors(self) -> "list[Reflector[Secret] | Reflector[EndpointSlice]]":
        return [self._secrets, *self._endpoints]

    async def run(self) -> None:
        """Watch until cancelled."""
        async with self._access.client() as client, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pepper.run(client, self._access.headers))
            for reflector in self._reflectors:
                tasks.create_task(reflector.run(client, self._access.headers))

    def _put_secret(self, secret: Secret) -> None:
        labels = secret.metadata.labels
        key = f"{labels.get(LABEL_SOURCE_NAMESPACE, '')}/{labels.get(LABEL_SOURCE_NAME, '')}".strip("/")
        name, kind = f"Secret {secret.metadata.name}", labels.get(LABEL_COMPILED, "")
        try:
            text = text_of_secret(secret)
        except DocumentError as error:
            self._documents.refuse(name, Subject(kind, key), error)
        else:
            self._documents.take(name, subject_of(kind, text, key), lambda: read_document(kind, text))

    def _drop_secret(self, name: str) -> None:
        self._documents.drop(f"Secret {name.partition('/')[2]}")

    def _put_slice(self, slice_: EndpointSlice) -> None:
        metadata = slice_.metadata
        key = f"{metadata.namespace}/{metadata.name}"
        service = (metadata.namespace, metadata.labels.get(SERVICE_LABEL, ""))
        before = self._slices.get(key)
        if before is not None and before != service:
            self._sink.set_slice(before, metadata.name, ())
        self._slices[key] = service
        self._sink.set_slice(service, metadata.name, facts_of_slice(slice_))

    def _drop_slice(self, key: str) -> None:
        service = self._slices.pop(key, None)
        if service is not None:
            self._sink.set_slice(service, key.partition("/")[2], ())
