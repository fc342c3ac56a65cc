"""One engine under its guard, as ``serve`` sees it: from its start, or from when it was found, to its end."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from overspill_box.core.process import Ending, ProcessFact, ProcessSpec
from overspill_box.processes.engine_log import last_words
from overspill_box.processes.environment import engine_environment
from overspill_box.processes.guard_spawn import connect_guard, order_of, spawn_guard
from overspill_box.processes.leftovers import (
    ENGINE_MARK,
    GUARD_MARK,
    boot_id,
    end_marked,
    kill_marked,
    mark_of,
    started_ticks,
)
from overspill_box.processes.records import Record, file_name, forget_record, write_record

ANSWER_SECONDS_MAX = 5.0
"""A guard answers at once; one that does not by then is ended, and its engine with it."""
OVERDUE_SECONDS = 15.0
"""So long after an engine should have been ended, its guard is ended instead."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all engines of one state directory share."""

    folder: Path
    """Logs, records and sockets."""
    unix: Callable[[], float]
    """The time, in seconds since 1970."""
    environment: Mapping[str, str]
    """Of ``serve`` itself."""
    log_bytes_max: int
    """A larger log begins anew; one before it is kept."""
    keep_seconds: float
    """How long a kept engine waits for the next ``serve``."""
    grace_seconds: float
    """From SIGTERM to SIGKILL where nobody is there to wait for more."""

    def log_of(self, name: str) -> Path:
        """The log of an engine."""
        return self.folder / f"{file_name(name)}.log"


