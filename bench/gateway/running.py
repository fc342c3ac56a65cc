"""A bench of processes: the engine and the gateways before it, started, found ready, and ended together."""

import http.client
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.gateway import sent
from bench.gateway.gateways import DIRECT, Kind, Start
from bench.gateway.installing import NotInstalledError, load_command
from bench.gateway.peer_settings import MODEL
from bench.gateway.places import GATEWAY_CPU, LOAD_CPU, free_port
from bench.gateway.processes import DiedError, Process

READY_SECONDS: Final = 20.0
READY_SECONDS_SLOW: Final = 120.0


class NotReadyError(Exception):
    """A gateway does not answer; the message has what it did."""


@dataclass(slots=True)
class Subject:
    """Something that requests can be sent to: one model of a gateway, or the engine itself."""

    name: str
    """As in the results."""
    kind: Kind
    """Which gateway."""
    process: Process
    """The gateway's, or the engine's."""
    address: str
    """Where it listens."""
    plain: Path
    """File with a request that is answered whole."""
    differing: Path
    """File with many such requests that differ."""
    stream: Path
    """File with a request that is answered as a stream."""
    admin_port: int = 0
    """Of its own metrics; 0: none."""


class Bench:
    """The processes of one measurement and a folder for what they write."""

    def __init__(self, folder: Path, event_interval: str = "10ms") -> None:
        self.folder = folder
        self.load = load_command()
        self.engine_address = f"127.0.0.1:{free_port()}"
        line = [self.load, "engine", "-listen", self.engine_address, "-interval", event_interval]
        self.engine = Process(line, folder / "engine.log", LOAD_CPU, folder, takes_orders=True)
        self.processes = [self.engine]
        self.direct = self._subject("direct", DIRECT, self.engine, self.engine_address)
        _wait_until_it_answers(self.direct, READY_SECONDS)

    def start(self, kind: Kind) -> Subject:
        """Start a gateway and wait until it answers; raises NotInstalledError, NotReadyError."""
        folder = self.folder / kind.name
        folder.mkdir()
        try:
            start: Start = kind.start(self.engine_address, folder)
            process = Process(start.line, folder / "output.log", GATEWAY_CPU, folder, start.environment)
        except (OSError, subprocess.SubprocessError) as error:
            raise NotInstalledError(str(error)) from error
        subject = self._subject(kind.name, kind, process, f"127.0.0.1:{start.port}")
        subject.admin_port = start.admin_port
        try:
            _wait_until_it_answers(subject, READY_SECONDS_SLOW if kind.slow else READY_SECONDS)
        except BaseException:
            process.end()
            raise
        self.processes.append(process)
        return subject

    def other_model(self, subject: Subject, model: str) -> Subject:
        """The same process, asked for another model."""
        other = self._subject(model, subject.kind, subject.process, subject.address, model)
        _wait_until_it_answers(other, READY_SECONDS)
        return other

    def _subject(self, name: str, kind: Kind, process: Process, address: str, model: str = MODEL) -> Subject:
        plain, differing, stream = (self.folder / f"{name}.{what}" for what in ("plain", "differing", "stream"))
        plain.write_bytes(sent.alike(kind.key, stream=False, model=model))
        differing.write_bytes(sent.differing(kind.key, model))
        stream.write_bytes(sent.alike(kind.key, stream=True, model=model))
        return Subject(name, kind, process, address, plain, differing, stream)

    def end(self) -> None:
        """End all."""
        for process in reversed(self.processes):
            process.end()
        self.processes.clear()


@contextmanager
def bench(event_interval: str = "10ms") -> Iterator[Bench]:
    """An engine, and gateways as they are started; all of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="overspill-bench-"))
    made: Bench | None = None
    try:
        made = Bench(folder, event_interval)
        yield made
    finally:
        if made is not None:
            made.end()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(subject: Subject, seconds: float) -> None:
    until, last = time.monotonic() + seconds, ""
    while time.monotonic() < until:
        try:
            subject.process.check()
        except DiedError as error:
            raise NotReadyError(str(error)) from error
        try:
            last = _ask(subject)
        except (OSError, http.client.HTTPException) as error:
            last = repr(error)
        if not last:
            return
        time.sleep(0.1)
    raise NotReadyError(f"no answer within {seconds:g} s: {last}; it printed: {subject.process.last_words()}")


def _ask(subject: Subject) -> str:
    """What is wrong with the answer to one request; empty: nothing."""
    head, _, body = subject.plain.read_bytes().partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
    headers = {name: value for name, _, value in lines}
    host, _, port = subject.address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    return "" if answer.status == 200 and b"chat.completion" in text else f"status {answer.status}: {text[:300]!r}"


def own_metrics(subject: Subject) -> dict[str, float]:
    """The gateway's own metrics by name with labels; empty where it has no such port."""
    if not subject.admin_port:
        return {}
    with urllib.request.urlopen(f"http://127.0.0.1:{subject.admin_port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}
