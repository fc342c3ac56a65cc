"""One bad document concerns its own route or consumer alone: all others are followed, and it is told."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from overspill_api.compiled import CompiledConsumer, CompiledKey, CompiledRoute
from overspill_api.keys import key_hash
from overspill_gateway.core.backends.unusable import UnusableError
from overspill_gateway.sources.folder import FolderSource
from overspill_gateway.sources.port import Sink
from unit.gateway.harness import KEY, PEPPER, Client, eventually, running_gateway, soon
from unit.gateway.test_sources import Memory

ROUTE: dict[str, Any] = {
    "namespace": "ns", "name": "good", "uid": "u", "generation": 1, "model": "good",
    "overflow": {"on_cold_start": "Hold"},
}  # fmt: skip
CONSUMER: dict[str, Any] = {
    "namespace": "ns", "name": "me", "uid": "u", "generation": 1, "routes": ["ns/*"],
    "keys": [{"id": KEY[4:16], "hash": key_hash(PEPPER, KEY)}],
}  # fmt: skip


def hosted(**changes: Any) -> dict[str, Any]:
    """A route with one hosted API."""
    entry = {"name": "api", "base_url": "https://api.example.test/v1", "model": "m", "api_key": "sk-secret"} | changes
    return ROUTE | {"name": "bad", "model": "bad", "generation": 7, "hosted": [entry]}


UNUSABLE = {
    "a port out of range": hosted(base_url="https://api.example.test:99999/v1"),
    "port 0": hosted(base_url="https://api.example.test:0/v1"),
    "a port that is no number": hosted(base_url="https://x:abc/v1"),
    "a bracket that is not closed": hosted(base_url="http://[::1/v1"),
    "an address that is none": hosted(base_url="http://[zz]/v1"),
    "no host": hosted(base_url="https:///v1"),
    "another scheme": hosted(base_url="ftp://x.test/v1"),
    "a host beyond ASCII": hosted(base_url="https://\u4f8b.test/v1"),
    "a path beyond ASCII": hosted(base_url="https://x.test/\u00e9"),
    "a line break in the URL": hosted(base_url="https://x.test/v1\r\nx-a: b"),
    "a key beyond Latin-1": hosted(api_key="sk-\u200bsecret"),
    "a key with a byte order mark": hosted(api_key="\ufeffsk-secret"),
    "a key with a line break": hosted(api_key="sk-secret\r\nx-admin: yes"),
    "a key with a final line break": hosted(api_key="sk-secret\n"),
    "half a document": "cut",
    "a list": [],
    "a field of another type": hosted() | {"timeouts": 3},
}


class Folder:
    """A gateway over a folder, and a client of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source: FolderSource | None = None

    def make(self, sink: Sink) -> FolderSource:
        """The source, for the gateway."""
        self.source = FolderSource(self.path, sink, period_seconds=0.01)
        return self.source

    def write(self, name: str, document: object) -> None:
        """Put a file there, whole."""
        text = json.dumps(document) if not isinstance(document, str) else document
        (self.path / f".{name}").write_text(text)
        (self.path / f".{name}").rename(self.path / f"{name}.json")

    def look(self) -> None:
        """Let the gateway see it now."""
        assert self.source is not None
        self.source.look()


async def models(port: int) -> tuple[int, list[str]]:
    """What the key may call."""
    client = await Client.connect(port)
    client.send("GET", "/v1/models", authorization=f"Bearer {KEY}")
    answer = await soon(client.answer())
    client.close()
    return answer.status, [model["id"] for model in answer.json.get("data", [])] if answer.status == 200 else []


@pytest.mark.parametrize("document", UNUSABLE.values(), ids=UNUSABLE)
async def test_a_bad_route_freezes_nobody(tmp_path: Path, document: object, caplog: pytest.LogCaptureFixture) -> None:
    """It is there from the start, first in order: the others serve, keys that are deleted stop, it is told once."""
    caplog.set_level(logging.INFO)
    folder = Folder(tmp_path)
    folder.write("route.aaa", document)
    folder.write("route.good", ROUTE)
    folder.write("consumer.me", CONSUMER)
    async with running_gateway(make_source=folder.make) as running:
        await eventually(lambda: running.gateway.source.missing() is None)
        assert await models(running.port) == (200, ["good"])
        [refused] = running.gateway.catalog.refused
        assert refused.kind == "route"
        if isinstance(document, dict):
            assert (refused.key, refused.generation) == ("ns/bad", 7)
        assert "secret" not in refused.message
        assert "secret" not in caplog.text

        folder.write("route.zzz", ROUTE | {"name": "later", "model": "later"})
        folder.look()
        assert await models(running.port) == (200, ["good", "later"])
        (tmp_path / "consumer.me.json").unlink()
        folder.look()
        assert (await models(running.port))[0] == 401
        assert len([record for record in caplog.records if "can't be used" in record.getMessage()]) == 1

        folder.write("route.aaa", hosted())
        folder.look()
        assert running.gateway.catalog.refused == ()
        assert set(running.gateway.catalog.routes) == {"ns/bad", "ns/good", "ns/later"}


