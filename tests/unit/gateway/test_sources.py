"""Sources: documents out of Secrets, endpoints out of slices, a folder, and the list-and-watch loop."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from overspill_api.compiled import CompiledConsumer, CompiledRoute
from overspill_api.demand import RefusedDocument
from overspill_gateway.core.backends.rotation import EndpointFact
from overspill_gateway.sources import reflector as reflector_module
from overspill_gateway.sources.documents import (
    DocumentError,
    EndpointSlice,
    Secret,
    facts_of_slice,
    read_document,
    text_of_secret,
)
from overspill_gateway.sources.folder import FolderSource
from overspill_gateway.sources.reflector import Reflector
from unit.gateway.harness import eventually

ROUTE: dict[str, Any] = {
    "namespace": "ns", "name": "tiny", "uid": "u", "generation": 1, "model": "tiny",
    "overflow": {"on_cold_start": "Hold"},
}  # fmt: skip
CONSUMER: dict[str, Any] = {"namespace": "ns", "name": "me", "uid": "u", "generation": 1}


class Memory:
    """A sink that remembers what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def set_route(self, compiled: CompiledRoute) -> None:
        """Remember."""
        self.told.append(("route", compiled.key, compiled.generation))

    def remove_route(self, key: str) -> None:
        """Remember."""
        self.told.append(("no route", key))

    def set_consumer(self, compiled: CompiledConsumer) -> None:
        """Remember."""
        self.told.append(("consumer", f"{compiled.namespace}/{compiled.name}"))

    def remove_consumer(self, key: str) -> None:
        """Remember."""
        self.told.append(("no consumer", key))

    def set_slice(self, service: tuple[str, str], name: str, facts: tuple[EndpointFact, ...]) -> None:
        """Remember."""
        self.told.append(("slice", service, name, [fact.address for fact in facts]))

    def set_pepper(self, pepper: bytes) -> None:
        """The pepper has come."""
        self.pepper = pepper

    def set_refused(self, documents: tuple[RefusedDocument, ...]) -> None:
        """Remember."""
        self.told.append(("refused", *sorted(document.key for document in documents)))

    def take(self) -> list[tuple[Any, ...]]:
        """What was told since the last time."""
        told, self.told = self.told, []
        return told


def secret(kind: str, text: bytes) -> Secret:
    """A compiled Secret as the API server gives it."""
    encoded = base64.b64encode(text).decode()
    metadata = {"name": "x", "labels": {"overspill.dev/compiled": kind}}
    return msgspec.convert({"metadata": metadata, "data": {"document.json": encoded}}, Secret)


def document_of(made: Secret) -> CompiledRoute | CompiledConsumer:
    """Its document, as the source reads it."""
    return read_document(made.metadata.labels["overspill.dev/compiled"], text_of_secret(made))


def test_a_secret_holds_a_document() -> None:
    """The label says which kind it is; unknown fields are ignored, since the operator may be newer."""
    document = document_of(secret("route", json.dumps(ROUTE | {"from_the_future": 1}).encode()))

    assert isinstance(document, CompiledRoute)
    assert document.key == "ns/tiny"
    assert isinstance(document_of(secret("consumer", json.dumps(CONSUMER).encode())), CompiledConsumer)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: secret("cake", b"{}"), "'cake'"),
        (lambda: secret("route", b"not json"), "not a compiled route"),
        (lambda: secret("route", json.dumps(ROUTE | {"overflow": {}}).encode()), "overflow.on_cold_start"),
        (lambda: secret("route", json.dumps(ROUTE | {"version": 2}).encode()), "upgrade the gateway"),
        (lambda: Secret(secret("route", b"").metadata, {}), "no key document.json"),
        (lambda: Secret(secret("route", b"").metadata, {"document.json": "?"}), "not base64"),
    ],
)
def test_a_bad_secret_says_what_is_wrong(made: Callable[[], Secret], told: str) -> None:
    """The message names the place and what mends it."""
    with pytest.raises(DocumentError, match=told):
        document_of(made())


