"""As much of a Kubernetes client as starting a cluster takes: get, apply, wait. Tests use kubectl or a real client."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.03
FIELD_MANAGER = "local-cluster"


class ApiError(Exception):
    """The API server's refusal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """One API server, as an identity whose key and certificate lie in a folder."""

    def __init__(self, url: str, pki: Path, identity: str = "admin") -> None:
        parts = urllib.parse.urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._address = (parts.hostname, parts.port)
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._context.load_cert_chain(pki / f"{identity}.crt", pki / f"{identity}.key")
        self._connection: http.client.HTTPSConnection | None = None

    def request(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Any:
        """The answer, decoded if it is JSON. A kept connection that has gone is opened again once."""
        content = None if body is None else json.dumps(body)
        fresh = self._connection is None
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(*self._address, timeout=10, context=self._context)
        try:
            self._connection.request(
                method, path, content, {"Content-Type": content_type, "Accept": "application/json"}
            )
            response = self._connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException):
            self.close()
            if fresh:
                raise
            return self.request(method, path, body, content_type)
        if response.status >= 400:
            raise ApiError(response.status, text[:500])
        return json.loads(text) if response.headers.get_content_type() == "application/json" else text

    def apply(self, path: str, manifest: dict[str, Any]) -> None:
        """Server-side apply of one object."""
        query = f"?fieldManager={FIELD_MANAGER}&force=true"
        self.request("PATCH", path + query, manifest, "application/apply-patch+yaml")

    def holds(self, condition: Callable[[Api], bool]) -> bool:
        """Whether a condition holds; what is not there yet and what does not answer counts as no."""
        try:
            return condition(self)
        except (OSError, http.client.HTTPException, ApiError):
            return False

    def close(self) -> None:
        """Drop the kept connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def wait_until(holds: Callable[[], bool], what: str, within_seconds: float, hint: Callable[[], str] = str) -> None:
    """Look until it holds; `hint` is asked for what went wrong when time is up."""
    deadline = time.monotonic() + within_seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not after {within_seconds:.0f} s. {hint()}".rstrip())
        time.sleep(POLL_SECONDS)


def ready(api: Api) -> bool:
    """Whether the API server says that it is ready."""
    return bool(api.request("GET", "/readyz") == "ok")


def has_default_service_account(api: Api) -> bool:
    """Bare pods cannot be created before this one exists."""
    api.request("GET", "/api/v1/namespaces/default/serviceaccounts/default")
    return True


def has_condition(path: str, condition: str) -> Callable[[Api], bool]:
    """A check that an object's status has a condition that is True."""

    def check(api: Api) -> bool:
        conditions = api.request("GET", path).get("status", {}).get("conditions", [])
        return any(item["type"] == condition and item["status"] == "True" for item in conditions)

    return check
