"""The API server, on the asyncio half of the official ``kubernetes`` package: connections, credentials, TLS.

JSON goes in and out as it is: building the package's typed models costs more than the call itself.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from overspill_api.names import FIELD_MANAGER
from overspill_operator.adapters import telemetry
from overspill_operator.clock import Clock
from overspill_operator.ports import ClusterError, Json, Listing, WatchEvent

REQUEST_SECONDS = 20.0
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=REQUEST_SECONDS, connect=5)
"""A call that takes longer has failed; the next reconcile tries again."""

WATCH_SECONDS = 290
"""The server ends a watch after this long; bookmarks come every minute."""

WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5, sock_read=WATCH_SECONDS + 20)
"""A watch that is silent for longer than the server lets it live is dead."""

APPLY = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
LINE_BYTES_MAX = 2**24

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)
"""What reading an answer raises that is not what an API server answers, as of a proxy before it."""

_RESOURCE = re.compile(r"^/apis?/(?:v1|[^/]+/[^/]+)(?:/namespaces/[^/]+)?/([a-z]+)")


class ApiServer:
    """``ports.Cluster`` on a real API server. ``close`` it in the end."""

    def __init__(self, api: client.ApiClient, clock: Clock, seconds_to_write: Callable[[], float]) -> None:
        """``seconds_to_write``: asked before every change, which is given up after that long.

        None are left to a leader whose lease has run out, so that no write of it is under way when another one leads.
        """
        self._host = api.configuration.host
        self._api = api
        self._clock = clock
        self._seconds_to_write = seconds_to_write

    @classmethod
    async def connect(cls, clock: Clock) -> "ApiServer":
        """With the pod's service account, or outside a cluster the current context of KUBECONFIG."""
        configuration = client.Configuration()
        configuration.connection_pool_maxsize = 64
        configuration.client_session_kwargs = {"read_bufsize": LINE_BYTES_MAX}
        if IN_CLUSTER in os.environ:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return cls(client.ApiClient(configuration), clock, lambda: REQUEST_SECONDS)

    def guarded(self, seconds_to_write: Callable[[], float]) -> "ApiServer":
        """The same server over the same connections, for changes that only a leader may make.

        The lease's renewals keep a connection open, so that a wake after hours of silence need not open one.
        """
        return ApiServer(self._api, self._clock, seconds_to_write)

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, path: str) -> Json | None:
        """See ``ports.Cluster``."""
        try:
            return await self._json("GET", path)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, path: str, *, labels: str = "", fields: str = "", metadata_only: bool = False, fresh: bool = False
    ) -> Listing:
        """See ``ports.Cluster``."""
        query = {"labelSelector": labels} if labels else {}
        if fields:
            query["fieldSelector"] = fields
        if not fresh:
            query["resourceVersion"] = "0"  # the API server answers from its memory
        accept = METADATA_LIST if metadata_only else "application/json"
        answer = await self._json("GET", path, query=query, accept=accept)
        try:
            return Listing(tuple(_identified(item) for item in answer.get("items") or ()), _version(answer))
        except UNREADABLE as error:
            raise ClusterError(0, "ListUnreadable", f"GET {path}: {_why(error)}") from error

    async def watch(self, path: str, *, resource_version: str, labels: str = "") -> AsyncIterator[WatchEvent]:
        """See ``ports.Cluster``."""
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_SECONDS),
        } | ({"labelSelector": labels} if labels else {})
        response = await self._request("GET", path, query=query, timeout=WATCH_TIMEOUT)
        try:
            async for line in response.content:
                yield _event(line)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # ValueError: a line that is too long
            raise ClusterError(0, "WatchBroken", _why(error)) from error
        finally:
            response.close()

    async def apply(self, path: str, manifest: Json, *, force: bool = True, dry_run: bool = False) -> Json:
        """See ``ports.Cluster``."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        return await self._json("PATCH", path, query=query, body=manifest, content_type=APPLY)

    async def merge_patch(self, path: str, patch: Json) -> Json:
        """See ``ports.Cluster``."""
        return await self._json(
            "PATCH", path, query={"fieldManager": FIELD_MANAGER}, body=patch, content_type=MERGE_PATCH
        )

    async def create(self, path: str, manifest: Json) -> Json:
        """See ``ports.Cluster``."""
        return await self._json("POST", path, query={"fieldManager": FIELD_MANAGER}, body=manifest)

    async def replace(self, path: str, manifest: Json) -> Json:
        """See ``ports.Cluster``."""
        return await self._json("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=manifest)

    async def delete(self, path: str, *, uid: str = "") -> None:
        """See ``ports.Cluster``; what belongs to the object goes in the background."""
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self._json("DELETE", path, body=options)
        except ClusterError as error:
            if error.status not in (404, 409):
                raise

    async def _json(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Json:
        timeout = REQUEST_TIMEOUT
        if method != "GET":
            left = self._seconds_to_write()
            timeout = aiohttp.ClientTimeout(total=min(REQUEST_SECONDS, left), connect=5)
        if timeout.total is not None and timeout.total <= 0:
            raise ClusterError(0, "NotLeader", "this process is no longer the leader, so it changes nothing")
        began = self._clock.monotonic()
        try:
            response = await self._request(
                method, path, query=query, body=body, content_type=content_type, accept=accept, timeout=timeout
            )
            answer: Json = _lean(json.loads(await response.read()))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ClusterError(0, "Unreachable", f"{method} {path}: {str(error) or type(error).__name__}") from error
        except UNREADABLE as error:
            raise ClusterError(0, "Unreadable", f"{method} {path}: {_why(error)}") from error
        finally:
            telemetry.API_CALLS.labels(method, _resource(path)).observe(self._clock.monotonic() - began)
        return answer

    async def _request(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own
        query: dict[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> aiohttp.ClientResponse:
        """The answer, its body unread. Raises ClusterError where the server refuses or is not there."""
        url = self._host + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": accept, "Content-Type": content_type}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            answer = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=timeout
            )
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            telemetry.API_ERRORS.labels(method, _resource(path), "0").inc()
            raise ClusterError(0, "Unreachable", f"{method} {path}: {str(error) or type(error).__name__}") from error
        response: aiohttp.ClientResponse = answer.response
        if response.status >= 400:
            if response.status != 404:
                telemetry.API_ERRORS.labels(method, _resource(path), str(response.status)).inc()
            raise _error(response.status, _status_object(await response.read()))
        return response


def _lean(live: dict[str, Any]) -> Json:
    """The object without its managedFields, half of its size and of no use here."""
    meta = live.get("metadata")
    if meta:
        meta.pop("managedFields", None)
    return live


def _identified(live: dict[str, Any]) -> Json:
    """An object of a collection; raises one of ``UNREADABLE`` where it does not say which object it is."""
    meta = live["metadata"]
    if not (meta["name"] and isinstance(meta["name"], str)):
        raise ValueError("an object without a name")
    _version(live)
    return _lean(live)


def _version(live: Json) -> str:
    """Of an object or of a list; raises one of ``UNREADABLE`` where there is none: nothing could go on from it."""
    version = live["metadata"]["resourceVersion"]
    if not (version and isinstance(version, str)):
        raise ValueError("metadata.resourceVersion is empty")
    return version


def _event(line: bytes) -> WatchEvent:
    """A line of a watch; raises ClusterError where it is the server's word that the watch is over, or no event."""
    try:
        event = json.loads(line)
        kind, live = event["type"], event["object"]
        if kind == "ERROR":
            failure = _error(int(live.get("code", 500)), live)
        else:
            _version(live)
            return WatchEvent(kind, live if kind == "BOOKMARK" else _identified(live))
    except UNREADABLE as error:
        raise ClusterError(0, "WatchUnreadable", f"a watch tells what is no event: {_why(error)}") from error
    raise failure


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _error(status: int, answer: Json) -> ClusterError:
    return ClusterError(status, answer.get("reason") or "Unknown", answer.get("message") or "no message")


def _status_object(content: bytes) -> Json:
    try:
        parsed = json.loads(content)
    except ValueError:
        return {"message": content[:500].decode(errors="replace")}
    return parsed if isinstance(parsed, dict) else {"message": str(parsed)}


def _resource(path: str) -> str:
    match = _RESOURCE.match(path)
    return match.group(1) if match else "other"