def test_an_error_never_holds_a_credential() -> None:
    """What is wrong is told without the document's values."""
    hosted = {"name": "a", "base_url": "http://x", "model": 3, "api_key": "sk-secret"}

    with pytest.raises(DocumentError) as caught:
        read_document("route", json.dumps(ROUTE | {"hosted": [hosted]}).encode())

    assert "hosted.0.model" in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_endpoints_of_a_slice() -> None:
    """Conditions that are absent count as Kubernetes says: ready yes, terminating no. No address: no endpoint."""
    slice_ = msgspec.convert(
        {
            "metadata": {"name": "x"},
            "ports": [{"name": "metrics", "port": 9000}, {"name": "http", "port": 8001}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "targetRef": {"name": "pod-a", "uid": "a"}},
                {"addresses": ["fd00::1"], "conditions": {"ready": False, "terminating": True}},
                {"addresses": []},
            ],
        },
        EndpointSlice,
    )

    assert facts_of_slice(slice_) == (
        EndpointFact("10.0.0.1", 8001, "pod-a", "a", ready=True, terminating=False),
        EndpointFact("fd00::1", 8001, "fd00::1", "", ready=False, terminating=True),
    )
    assert facts_of_slice(msgspec.convert({"metadata": {}, "endpoints": None, "ports": None}, EndpointSlice)) == ()


def test_a_slice_of_anybody_adds_nothing_to_a_head() -> None:
    """Names of pods stand in a header of answers: what is no name is not told there."""
    ends = [
        {"addresses": ["10.0.0.7"], "targetRef": {"name": "a\r\nset-cookie: b=c", "uid": "u"}},
        {"addresses": ["10.0.0.8\r\nx: y"], "targetRef": {"name": "pod", "uid": "v"}},
    ]
    slice_ = msgspec.convert({"metadata": {}, "endpoints": ends, "ports": None}, EndpointSlice)
    assert [(fact.address, fact.pod) for fact in facts_of_slice(slice_)] == [("10.0.0.7", "10.0.0.7")]


@pytest.mark.parametrize(
    "change", [{"api_key": "k\r\nx-evil: 1"}, {"api_key": "k\u2011"}, {"api_key": "\ufeffk"}, {"name": "a\r\nb: c"}]
)
def test_a_document_that_would_change_a_head_is_refused(change: dict[str, str]) -> None:
    """Whatever made it: the gateway checks what becomes part of a head, and tells nothing of a key."""
    backend = {"name": "api", "base_url": "https://x.test/v1", "model": "m", "api_key": "secret", **change}
    text = json.dumps({**ROUTE, "hosted": [backend]}).encode()
    with pytest.raises(DocumentError, match=r"hosted\.0\.(api_key|name)") as caught:
        read_document("route", text)
    assert "evil" not in str(caught.value)


def test_a_folder_is_followed(tmp_path: Path) -> None:
    """Files that appear, change, break and vanish: routes follow, the last good one stays."""
    memory = Memory()
    source = FolderSource(tmp_path, memory)
    assert source.missing() is not None
    route, endpoints = tmp_path / "route.tiny.json", tmp_path / "endpoints.json"
    route.write_text(json.dumps(ROUTE))
    (tmp_path / "consumer.me.json").write_text(json.dumps(CONSUMER))
    endpoints.write_text('{"ns/tiny-engine": [{"address": "127.0.0.1", "port": 1}]}')
    source.look()
    assert source.missing() is None
    assert memory.take() == [
        ("consumer", "ns/me"),
        ("slice", ("ns", "tiny-engine"), "folder", ["127.0.0.1"]),
        ("route", "ns/tiny", 1),
    ]

    source.look()
    assert memory.take() == []

    route.write_text("broken")
    endpoints.write_text('{"ns/tiny-engine": [{"adress": "x"}]}')
    source.look()
    assert memory.take() == [("refused", "ns/tiny")]
    assert source.errors_total == 2
    source.look()
    assert memory.take() == []
    assert source.errors_total == 2, "what is wrong is told once, not at each look"

    route.write_text(json.dumps(ROUTE | {"generation": 20}))
    source.look()
    assert memory.take() == [("route", "ns/tiny", 20), ("refused",)]

    for path in tmp_path.iterdir():
        path.unlink()
    source.look()
    assert sorted(memory.take()) == [
        ("no consumer", "ns/me"),
        ("no route", "ns/tiny"),
        ("slice", ("ns", "tiny-engine"), "folder", []),
    ]


