"""This machine's engines: ``ports.Processes`` with a guard for each engine and records for the next ``serve``."""

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from overspill_box.core.process import Ending, ProcessFact, ProcessSpec
from overspill_box.processes.free_port import free_port
from overspill_box.processes.guarded_engine import ANSWER_SECONDS_MAX, GuardedEngine, Surroundings
from overspill_box.processes.leftovers import ENGINE_MARK, GUARD_MARK, end_marked, marks
from overspill_box.processes.records import Record, read_records

KEEP_SECONDS = 120.0
GRACE_SECONDS = 5.0
LOG_BYTES_MAX = 8 * 2**20


class UnixTime(Protocol):
    """The part of a clock that is needed here."""

    def unix(self) -> float:
        """Seconds since 1970."""


class LocalProcesses:
    """Engines as processes of this machine. ``on_change`` is called with the name of each whose fact has changed.

    One ``serve`` has a state directory at a time; where two have, engines belong to the one that was there first.
    """

    def __init__(
        self,
        state: Path,
        clock: UnixTime,
        on_change: Callable[[str], object],
        *,
        environment: Mapping[str, str] = os.environ,
        keep_seconds: float = KEEP_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
        log_bytes_max: int = LOG_BYTES_MAX,
    ) -> None:
        """Logs, records and sockets are in ``state``/engines, for its owner only. Raises ``OSError``.

        A kept engine waits ``keep_seconds`` for the next ``serve``; one that is ended because ``serve`` ends has
        ``grace_seconds`` from SIGTERM to SIGKILL; a log of ``log_bytes_max`` begins anew, the one before it is kept.
        """
        folder = state / "engines"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._around = Surroundings(folder, clock.unix, environment, log_bytes_max, keep_seconds, grace_seconds)
        self._prefix = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]
        self._on_change = on_change
        self._facts: dict[str, ProcessFact] = {}
        self._engines: dict[str, GuardedEngine] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._given_ports: dict[int, None] = {}
        self._others: set[str] = set()
        self._is_closed = False

    @property
    def facts(self) -> Mapping[str, ProcessFact]:
        """See ``Processes``. One whose ``pid`` is None and that has no ending is being started."""
        return MappingProxyType(self._facts)

    def log_of(self, name: str) -> Path:
        """See ``Processes``."""
        return self._around.log_of(name)

    def free_port(self) -> int:
        """A port on 127.0.0.1 that no engine has or was just given. Raises ``OSError`` where there is none."""
        taken = {fact.port for fact in self._facts.values() if fact.runs}
        port = free_port(taken | set(self._given_ports))
        self._given_ports[port] = None
        while len(self._given_ports) > 256:
            del self._given_ports[next(iter(self._given_ports))]
        return port

    async def adopt(self) -> None:
        """See ``Processes``. To be called once, before anything is started."""
        # First the marks: whoever is found by one has had a record before, if it is to have one.
        found = await asyncio.to_thread(marks, ENGINE_MARK, f"{self._prefix}-")
        records = await asyncio.to_thread(read_records, self._around.folder)
        await asyncio.gather(*(self._adopt(record) for record in records))
        for token in found - {record.token for record in records}:
            await asyncio.to_thread(end_marked, token)
        await asyncio.to_thread(self._remove_sockets)

    async def start(self, spec: ProcessSpec) -> None:
        """See ``Processes``. Returns when it runs or could not be started."""
        fact = self._facts.get(spec.name)
        if self._is_closed or (fact is not None and fact.runs):
            return
        fact = ProcessFact(spec.name, spec.port, spec.made_from, self._around.unix())
        if spec.name in self._others:
            words = ("another serve runs it, from the same state directory",)
            self._is_now(replace(fact, ending=Ending(self._around.unix(), None, last_words=words)))
            return
        engine = self._engine(fact, f"{self._prefix}-{secrets.token_hex(8)}")
        self._is_now(fact)
        self._tasks[spec.name] = asyncio.create_task(engine.start(spec), name=f"engine {spec.name}")
        await engine.is_known.wait()

    async def stop(self, name: str) -> None:
        """See ``Processes``."""
        engine = self._engines.get(name)
        if engine is not None:
            engine.stop()

    async def close(self, *, keep: bool) -> None:
        """See ``Processes``. Engines that are ended have the short grace; returns when they are gone."""
        self._is_closed = True
        if keep:
            await asyncio.gather(*(self._engines[name].keep(task) for name, task in self._tasks.items()))
        else:
            for engine in self._engines.values():
                engine.stop(self._around.grace_seconds)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _remove_sockets(self) -> None:
        """Those of guards that were killed."""
        guards = marks(GUARD_MARK, f"{self._prefix}-")
        for path in self._around.folder.glob("*.sock"):
            if path.stem not in guards:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _engine(self, fact: ProcessFact, token: str) -> GuardedEngine:
        engine = self._engines[fact.name] = GuardedEngine(self._around, token, fact, self._is_now)
        return engine

    async def _adopt(self, record: Record) -> None:
        fact = ProcessFact(record.name, record.port, record.made_from, record.started_unix, record.engine_pid)
        engine = self._engine(fact, record.token)
        task = self._tasks[record.name] = asyncio.create_task(engine.adopt(record), name=f"engine {record.name}")
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await engine.is_known.wait()
        except TimeoutError:
            engine.end_guard()
            await task
        if engine.is_taken:
            self._others.add(record.name)
        if engine.is_taken or not engine.is_left:
            await task
            del self._engines[record.name], self._tasks[record.name]

    def _is_now(self, fact: ProcessFact) -> None:
        self._facts[fact.name] = fact
        self._on_change(fact.name)