class GuardedEngine:
    """One engine. ``changed`` is called with each new fact of it."""

    def __init__(
        self, around: Surroundings, token: str, fact: ProcessFact, changed: Callable[[ProcessFact], None]
    ) -> None:
        self._around = around
        self._token = token
        self._changed = changed
        self._stop_seconds = 0.0
        self._guard_pid = 0
        self._is_child = False
        self._writer: asyncio.StreamWriter | None = None
        self._unsaid = b""
        self._overdue: asyncio.TimerHandle | None = None
        self.fact = fact
        """What is known of it."""
        self.is_known = asyncio.Event()
        """Whether it has been started, or could not be."""
        self.is_kept = asyncio.Event()
        """Whether its guard will wait for the next ``serve``."""
        self.is_left = True
        """Whether it was still there when it was looked for."""
        self.is_taken = False
        """Whether another ``serve`` has it."""

    async def start(self, spec: ProcessSpec) -> None:
        """Start it and follow it to its end."""
        self._stop_seconds = spec.stop_seconds
        log = self._around.log_of(spec.name)
        try:
            order = order_of(
                folder=self._around.folder,
                token=self._token,
                log=log,
                command=spec.command,
                environment=engine_environment(self._around.environment, spec.environment, {ENGINE_MARK: self._token}),
                numbers=(self._around.log_bytes_max, self._around.keep_seconds, self._around.grace_seconds),
            )
            self._guard_pid, connection = spawn_guard(spec.name, log, self._token)
        except (OSError, ValueError) as fault:
            self._is_over(self._ending(None, None, words=(f"it could not be started: {fault}",)))
            return
        self._is_child = True
        await self._follow(connection, order, spec)

    async def adopt(self, record: Record) -> None:
        """Take it over from an earlier ``serve`` and follow it to its end; where its guard is gone, end it."""
        self._stop_seconds = record.stop_seconds
        self._guard_pid = record.guard_pid
        connection = None
        if record.boot == boot_id() and started_ticks(record.guard_pid) == record.guard_ticks:
            with contextlib.suppress(OSError):
                connection = connect_guard(self._around.folder, self._token)
        if connection is not None:
            await self._follow(connection, b"", None)
            return
        await asyncio.to_thread(self._end_all)
        forget_record(self._around.folder, record.name)
        self.is_left = False
        self.is_known.set()

    def stop(self, seconds: float | None = None) -> None:
        """Tell it to end, by force after so long (``ProcessSpec.stop_seconds``); returns at once."""
        if not self.fact.runs:
            return
        most = self._stop_seconds if seconds is None else seconds
        if not self.fact.stopping:
            self._is_now(replace(self.fact, stopping=True))
        self._say(f"stop {most}")
        loop = asyncio.get_running_loop()
        if self._overdue is None or self._overdue.when() > loop.time() + most + OVERDUE_SECONDS:
            if self._overdue is not None:
                self._overdue.cancel()
            self._overdue = loop.call_later(most + OVERDUE_SECONDS, self.end_guard)

    async def keep(self, task: asyncio.Task[None]) -> None:
        """Leave it to the next ``serve``; ``task`` is what follows it. One that is ending goes on with that."""
        await _first(task, self.is_known)
        if self.fact.runs and not self.fact.stopping:
            self._say("keep")
            await _first(task, self.is_kept)
        task.cancel()

    def end_guard(self) -> None:
        """Give up its guard, which does not do what it is asked: it is ended, and the engine with it."""
        if self._writer is not None:
            self._writer.close()  # whoever reads from it goes on as if the guard had been killed, and ends what is left

    async def _follow(self, connection: socket.socket, order: bytes, spec: ProcessSpec | None) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=connection)
        ending = None
        try:
            self._writer.write(order + self._unsaid)
            while line := (await reader.readline()).decode(errors="replace"):
                ending = self._hear(line.split(), spec) or ending
                if self.is_taken:
                    return
        except (OSError, ValueError):
            pass  # it is gone, or talks nonsense
        finally:
            self._writer.close()
            if self._overdue is not None:
                self._overdue.cancel()
        if ending is None:
            await asyncio.to_thread(self._end_all)
        await asyncio.to_thread(self._reap)
        if ending is None:  # the guard was killed
            ending = self._ending(None, signal.SIGKILL)
        if not ending.last_words:
            words = await asyncio.to_thread(last_words, self._around.log_of(self.fact.name))
            ending = replace(ending, last_words=words)
        self._is_over(ending)

    def _hear(self, words: list[str], spec: ProcessSpec | None) -> Ending | None:
        match words:
            case ["forked", pid] if spec is not None:
                self._write_record(spec, int(pid))
                self._say("go")
            case ["started", pid, unix]:
                self._is_now(replace(self.fact, pid=int(pid), started_unix=float(unix)))
                self.is_known.set()
            case ["failed", *why] if spec is not None:
                return self._ending(None, None, words=(f"{spec.command[0]} could not be started: {' '.join(why)}",))
            case ["stopping"] if not self.fact.stopping:
                self._is_now(replace(self.fact, stopping=True))
            case ["kept"]:
                self.is_kept.set()
            case ["taken"]:
                self.is_taken = True
                self.is_known.set()
            case ["ended", code, number, unix] if self.fact.pid is not None:
                return self._ending(_number(code), _number(number), unix=float(unix))
            case ["ended", *_] if self.fact.stopping:
                return self._ending(None, None, words=("it was told to end before it ran",))
        return None

    def _write_record(self, spec: ProcessSpec, pid: int) -> None:
        record = Record(
            name=spec.name,
            port=spec.port,
            made_from=spec.made_from,
            stop_seconds=spec.stop_seconds,
            started_unix=self.fact.started_unix,
            boot=boot_id(),
            guard_pid=self._guard_pid,
            guard_ticks=started_ticks(self._guard_pid),
            engine_pid=pid,
            engine_ticks=started_ticks(pid),
            token=self._token,
        )
        # On a disk that is full engines run all the same: the next `serve` ends those without a record, by their mark.
        with contextlib.suppress(OSError):
            write_record(self._around.folder, record)

    def _end_all(self) -> None:
        """End the guard if it is still there, and whatever bears the engine's mark."""
        if self._is_child:
            with contextlib.suppress(OSError):
                os.kill(self._guard_pid, signal.SIGKILL)
            if sys.platform != "linux" and self.fact.pid is not None:
                with contextlib.suppress(OSError):
                    os.killpg(self.fact.pid, signal.SIGKILL)
        elif mark_of(self._guard_pid, GUARD_MARK) == self._token:
            kill_marked(self._guard_pid, GUARD_MARK, self._token)
        end_marked(self._token)
        with contextlib.suppress(OSError):
            (self._around.folder / f"{self._token}.sock").unlink()

    def _reap(self) -> None:
        if self._is_child:
            self._is_child = False
            with contextlib.suppress(OSError):  # where the system does it, SIGCHLD being ignored
                os.waitpid(self._guard_pid, 0)

    def _ending(
        self, code: int | None, number: int | None, *, unix: float | None = None, words: tuple[str, ...] = ()
    ) -> Ending:
        return Ending(
            unix=self._around.unix() if unix is None else unix,
            code=code,
            signal=number,
            was_asked=self.fact.stopping,
            last_words=words,
        )

    def _say(self, line: str) -> None:
        if self._writer is None:
            self._unsaid += f"{line}\n".encode()
        else:
            self._writer.write(f"{line}\n".encode())

    def _is_over(self, ending: Ending) -> None:
        forget_record(self._around.folder, self.fact.name)
        self._is_now(replace(self.fact, ending=ending))
        self.is_known.set()

    def _is_now(self, fact: ProcessFact) -> None:
        self.fact = fact
        self._changed(fact)


async def _first(task: asyncio.Task[None], event: asyncio.Event) -> None:
    """Wait for either, for as long as a guard may take to answer."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({task, waiting}, timeout=ANSWER_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _number(word: str) -> int | None:
    return None if word == "-" else int(word)
