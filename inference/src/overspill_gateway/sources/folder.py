"""Routes, consumers and endpoints from a folder: for machines without a cluster, for tests and benchmarks.

    route.<anything>.json       a compiled route
    consumer.<anything>.json    a compiled consumer
    endpoints.json              {"<namespace>/<service>": [{"address": "127.0.0.1", "port": 8001, "pod": "a"}, ...]}

The folder is looked at once a second; a changed file is read again, a vanished one takes its route with it.
"""

import asyncio
import logging
from pathlib import Path
from typing import Final

import msgspec

from overspill_gateway.core.rotation import EndpointFact
from overspill_gateway.sources.documents import read_document
from overspill_gateway.sources.documents_by_object import DocumentsByObject
from overspill_gateway.sources.port import Sink

logger = logging.getLogger(__name__)
ENDPOINTS: Final = "endpoints.json"


class _Endpoint(msgspec.Struct, forbid_unknown_fields=True):
    address: str
    port: int | None = None
    pod: str = ""
    uid: str = ""
    ready: bool = True
    terminating: bool = False


class FolderSource:
    """Reads a folder."""

    def __init__(self, folder: Path, sink: Sink, period_seconds: float = 1.0) -> None:
        self._folder = folder
        self._sink = sink
        self._period = period_seconds
        self._documents = DocumentsByObject(sink)
        self._seen: dict[str, tuple[int, int]] = {}
        self._services: set[str] = set()
        self._read_once = False
        self._own_errors = 0

    @property
    def errors_total(self) -> int:
        """Files that could not be used."""
        return self._documents.errors_total + self._own_errors

    def missing(self) -> str | None:
        """What has not been read yet."""
        return None if self._read_once else f"{self._folder} has not been read yet"

    async def run(self) -> None:
        """Look at the folder until cancelled."""
        while True:
            try:
                self.look()
            except OSError as error:
                self._own_errors += 1
                logger.warning("%s can't be read: %s", self._folder, error)
            except Exception:  # whatever it is, looking must go on
                self._own_errors += 1
                logger.exception("%s: an error of this program", self._folder)
            await asyncio.sleep(self._period)

    def look(self) -> None:
        """Read what has changed since the last look."""
        now: dict[str, tuple[int, int]] = {}
        for path in self._folder.iterdir():
            if path.suffix == ".json":
                stat = path.stat()
                now[path.name] = (stat.st_mtime_ns, stat.st_size)
        changed = [name for name, stamp in now.items() if self._seen.get(name) != stamp]
        self._seen = now
        for name in sorted(changed):
            kind = name.partition(".")[0]
            if name == ENDPOINTS:
                self._read_endpoints(self._folder / name)
            elif kind in {"route", "consumer"}:
                text = (self._folder / name).read_bytes()
                self._documents.take(name, lambda kind=kind, text=text: read_document(kind, text))  # type: ignore[misc]
        self._documents.keep_only(set(now))
        if ENDPOINTS not in now:
            self._set_services({})
        self._read_once = True

    def _read_endpoints(self, path: Path) -> None:
        try:
            services = msgspec.json.decode(path.read_bytes(), type=dict[str, list[_Endpoint]])
        except msgspec.DecodeError as error:
            self._own_errors += 1
            logger.warning("%s can't be used: %s; the last good one stays", path.name, error)
            return
        self._set_services(services)

    def _set_services(self, services: dict[str, list[_Endpoint]]) -> None:
        for gone in self._services - services.keys():
            self._set_service(gone, [])
        for service, endpoints in services.items():
            self._set_service(service, endpoints)
        self._services = set(services)

    def _set_service(self, service: str, endpoints: list[_Endpoint]) -> None:
        namespace, _, name = service.partition("/")
        facts = tuple(
            EndpointFact(one.address, one.port, one.pod or one.address, one.uid, one.ready, one.terminating)
            for one in endpoints
        )
        self._sink.set_slice((namespace, name), "folder", facts)