class ApiServer:
    """Answers lists and watches as scripted, without a socket."""

    def __init__(self) -> None:
        self.lists: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []
        self.events: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Serve one request."""
        parameters = dict(request.url.params)
        self.asked.append(parameters)
        if "watch" not in parameters:
            answer = self.lists.pop(0)
            return httpx.Response(answer.get("code", 200), json=answer)
        return httpx.Response(200, content=self._watch())

    async def _watch(self) -> AsyncIterator[bytes]:
        while (one := await self.events.get()) is not None:
            if isinstance(one, Exception):
                raise one
            yield one

    def event(self, kind: str, name: str, version: str) -> None:
        """One event of a watch, split into two reads."""
        line = json.dumps({"type": kind, "object": item(name, version)}).encode() + b"\n"
        self.events.put_nowait(line[:10])
        self.events.put_nowait(line[10:])


def item(name: str, version: str = "1") -> dict[str, Any]:
    """One object."""
    return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": version}}


def listed(*names: str, version: str = "10", more: str = "") -> dict[str, Any]:
    """One page of a list."""
    return {"metadata": {"resourceVersion": version, "continue": more}, "items": [item(name) for name in names]}


class Watched:
    """A reflector and what it has told."""

    def __init__(self, server: ApiServer) -> None:
        self.told: list[str] = []
        self.reflector = Reflector("/things", "label", Secret, self.put, lambda key: self.told.append(f"-{key}"))
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(server.handle), base_url="http://api")
        self.task = asyncio.create_task(self.reflector.run(self.client, dict))

    def put(self, thing: Secret) -> None:
        """It is there."""
        self.told.append(f"+{thing.metadata.name}@{thing.metadata.resourceVersion}")

    async def told_is(self, *expected: str) -> None:
        """Wait until exactly this was told."""
        await eventually(lambda: self.told == list(expected))
        self.told.clear()

    async def end(self) -> None:
        """Stop."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.client.aclose()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between failures are short."""
    monkeypatch.setattr(reflector_module, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(reflector_module, "BACKOFF_SECONDS_MAX", 0.002)


@pytest.mark.usefixtures("quick")
async def test_a_watch_goes_on_where_it_ended() -> None:
    """Pages are read to their end; a watch that ends is resumed at the last version, bookmarks included."""
    server = ApiServer()
    server.lists = [listed("a", more="token"), listed("b")]
    watched = Watched(server)
    await watched.told_is("+a@1", "+b@1")
    assert server.asked[1]["continue"] == "token"

    server.event("MODIFIED", "a", "11")
    server.event("DELETED", "b", "12")
    server.event("BOOKMARK", "", "20")
    server.events.put_nowait(None)
    await watched.told_is("+a@11", "-ns/b")

    await eventually(lambda: len(server.asked) == 4)
    assert [asked.get("resourceVersion") for asked in server.asked[2:]] == ["10", "20"]
    assert server.asked[3]["allowWatchBookmarks"] == "true"
    await watched.end()


@pytest.mark.usefixtures("quick")
async def test_a_forgotten_version_is_listed_anew() -> None:
    """After 410 the list is read again; what vanished meanwhile is dropped."""
    server = ApiServer()
    server.lists = [listed("a", "b"), listed("b", "c", version="30")]
    watched = Watched(server)
    await watched.told_is("+a@1", "+b@1")

    server.events.put_nowait(b'{"type":"ERROR","object":{"code":410,"message":"too old resource version"}}\n')

    await watched.told_is("+b@1", "+c@1", "-ns/a")
    assert watched.reflector.errors_total == 0
    await watched.end()


@pytest.mark.usefixtures("quick")
async def test_failures_keep_what_is_known(caplog: pytest.LogCaptureFixture) -> None:
    """A refused list, a broken watch, an unreadable object: counted and told once, nothing is dropped."""
    caplog.set_level(logging.WARNING)
    server = ApiServer()
    server.lists = [{"code": 403, "message": "secrets is forbidden"}, {"code": 403, "message": "secrets is forbidden"}]
    server.lists += [listed("a"), listed("a")]
    watched = Watched(server)
    await watched.told_is("+a@1")
    assert watched.reflector.listed
    assert len([one for one in caplog.records if "needs list and watch" in one.getMessage()]) == 1

    server.events.put_nowait(httpx.ReadError("reset"))
    server.events.put_nowait(b'{"type":"ADDED","object":{"metadata":{"name":3}}}\n')
    server.event("ADDED", "b", "11")
    await watched.told_is("+a@1", "+b@11")
    assert watched.reflector.errors_total == 4
    await watched.end()


async def test_a_server_that_ends_each_watch_at_once_is_not_asked_without_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor one that says at once again that it has forgotten: each asking has its pause, ever longer ones."""
    pauses: list[float] = []

    async def pause(_reflector: object, seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(Reflector, "_pause", pause)
    monkeypatch.setattr(reflector_module, "BACKOFF_SECONDS", 1.0)
    monkeypatch.setattr(reflector_module, "BACKOFF_SECONDS_MAX", 100.0)
    server = ApiServer()
    server.lists = [listed("a"), listed("a"), listed("a")]
    for _ in range(3):
        server.events.put_nowait(None)
    watched = Watched(server)
    await eventually(lambda: len(pauses) == 3)
    for _ in range(2):
        server.events.put_nowait(b'{"type":"ERROR","object":{"code":410,"message":"too old resource version"}}\n')
    await eventually(lambda: len(pauses) == 5)
    assert all(longest / 2 <= seconds <= longest for seconds, longest in zip(pauses, (1, 2, 4, 8, 16), strict=True))
    await watched.end()


@pytest.mark.usefixtures("quick")
async def test_what_lies_behind_an_event_that_cannot_be_read_is_found() -> None:
    """A watch from before it would tell it again and again, and nothing of what came after."""
    server = ApiServer()
    server.lists = [listed("a"), listed("b", version="20")]
    watched = Watched(server)
    await watched.told_is("+a@1")
    server.events.put_nowait(b'{"type":"MODIFIED","object":{"kind":"Thing"}}\n')
    await watched.told_is("+b@1", "-ns/a")
    await eventually(lambda: server.asked[-1].get("resourceVersion") == "20")
    await watched.end()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("odd", [listed("a", version=""), listed("a", more="on")])
async def test_a_list_that_leads_nowhere_is_a_failure(odd: dict[str, Any]) -> None:
    """One without a version would be asked for again at once, for ever; so would one whose page leads to itself."""
    server = ApiServer()
    server.lists = [odd, odd, listed("b", version="30")]
    watched = Watched(server)
    await eventually(lambda: watched.told[-1:] == ["+b@1"])
    await eventually(lambda: watched.reflector.state == "watched")
    assert watched.reflector.errors_total > 0
    await watched.end()


@pytest.mark.usefixtures("quick")
async def test_one_object_that_breaks_the_receiver_keeps_no_other() -> None:
    """In a list and in a watch; it counts as being there, so that nothing of it is dropped."""
    server = ApiServer()
    server.lists = [listed("a", "bad", "c")]
    watched = Watched(server)
    put = watched.reflector.put

    def breaking(thing: Secret) -> None:
        if thing.metadata.name == "bad":
            raise ZeroDivisionError
        put(thing)

    watched.reflector.put = breaking
    await watched.told_is("+a@1", "+c@1")
    server.event("MODIFIED", "bad", "11")
    server.event("ADDED", "d", "12")
    await watched.told_is("+d@12")

    assert watched.reflector.listed
    assert watched.reflector.errors_total == 2
    await watched.end()


@pytest.mark.usefixtures("quick")
async def test_an_object_that_cannot_be_read_any_more_is_not_gone() -> None:
    """A list in which it has another form does not take its last good version away."""
    server = ApiServer()
    server.lists = [listed("a", "b"), listed("b", version="30")]
    server.lists[1]["items"].append({"metadata": {"name": "a", "namespace": "ns"}, "data": "no map"})
    watched = Watched(server)
    await watched.told_is("+a@1", "+b@1")
    server.events.put_nowait(b'{"type":"ERROR","object":{"code":410,"message":"too old resource version"}}\n')

    await watched.told_is("+b@1")
    await eventually(lambda: watched.reflector.state == "watched")
    assert watched.told == []
    await watched.end()
