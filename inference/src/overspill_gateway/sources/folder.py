"""Routes, consumers and endpoints from a folder: for machines without a cluster, for tests and benchmarks.

    route.<anything>.json       a compiled route
    consumer.<anything>.json    a compiled consumer
    endpoints.json              {"<namespace>/<service>": [{"address": "127.0.0.1", "port": 8001, "pod": "a"}, ...]}

The folder is looked at once a second; a changed file is read again, a vanished one takes its route with it. A file that
can't be read or used, because it is half-written, too long, or a link to nowhere, leaves its last good content in force
and is tried again at each look. Disks may hang: they are read in a thread of their own.
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec

from overspill_gateway.core.backends.rotation import EndpointFact
from overspill_gateway.sources.documents import DocumentError, read_document
from overspill_gateway.sources.documents_by_object import DocumentsByObject, Subject, subject_of
from overspill_gateway.sources.port import Sink
from overspill_gateway.wire.own_thread import in_own_thread
from overspill_gateway.wire.time_slice import TimeSlice

logger = logging.getLogger(__name__)
ENDPOINTS: Final = "endpoints.json"
FILE_BYTES_MAX: Final = 16 << 20
"""The longest file that is read: a thousand times a large document."""
SLICE_SECONDS: Final = 0.002
"""The longest that files are taken in without a break for requests."""

Stamp = tuple[int, int, int]
"""Change time, length and inode of a file: another of any of them means another content."""


class _Endpoint(msgspec.Struct, forbid_unknown_fields=True):
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=r"^[\x21-\x7e]+$")]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    pod: Annotated[str, msgspec.Meta(max_length=253, pattern=r"^[\x21-\x7e]*$")] = ""
    uid: str = ""
    ready: bool = True
    terminating: bool = False


@dataclass(frozen=True, slots=True)
class _File:
    """One file as a look found it."""

    stamp: Stamp | None
    """None: it could not even be looked at."""
    text: bytes | None
    """None: it has not changed, or can't be read."""
    problem: str = ""
    """Why it can't be read; empty: it can."""


class FolderSource:
    """Reads a folder."""

    def __init__(self, folder: Path, sink: Sink, period_seconds: float = 1.0) -> None:
        self._folder = folder
        self._sink = sink
        self._period = period_seconds
        self._documents = DocumentsByObject(sink)
        self._seen: dict[str, Stamp] = {}
        """Files whose content is in force, by name."""
        self._services: set[str] = set()
        self._endpoints_problem = ""
        self._read_once = False
        self._own_errors = 0
        self._state = ""

    @property
    def errors_total(self) -> int:
        """Files that could not be used."""
        return self._documents.errors_total + self._own_errors

    def missing(self) -> str | None:
        """What has not been read yet."""
        if self._read_once:
            return None
        return f"{self._folder} has not been read yet" + (f": {self._state}" if self._state else "")

    async def run(self) -> None:
        """Look at the folder until cancelled."""
        while True:
            try:
                files = await in_own_thread(self._scan, "folder")
                turn = TimeSlice(SLICE_SECONDS)
                for _ in self._apply(files):
                    await turn.give_way()
                self._state = ""
            except OSError as error:
                self._own_errors += 1
                if str(error) != self._state:
                    logger.warning("%s can't be read: %s; what is known stays", self._folder, error)
                self._state = str(error)
            except Exception:  # whatever it is, looking must go on
                self._own_errors += 1
                logger.exception("%s: an error of this program", self._folder)
            await asyncio.sleep(self._period)

    def look(self) -> None:
        """Read what has changed since the last look, at once."""
        for _ in self._apply(self._scan()):
            pass

    # -- reading -----------------------------------------------------------------------------------------------

    def _scan(self) -> dict[str, _File]:
        """Every file that matters, the changed ones with their content. Raises OSError where there is no folder."""
        files = {}
        for path in self._folder.iterdir():
            if path.name == ENDPOINTS or (path.suffix == ".json" and path.name.startswith(("route.", "consumer."))):
                file = self._read(path)
                if file is not None:
                    files[path.name] = file
        return files

    def _read(self, path: Path) -> _File | None:
        """One file; None: it has gone meanwhile."""
        try:
            before = path.stat()
            stamp = (before.st_mtime_ns, before.st_size, before.st_ino)
            if self._seen.get(path.name) == stamp:
                return _File(stamp, None)
            if before.st_size > FILE_BYTES_MAX:
                return _File(stamp, None, f"it is over {FILE_BYTES_MAX >> 20} MiB")
            if not path.is_file():
                return _File(stamp, None, "it is no file")
            with path.open("rb") as file:
                text = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            return _File(None, None, "it is a link to nowhere") if path.is_symlink() else None
        except OSError as error:
            return _File(None, None, error.strerror or str(error))
        return _File(stamp, text)

    # -- taking in ---------------------------------------------------------------------------------------------

    def _apply(self, files: dict[str, _File]) -> Iterator[None]:
        """Take in what a look has found; yields after each file."""
        self._documents.keep_only(set(files))
        for name in [name for name in self._seen if name not in files]:
            del self._seen[name]
        for name, file in sorted(files.items()):
            if file.text is not None or file.problem:
                good = self._take_endpoints(file) if name == ENDPOINTS else self._take_document(name, file)
                if good and file.stamp is not None:
                    self._seen[name] = file.stamp
                else:
                    self._seen.pop(name, None)
            yield
        if ENDPOINTS not in files:
            self._set_services({})
        self._read_once = True

    def _take_document(self, name: str, file: _File) -> bool:
        kind, text, problem = name.partition(".")[0], file.text, file.problem
        if text is None:
            self._documents.refuse(name, Subject(kind, ""), DocumentError(problem))
            return False
        return self._documents.take(name, subject_of(kind, text), lambda: read_document(kind, text))

    def _take_endpoints(self, file: _File) -> bool:
        problem, services = file.problem, None
        if file.text is not None:
            try:
                services = msgspec.json.decode(file.text, type=dict[str, list[_Endpoint]])
                problem = "" if all(_is_service(name) for name in services) else "a name is not namespace/service"
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                problem = str(error)
        if problem or services is None:
            if problem != self._endpoints_problem:
                self._own_errors += 1
                logger.warning("%s can't be used: %s; the last good one stays", ENDPOINTS, problem)
            self._endpoints_problem = problem
            return False
        self._endpoints_problem = ""
        self._set_services(services)
        return True

    def _set_services(self, services: dict[str, list[_Endpoint]]) -> None:
        for gone in self._services - services.keys():
            self._set_service(gone, [])
        for service, endpoints in services.items():
            self._set_service(service, endpoints)
        self._services = set(services)

    def _set_service(self, service: str, endpoints: list[_Endpoint]) -> None:
        namespace, _, name = service.partition("/")
        facts = tuple(
            EndpointFact(
                endpoint.address,
                endpoint.port,
                endpoint.pod or endpoint.address,
                endpoint.uid,
                endpoint.ready,
                endpoint.terminating,
            )
            for endpoint in endpoints
        )
        self._sink.set_slice((namespace, name), "folder", facts)


def _is_service(name: str) -> bool:
    namespace, slash, service = name.partition("/")
    return bool(namespace and slash and service and "/" not in service)