async def test_the_last_good_version_serves_whole(tmp_path: Path) -> None:
    """A changed document that can't be used changes nothing: not the aliases, not the first of two entries."""
    folder = Folder(tmp_path)
    good = hosted() | {"aliases": ["old"], "retry_attempts": 1}
    folder.write("route.bad", good)
    async with running_gateway(make_source=folder.make) as running:
        await eventually(lambda: "ns/bad" in running.gateway.catalog.routes)
        route = running.gateway.catalog.routes["ns/bad"]
        before = route.compiled, list(route.pool.hosted), route.pool.attempts_max, route.meter
        entries = [
            good["hosted"][0] | {"model": "other"},
            good["hosted"][0] | {"name": "b", "base_url": "http://x:1e3"},
        ]
        folder.write("route.bad", good | {"hosted": entries, "aliases": ["new"], "retry_attempts": 5, "generation": 8})
        folder.look()

        after = route.compiled, list(route.pool.hosted), route.pool.attempts_max, route.meter
        assert after == before
        assert running.gateway.catalog.refused[0].generation == 8

        (tmp_path / "route.bad.json").unlink()
        folder.look()
        assert not running.gateway.catalog.routes
        assert running.gateway.catalog.refused == ()


async def test_demand_says_what_is_refused_and_that_it_is_mended(tmp_path: Path) -> None:
    """In the first line of each reader, and at once when it changes."""
    folder = Folder(tmp_path)
    folder.write("route.bad", UNUSABLE["port 0"])
    async with running_gateway(make_source=folder.make) as running:
        await eventually(lambda: running.gateway.source.missing() is None)
        client = await Client.connect(running.gateway.admin_port)
        client.send("GET", "/demand")
        await soon(client.head())
        first = json.loads(await soon(client.chunk()))
        assert [(entry["kind"], entry["key"], entry["generation"]) for entry in first["refused"]] == [
            ("route", "ns/bad", 7)
        ]
        assert "base URL" in first["refused"][0]["message"]

        folder.write("route.bad", hosted())
        folder.look()
        lines: list[dict[str, Any]] = []
        while not lines or lines[-1]["refused"] is None:
            lines.append(json.loads(await soon(client.chunk())))
        assert lines[-1]["refused"] == []
        client.close()


@pytest.mark.interpreted  # a method of the catalog is replaced
async def test_an_error_of_the_gateway_itself_is_confined_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever one document makes the code do, the next one is taken; the log has the trace, once."""
    folder = Folder(tmp_path)
    async with running_gateway(make_source=folder.make) as running:
        catalog = running.gateway.catalog
        right = catalog.set_route

        def set_route(compiled: CompiledRoute) -> None:
            if compiled.name == "bad":
                raise ZeroDivisionError("secret")
            right(compiled)

        catalog.set_route = set_route  # type: ignore[method-assign]
        folder.write("route.bad", hosted())
        folder.write("route.good", ROUTE)
        folder.look()
        folder.look()

        assert set(catalog.routes) == {"ns/good"}
        assert catalog.refused[0].message == "an error of this gateway: ZeroDivisionError"
        assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_a_consumer_with_an_impossible_hash_is_refused(tmp_path: Path) -> None:
    """Comparing it would raise at each request that sends its key's id."""
    key = CompiledKey.model_construct(id=KEY[4:16], hash="\u00e9" * 64)
    consumer = CompiledConsumer.model_validate(CONSUMER).model_copy(update={"keys": (key,)})
    async with running_gateway(make_source=Folder(tmp_path).make) as running:
        with pytest.raises(UnusableError):
            running.gateway.catalog.set_consumer(consumer)
        assert (await models(running.port))[0] == 401


