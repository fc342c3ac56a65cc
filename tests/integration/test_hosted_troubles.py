"""A hosted API that refuses, from its answer to the condition: a real gateway, a real operator, the chart's rights."""

import base64
import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chart_rig import Release
from gateway_process import GatewayProcess, gateway, wait_ready
from operator_rig import Json, Rig, rig, wait_for
from overspill_api.keys import key_hash
from unit.gateway.certificates import make_certificate

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

GOOD_KEY = "right-key-0123456789"
MODEL = "gpt-big"
WORDS = "Incorrect API key provided. You can find your API key at https://platform.example.test/account."
CLIENT_KEY = "osk-abcdefghij12-" + "S" * 40
ANSWER: Json = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": MODEL,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class HostedApi:
    """A hosted API as providers are: a wrong key is 401, an unknown model 404, each with words."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """Answer as a provider would."""
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, document = answer(self.headers.get("Authorization", ""), question["model"])
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Nothing: a test's output is its own."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def answer(authorization: str, model: str) -> tuple[int, Json]:
    """Status and body."""
    if authorization != f"Bearer {GOOD_KEY}":
        return 401, {"error": {"message": WORDS, "type": "invalid_request_error", "code": "invalid_api_key"}}
    if model != MODEL:
        words = f"The model `{model}` does not exist or you do not have access to it."
        return 404, {"error": {"message": words, "type": "invalid_request_error", "code": "model_not_found"}}
    return 200, ANSWER


class World:
    """All parts, running."""

    def __init__(self, parts: Rig, front: GatewayProcess) -> None:
        self.rig = parts
        self.gateway = front

    def route(self, name: str, base_url: str, model: str = MODEL) -> None:
        """A route with nothing but one hosted API, known to the gateway."""
        credentials = {"secretName": f"{name}-key"}
        entry: dict[str, Any] = {"name": "api", "baseURL": base_url, "model": model, "credentials": credentials}
        self.rig.route(name, {"hosted": [entry]})
        wait_for(f"the gateway knows {name}", lambda: name in self.gateway.models(CLIENT_KEY)[1])

    def fails(self, name: str, reason: str) -> str:
        """Ask until the condition says why it fails; the message."""
        self.gateway.ask(CLIENT_KEY, name)
        return str(self.rig.wait_condition(name, "HostedAvailable", "False", reason)["message"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An operator and a gateway with their own accounts, and a client's key."""
    folder: Path = tmp_path_factory.mktemp("hosted")
    with rig(folder, controllers=False) as parts:
        release = Release(parts)
        with gateway(parts, release) as front:
            operator = release.operator("operator-1", OVERSPILL_GATEWAY_ADDRESSES=front.admin_address)
            try:
                wait_for("it leads", lambda: operator.leads)
                wait_ready(front)
                let_in(parts, release)
                yield World(parts, front)
            finally:
                operator.stop()


def let_in(parts: Rig, release: Release) -> None:
    """A Consumer with the client's key, under the pepper that the operator has made."""
    secret = parts.live(f"/api/v1/namespaces/{release.namespace}/secrets/overspill-key-pepper")
    pepper = base64.b64decode(secret["data"]["pepper"])
    key = {"id": CLIENT_KEY.split("-")[1], "hash": key_hash(pepper, CLIENT_KEY)}
    kind = {"apiVersion": "overspill.dev/v1alpha1", "kind": "Consumer", "metadata": {"name": "me"}}
    path = "/apis/overspill.dev/v1alpha1/namespaces/default/consumers/me"
    parts.apply(path, {**kind, "spec": {"keys": [key], "routes": [{"name": "*"}]}})


@pytest.fixture(scope="module")
def api() -> Iterator[HostedApi]:
    """A hosted API."""
    made = HostedApi()
    yield made
    made.close()


def test_a_wrong_key_is_told_in_the_providers_words_until_it_is_mended(world: World, api: HostedApi) -> None:
    """Condition and Event have the words; within ten seconds of the Secret's correction all is as it should be."""
    world.rig.secret("mine-key", {"api-key": "wrong-key-0123456789"})
    world.route("mine", f"http://127.0.0.1:{api.port}/v1")
    message = world.fails("mine", "CredentialsRefused")
    assert WORDS.rstrip(".") in message
    assert "wrong-key" not in message
    world.rig.wait_condition("mine", "Ready", "False", "CredentialsRefused")
    told = wait_for("an Event", lambda: [e for e in world.rig.events("mine") if e["reason"] == "CredentialsRefused"])
    assert told[0]["type"] == "Warning"
    assert "Incorrect API key provided" in told[0]["note"]

    world.rig.secret("mine-key", {"api-key": GOOD_KEY})
    since = time.monotonic()
    wait_for("no fault", lambda: world.rig.condition("mine", "HostedAvailable").get("status") == "True", 10)
    wait_for("an answer", lambda: world.gateway.ask(CLIENT_KEY, "mine")[0] == 200, 10)
    print(f"mended key in use after {time.monotonic() - since:.1f} s")
    assert time.monotonic() - since < 10
    world.rig.wait_condition("mine", "HostedAvailable", "True", "Answering")
    mended = [event for event in world.rig.events("mine") if event["type"] == "Normal"]
    assert mended


def test_a_model_that_the_provider_does_not_know(world: World, api: HostedApi) -> None:
    """Its 404 is the model's fault, and said so."""
    world.rig.secret("lost-key", {"api-key": GOOD_KEY})
    world.route("lost", f"http://127.0.0.1:{api.port}/v1", "gpt-0")
    message = world.fails("lost", "ModelNotFound")
    assert "The model `gpt-0` does not exist" in message
    assert "check hosted[].model" in message


def test_a_host_without_a_name(world: World) -> None:
    """The name is in nobody's list."""
    world.rig.secret("nowhere-key", {"api-key": GOOD_KEY})
    world.route("nowhere", "https://no-such-host.invalid/v1")
    assert "check baseURL" in world.fails("nowhere", "NameNotResolved")


def test_a_certificate_that_nobody_signed(world: World, tmp_path: Path) -> None:
    """The handshake's fault is told apart from a server that is not there."""
    made = HostedApi(make_certificate(tmp_path))
    try:
        world.rig.secret("odd-key", {"api-key": GOOD_KEY})
        world.route("odd", f"https://127.0.0.1:{made.port}/v1")
        assert "its TLS certificate is not trusted" in world.fails("odd", "CertificateRefused")
    finally:
        made.close()
