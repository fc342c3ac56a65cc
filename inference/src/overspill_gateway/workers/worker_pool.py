"""Work on what strangers send, in few processes of its own: the event loop never waits for it, and time bounds it.

Questions wait for a process, one for each owner in turn, so that one that sends dear ones delays its own first. A
process that takes too long is killed, which costs that question and no other. Not here: what is worked on
(``worker_process`` and the modules that run it).
"""

import asyncio
import logging
import os
import struct
import sys
import tempfile
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, cast

from overspill_gateway.core.http.pieces import Pieces
from overspill_gateway.core.text.rope import divided, length_of

logger = logging.getLogger(__name__)

START_SECONDS_MAX: Final = 10.0
"""A process that starts imports its libraries; on a busy machine that takes a while."""
END_SECONDS_MAX: Final = 2.0
WORKERS_MAX: Final = 2
WAITING_MAX: Final = 256
"""Questions that wait for a process; further ones are not answered."""
OWNERS_WAITING_MAX: Final = WAITING_MAX // 2
"""Of one owner: who asks much leaves room for others."""
_UNBOUNDED: Final = 1 << 60
PUT_BYTES: Final = 256 * 1024
"""Of what goes with a question, written in one turn of the event loop."""
_HEAD: Final = struct.Struct("!II")
_ENVIRONMENT: Final = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""So that a process that had much to do gives its memory back."""


class Unanswered(Enum):
    """Why there is no answer."""

    TOO_LONG = auto()
    """It took longer than it may, or more memory: its process is gone."""
    CROWDED = auto()
    """As many wait as may, or it has waited long enough."""
    NO_PROCESS = auto()
    """None could be started."""


class WorkAnswer:
    """What came of a question: what was told and the parts of what goes with it, or why there is none."""

    __slots__ = ("detail", "more", "told", "unanswered")

    def __init__(self, told: bytes, more: list[bytes], unanswered: Unanswered | None = None, detail: str = "") -> None:
        self.told = told
        self.more = more
        self.unanswered = unanswered
        self.detail = detail


OnAnswer = Callable[[WorkAnswer], None]


class WorkItem:
    """One piece of work; ``drop`` it where nobody waits for its answer any more."""

    __slots__ = ("_pool", "asked_at", "first", "length", "owner", "second", "then")

    def __init__(
        self, pool: "WorkerPool", owner: str, first: bytes, second: list[bytes], then: OnAnswer | None, asked_at: float
    ) -> None:
        self._pool = pool
        self.owner = owner
        self.first = first
        self.second = second
        self.length = length_of(second)
        """Bytes that go with it."""
        self.then = then
        self.asked_at = asked_at

    def drop(self) -> None:
        """Nobody wants the answer: it leaves the line, and what goes with it is free."""
        self.then = None
        self.second = []
        self._pool.leave(self)

    def answered(self, answer: WorkAnswer) -> None:
        """Tell whoever waits, once."""
        then, self.then = self.then, None
        self.second = []
        if then is not None:
            then(answer)


class Worker(asyncio.SubprocessProtocol):
    """One process, which answers one question at a time."""

    def __init__(self, pool: "WorkerPool") -> None:
        self.current: WorkItem | None = None
        self.ended = False
        self.gone = asyncio.get_running_loop().create_future()
        """Done once the process and its pipes are no more."""
        self._pool = pool
        self.transport: asyncio.SubprocessTransport | None = None
        """Its process; None: not started yet."""
        self._timer: asyncio.TimerHandle | None = None
        self.file = memory_file()
        """Where it reads what goes with a question."""
        self._is_new = True
        self._received = b""
        self._told_bytes = -1
        self._left = 0
        self._pieces = Pieces()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The process and its pipes are no more."""
        self.is_gone()

    def is_gone(self) -> None:
        """There is no process (any more)."""
        if not self.gone.done():
            self.gone.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        self.transport = cast("asyncio.SubprocessTransport", transport)
        if self.ended:
            self.transport.kill()
        elif self.current is not None:
            self._send(self.current)

    def ask(self, question: WorkItem) -> None:
        """Answer this next."""
        self.current = question
        if self.transport is not None:
            self._send(question)

    def _send(self, question: WorkItem) -> None:
        self._allow(START_SECONDS_MAX if self._is_new else self._pool.seconds_max)
        self._put(question, question.second, 0)

    def _put(self, question: WorkItem, parts: list[bytes], at: int) -> None:
        """Write a slice of what goes with the question where the process reads it; with the last one, ask."""
        if self.ended or self.current is not question or self.transport is None:
            return
        until = at + PUT_BYTES
        while parts and at < until:
            at += os.pwrite(self.file, parts[0], at)
            parts = parts[1:]
        if parts:
            asyncio.get_running_loop().call_soon(self._put, question, parts, at)
            return
        pipe = cast("asyncio.WriteTransport", self.transport.get_pipe_transport(0))
        pipe.write(_HEAD.pack(len(question.first), at) + question.first)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """A part of an answer, or (on standard error) of what went wrong."""
        if fd != 1:
            text = data[:500].decode(errors="replace").strip()
            logger.warning("a process that works for requests: %s", text, extra={"runs": self._pool.module})
            return
        while data:
            if self._told_bytes < 0:
                self._received += data
                if len(self._received) < _HEAD.size:
                    return
                self._told_bytes, more = _HEAD.unpack_from(self._received)
                self._left = self._told_bytes + more
                data, self._received = self._received[_HEAD.size :], b""
            taken, data = data[: self._left], data[self._left :]
            self._left -= len(taken)
            self._pieces.add(taken)
            if self._left == 0:
                self._message_complete()

    def _message_complete(self) -> None:
        pieces, told_bytes = self._pieces, self._told_bytes
        self._pieces, self._told_bytes = Pieces(), -1
        if self._is_new:
            self._is_new = False
            self._stop_timer()
            if self.current is not None:  # its time begins now
                self._allow(self._pool.seconds_max)
            return
        self._stop_timer()
        question, self.current = self.current, None
        if question is not None:
            told, more = divided(pieces.parts(), told_bytes)
            question.answered(WorkAnswer(b"".join(told), more))
        self._pool.is_free(self)

    def process_exited(self) -> None:
        """It has ended, by itself or not."""
        self.end(Unanswered.TOO_LONG)

    def _allow(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._took_too_long)

    def _took_too_long(self) -> None:
        if self.current is not None and not self._is_new:
            self._pool.took_too_long(self.current)
        self.end(Unanswered.TOO_LONG)

    def end(self, why: Unanswered, detail: str = "") -> None:
        """End the process; who waits for it hears why."""
        if self.ended:
            return
        self.ended = True
        self._stop_timer()
        os.close(self.file)
        if self.transport is not None and self.transport.get_returncode() is None:
            self.transport.kill()
        if self.transport is not None:
            self.transport.close()
        question, self.current = self.current, None
        self._pool.has_ended(self)
        if question is not None:
            question.answered(WorkAnswer(b"", [], why, detail))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def memory_file() -> int:
    """A file in memory, by its number: through a pipe, a long text takes as many turns as it has pieces."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("question")
    with tempfile.TemporaryFile() as file:  # off Linux
        return os.dup(file.fileno())


class WorkerPool:
    """The processes and those that wait for one."""

    def __init__(
        self,
        module: str,
        *,
        seconds_max: float,
        wait_seconds_max: float = 600.0,
        waiting_bytes_max: int = _UNBOUNDED,
        on_too_long: Callable[[WorkItem], None] | None = None,
    ) -> None:
        """``module``: what a process runs. ``seconds_max``: for one answer. ``on_too_long``: told of what took more.

        ``waiting_bytes_max``: of what goes with all questions that wait; one owner's take half of it at most.
        """
        self.module = module
        self.seconds_max = seconds_max
        self.workers: set[Worker] = set()
        self._wait_seconds_max = wait_seconds_max
        self._waiting_bytes_max = waiting_bytes_max
        self._on_too_long = on_too_long
        self._ending: set[Worker] = set()
        self._idle: list[Worker] = []
        self._waiting: OrderedDict[str, deque[WorkItem]] = OrderedDict()
        self._waiting_count = self._waiting_bytes = 0
        self._starting: set[asyncio.Task[None]] = set()
        self._closed = False

    def ask(self, owner: str, first: bytes, second: list[bytes], then: OnAnswer) -> WorkItem:
        """Have a question answered; ``then`` is called later, once, unless the pool is closed before."""
        loop = asyncio.get_running_loop()
        question = WorkItem(self, owner, first, second, then, loop.time())
        owners = self._waiting.get(owner)
        if self._is_full(owners, question.length):
            loop.call_soon(question.answered, WorkAnswer(b"", [], Unanswered.CROWDED))
            return question
        if owners is None:
            owners = self._waiting[owner] = deque()
        owners.append(question)
        self._waiting_count += 1
        self._waiting_bytes += question.length
        self._next()
        return question

    def _is_full(self, owners: deque[WorkItem] | None, length: int) -> bool:
        """Whether no question with so many bytes may wait, beside those of its owner."""
        if self._waiting_count >= WAITING_MAX or self._waiting_bytes + length > self._waiting_bytes_max:
            return True
        if owners is None:
            return False
        own = length + sum([question.length for question in owners])
        return len(owners) >= OWNERS_WAITING_MAX or 2 * own > self._waiting_bytes_max

    def leave(self, question: WorkItem) -> None:
        """It waits no more, if it did."""
        questions = self._waiting.get(question.owner)
        if questions is None or question not in questions:
            return
        questions.remove(question)
        self._waiting_count -= 1
        self._waiting_bytes -= question.length
        if not questions:
            del self._waiting[question.owner]

    def took_too_long(self, question: WorkItem) -> None:
        """A process is about to be killed over this."""
        if self._on_too_long is not None:
            self._on_too_long(question)

    def is_free(self, worker: Worker) -> None:
        """A process may take another question."""
        if not worker.ended:
            self._idle.append(worker)
        self._next()

    def has_ended(self, worker: Worker) -> None:
        """A process is gone; another is started when it is needed."""
        self.workers.discard(worker)
        if not worker.gone.done():
            self._ending.add(worker)
            worker.gone.add_done_callback(lambda _: self._ending.discard(worker))
        if worker in self._idle:
            self._idle.remove(worker)
        self._next()

    async def close(self) -> None:
        """End all processes; nobody who waits is told."""
        self._closed = True
        self._waiting.clear()
        self._waiting_count = self._waiting_bytes = 0
        for worker in list(self.workers):
            worker.current = None
            worker.end(Unanswered.CROWDED)
        if self._starting:
            await asyncio.wait(self._starting)
        gone = [worker.gone for worker in self._ending]
        if gone:
            await asyncio.wait(gone, timeout=END_SECONDS_MAX)

    def _next(self) -> None:
        """Hand waiting questions to processes."""
        while self._waiting and not self._closed:
            if not self._idle and len(self.workers) >= WORKERS_MAX:
                return
            question = self._first()
            if asyncio.get_running_loop().time() - question.asked_at > self._wait_seconds_max:
                asyncio.get_running_loop().call_soon(question.answered, WorkAnswer(b"", [], Unanswered.CROWDED))
            elif self._idle:
                self._idle.pop().ask(question)
            else:
                self._start().ask(question)

    def _first(self) -> WorkItem:
        """The next question: owners in turn."""
        owner, questions = next(iter(self._waiting.items()))
        question = questions.popleft()
        self._waiting_count -= 1
        self._waiting_bytes -= question.length
        if questions:
            self._waiting.move_to_end(owner)
        else:
            del self._waiting[owner]
        return question

    def _start(self) -> Worker:
        worker = Worker(self)
        self.workers.add(worker)
        task = asyncio.get_running_loop().create_task(self._run(worker))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        return worker

    async def _run(self, worker: Worker) -> None:
        if worker.ended:  # its file is closed, and the number may be another's by now
            worker.is_gone()
            return
        line = (sys.executable, "-m", self.module, str(worker.file))
        environment = {**os.environ, **_ENVIRONMENT}
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: worker, *line, env=environment, pass_fds=(worker.file,)
            )
        except OSError as error:
            logger.error("no process could be started: %s", error, extra={"runs": self.module})  # noqa: TRY400
            worker.end(Unanswered.NO_PROCESS, str(error.strerror))
            worker.is_gone()
