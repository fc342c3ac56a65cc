"""A whole gateway on loopback for tests, its documents given by the test, and a client that sees every byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from overspill_api.compiled import CompiledConsumer, CompiledRoute
from overspill_api.keys import key_hash
from overspill_gateway.core.backends.rotation import EndpointFact
from overspill_gateway.gateway import Gateway
from overspill_gateway.routes.route import Route
from overspill_gateway.settings import ListenAddress, Settings
from overspill_gateway.sources.port import Sink, Source
from overspill_gateway.wire.server import PortState
from overspill_gateway.workers.worker_pool import Worker

PEPPER = b"pepper"
KEY = "osk-abcdefghij12-" + "S" * 40
MESSAGES = [{"role": "user", "content": "Hello"}]
WAIT_SECONDS = 5.0


class GivenSource:
    """A source that knows nothing by itself: tests write into the catalog."""

    errors_total = 0

    def __init__(self) -> None:
        self.absent: str | None = None

    def missing(self) -> str | None:
        """What has not been read."""
        return self.absent

    async def run(self) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()


@dataclass
class Answer:
    """What a client saw."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool
    """Whether the answer ended as its framing says."""

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error of an answer in OpenAI's shape."""
        document: dict[str, Any] = self.json
        assert set(document) == {"error"}
        error: dict[str, Any] = document["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error

    @property
    def served_by(self) -> str:
        """Who answered."""
        return self.headers["x-overspill-served-by"]

    @property
    def reason(self) -> str:
        """Why that one."""
        return self.headers["x-overspill-reason"]


class Client:
    """One client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Client:
        """Connect to a port of loopback."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        """Send one request; ``host`` may be given as well."""
        lines = [f"{method} {path} HTTP/1.1", f"host: {headers.pop('host', 'gateway')}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if method == "POST":
            lines.append(f"content-length: {len(body)}")
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read status and header fields."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.strip().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name not in headers, f"{name} came twice"
            headers[name] = value
        return int(first.split(" ")[1]), headers

    async def chunk(self) -> bytes:
        """Read one chunk; empty: the last one."""
        size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def answer(self, *, bodiless: bool = False) -> Answer:
        """Read one answer."""
        status, headers = await self.head()
        pieces: list[bytes] = []
        whole = True
        try:
            if bodiless or status in {204, 304}:
                pass
            elif "content-length" in headers:
                pieces.append(await self.reader.readexactly(int(headers["content-length"])))
            elif headers.get("transfer-encoding") == "chunked":
                while piece := await self.chunk():
                    pieces.append(piece)
            else:
                pieces.append(await self.reader.read())
        except (asyncio.IncompleteReadError, ConnectionError):
            whole = False
        return Answer(status, headers, b"".join(pieces), whole)

    async def at_end(self) -> bool:
        """Whether the gateway closes the connection without another byte."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read() == b""
        return True

    def close(self) -> None:
        """Go away."""
        self.writer.close()

    def reset(self) -> None:
        """Go away at once."""
        self.writer.transport.abort()


@dataclass
class GatewayUnderTest:
    """A gateway and what tests do with it."""

    gateway: Gateway
    source: GivenSource
    clients: list[Client] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Port of the API."""
        return self.gateway.port

    @property
    def api_port(self) -> PortState:
        """What all connections of the API's port share."""
        return self.gateway.public.state

    def allow(self, *routes: str, key: str = KEY, name: str = "me") -> None:
        """Let a consumer call these routes."""
        keys = [{"id": key.split("-")[1], "hash": key_hash(PEPPER, key)}]
        document = {"namespace": "ns", "name": name, "uid": "u", "generation": 1, "keys": keys, "routes": routes}
        self.gateway.catalog.set_consumer(CompiledConsumer.model_validate(document))

    def route(self, name: str = "tiny", **changes: Any) -> Route:
        """Give the gateway a route; without changes: an engine of its own, nothing hosted, Hold."""
        local = {"service": f"{name}-engine", "port": 8000, "served_model": name}
        document: dict[str, Any] = {
            "namespace": "ns",
            "name": name,
            "uid": f"uid-{name}",
            "generation": 1,
            "model": name,
            "local": local,
            "overflow": {"on_cold_start": "Hold"},
        }
        self.gateway.catalog.set_route(CompiledRoute.model_validate(document | changes))
        return self.gateway.catalog.routes[f"ns/{name}"]

    def endpoints(self, *facts: EndpointFact, route: str = "tiny") -> None:
        """Say which endpoints a route's Service has."""
        self.gateway.catalog.set_slice(("ns", f"{route}-engine"), "slice", facts)

    async def client(self) -> Client:
        """A new connection of a client."""
        client = await Client.connect(self.port)
        self.clients.append(client)
        return client

    async def post(self, model: str = "tiny", *, path: str = "/v1/chat/completions", **fields: Any) -> Answer:
        """Send one request on a connection of its own and read its answer."""
        client = await self.client()
        self.send(client, model, path=path, **fields)
        return await asyncio.wait_for(client.answer(), WAIT_SECONDS)

    @staticmethod
    def send(client: Client, model: str = "tiny", *, path: str = "/v1/chat/completions", **fields: Any) -> None:
        """Send one request."""
        body = json.dumps({"model": model, "messages": MESSAGES} | fields).encode()
        client.send("POST", path, body, authorization=f"Bearer {KEY}", content_type="application/json")

    async def admin(self, path: str) -> Answer:
        """GET a path of the admin port."""
        client = await Client.connect(self.gateway.admin_port)
        self.clients.append(client)
        client.send("GET", path)
        return await client.answer()


def pid_of(worker: Worker) -> int:
    """The process that works for a pool; it runs."""
    transport = worker.transport
    assert transport is not None
    pid = transport.get_pid()
    assert pid is not None
    return pid


def settings(**changes: Any) -> Settings:
    """Settings for free ports and no delays."""
    known: dict[str, Any] = {
        "listen": ListenAddress("127.0.0.1", 0),
        "admin_listen": ListenAddress("127.0.0.1", 0),
        "pepper": PEPPER,
        "pod_name": "gateway-0",
        "namespace": "overspill",
        "folder": None,
        "kube_url": None,
        "kube_ca": None,
        "kube_token_file": None,
        "kube_client_certificate": None,
        "drain_seconds": 5.0,
        "drain_delay_seconds": 0.0,
        "body_bytes_max": 1 << 20,
        "log_level": "INFO",
    } | changes
    return Settings(**known)


@contextlib.asynccontextmanager
async def running_gateway(
    make_source: Callable[[Sink], Source] | None = None, **changes: Any
) -> AsyncIterator[GatewayUnderTest]:
    """A gateway that knows one consumer, who may call everything in namespace ns; with a source of its own, nobody."""
    source = GivenSource()

    def given(_: Sink) -> GivenSource:
        return source

    gateway = Gateway(settings(**changes), make_source or given)
    await gateway.start()
    under_test = GatewayUnderTest(gateway, source)
    if make_source is None:
        under_test.allow("ns/*")
    try:
        yield under_test
    finally:
        for client in under_test.clients:
            client.close()
        await gateway.stop()
        await eventually(lambda: not gateway.connections)


async def eventually(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Wait until something is so; fail when it does not become so."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not condition():
        assert loop.time() < until, "it did not come to be"
        await asyncio.sleep(0.002)


async def soon(awaitable: Awaitable[Any]) -> Any:
    """The result of something that has to come soon."""
    return await asyncio.wait_for(awaitable, WAIT_SECONDS)