class Files:
    """What may lie in a folder."""

    @staticmethod
    def dangling(path: Path) -> None:
        """A link to nowhere."""
        path.symlink_to(path.with_name("nowhere"))

    @staticmethod
    def folder(path: Path) -> None:
        """A folder with a file's name."""
        path.mkdir()

    @staticmethod
    def fifo(path: Path) -> None:
        """A pipe, which would be waited for."""
        os.mkfifo(path)

    @staticmethod
    def huge(path: Path) -> None:
        """A file that would fill the memory, without taking any disk."""
        with path.open("wb") as file:
            file.truncate(1 << 40)

    @staticmethod
    def binary(path: Path) -> None:
        """No text."""
        path.write_bytes(b"\xff\xfe\x00\x00")

    @staticmethod
    def deep(path: Path) -> None:
        """Nested deeper than any reader goes."""
        path.write_text("[" * 200_000)


@pytest.mark.parametrize("name", ["route.a", "consumer.a", "endpoints"])
@pytest.mark.parametrize("make", [Files.dangling, Files.folder, Files.fifo, Files.huge, Files.binary, Files.deep])
async def test_a_file_that_is_none_keeps_nobody(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    """The others are read, and the gateway becomes ready: it has looked at all that was there."""
    make(tmp_path / f"{name}.json")
    folder = Folder(tmp_path)
    folder.write("route.good", ROUTE)
    async with running_gateway(make_source=folder.make) as running:
        await eventually(lambda: running.gateway.source.missing() is None)

        assert set(running.gateway.catalog.routes) == {"ns/good"}
        assert running.gateway.source.errors_total == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"ns/a": [{"address": "127.0.0.1", "port": 70000}]}',
        '{"ns/a": [{"address": "127.0.0.1", "port": 0}]}',
        '{"ns/a": [{"address": "", "port": 1}]}',
        '{"ns/a": [{"address": "a\\r\\nb"}]}',
        '{"a": []}',
        '{"a/b/c": []}',
        "[]",
    ],
)
def test_endpoints_that_cannot_be_leave_the_last_good_ones(tmp_path: Path, text: str) -> None:
    """Addresses become names in headers, ports sockets: neither is taken as it comes."""
    memory = Memory()
    source = FolderSource(tmp_path, memory)
    (tmp_path / "endpoints.json").write_text('{"ns/a": [{"address": "127.0.0.1", "port": 1}]}')
    source.look()
    memory.take()
    (tmp_path / "endpoints.json").write_text(text)
    source.look()

    assert memory.take() == []
    assert source.errors_total == 1


def test_a_file_is_read_until_it_is_whole(tmp_path: Path) -> None:
    """A copy that is caught in the middle, twice with the same length and time, is read again."""
    memory = Memory()
    source = FolderSource(tmp_path, memory)
    file, whole = tmp_path / "route.a.json", json.dumps(ROUTE)
    file.write_text(whole[:-1] + " ")
    stamp = file.stat().st_mtime_ns
    source.look()
    assert memory.take() == [("refused", "route.a.json")]
    file.write_text(whole)
    os.utime(file, ns=(stamp, stamp))
    source.look()

    assert memory.take() == [("route", "ns/good", 1), ("refused",)]


def test_two_files_with_one_route_do_not_fight(tmp_path: Path) -> None:
    """The first one holds it until it is gone; then the other's comes into force."""
    memory = Memory()
    source = FolderSource(tmp_path, memory)
    (tmp_path / "route.a.json").write_text(json.dumps(ROUTE))
    (tmp_path / "route.b.json").write_text(json.dumps(ROUTE | {"generation": 2}))
    source.look()
    source.look()
    assert memory.take() == [("route", "ns/good", 1)]
    (tmp_path / "route.a.json").unlink()
    source.look()

    assert memory.take() == [("no route", "ns/good"), ("route", "ns/good", 2)]


async def test_a_folder_on_a_disk_that_hangs_keeps_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read beside the event loop; readiness says that it has not been read."""
    hangs = asyncio.Event()
    loop = asyncio.get_running_loop()

    def scan(_: FolderSource) -> dict[str, Any]:
        asyncio.run_coroutine_threadsafe(hangs.wait(), loop).result()
        return {}

    monkeypatch.setattr(FolderSource, "_scan", scan)
    folder = Folder(tmp_path)
    async with running_gateway(make_source=folder.make) as running:
        assert (await models(running.port))[0] == 401
        assert "has not been read yet" in (running.gateway.source.missing() or "")
        hangs.set()
        await eventually(lambda: running.gateway.source.missing() is None)
