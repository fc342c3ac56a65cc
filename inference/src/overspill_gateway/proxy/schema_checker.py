"""Checks answers against the schemas of their requests in processes of their own, within a bound on time.

Schemas come from strangers and can take any time; see ``schema_worker``. Checks wait for one of few processes, one for
each consumer in turn, so that one that sends dear schemas delays its own requests first.
"""

import asyncio
import logging
import struct
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, cast

from overspill_gateway.proxy.verdict_fields import Verdict, decode_verdict

logger = logging.getLogger(__name__)

CHECK_SECONDS_MAX: Final = 1.0
"""For one check, its schema's compilation included; usual ones take under a millisecond."""
START_SECONDS_MAX: Final = 10.0
"""A process that starts imports the library; on a busy machine that takes a while."""
END_SECONDS_MAX: Final = 2.0
WORKERS_MAX: Final = 2
DEAR_SECONDS: Final = 60.0
"""A schema whose check took too long is not tried again for this long: requests with it are refused at once."""
DEAR_KEPT_MAX: Final = 1024
WAITING_MAX: Final = 256
"""Checks that wait for a process; further answers are not checked."""
TOO_LONG: Final = "it took longer than the 1 s that a check may take"
_HEAD: Final = struct.Struct("!II")

OnVerdict = Callable[[Verdict], None]


class _Check:
    """One answer to be checked."""

    __slots__ = ("answer", "consumer", "schema", "then")

    def __init__(self, consumer: str, schema: bytes, answer: bytes, then: OnVerdict) -> None:
        self.consumer = consumer
        self.schema = schema
        self.answer = answer
        self.then = then


class _Worker(asyncio.SubprocessProtocol):
    """One process, which answers one question at a time."""

    def __init__(self, checker: "SchemaChecker") -> None:
        self.current: _Check | None = None
        self._checker = checker
        self._transport: asyncio.SubprocessTransport | None = None
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._is_new = True
        self.ended = False
        self.gone = asyncio.get_running_loop().create_future()
        """Done once the process and its pipes are no more."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The process and its pipes are no more."""
        self.is_gone()

    def is_gone(self) -> None:
        """There is no process (any more)."""
        if not self.gone.done():
            self.gone.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        if self.ended:
            self._transport.kill()
        elif self.current is not None:
            self._send(self.current)

    def ask(self, check: _Check) -> None:
        """Check this next."""
        self.current = check
        if self._transport is not None:
            self._send(check)

    def _send(self, check: _Check) -> None:
        if self._transport is not None:
            pipe = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
            pipe.write(_HEAD.pack(len(check.schema), len(check.answer)) + check.schema + check.answer)
        seconds = START_SECONDS_MAX if self._is_new else CHECK_SECONDS_MAX
        self._timer = asyncio.get_running_loop().call_later(seconds, self._took_too_long)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """A part of an answer, or (on standard error) of what went wrong."""
        if fd != 1:
            logger.warning("checking a schema: %s", data[:500].decode(errors="replace").strip())
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            if self._is_new:
                self._is_new = False
                self._stop_timer()
                if self.current is not None:  # its time begins now
                    self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS_MAX, self._took_too_long)
            else:
                self._answered(line)

    def _answered(self, line: bytes) -> None:
        self._stop_timer()
        check, self.current = self.current, None
        if check is not None:
            check.then(decode_verdict(line))
        self._checker.is_free(self)

    def process_exited(self) -> None:
        """It has ended, by itself or not."""
        self.end(TOO_LONG)

    def _took_too_long(self) -> None:
        if self.current is not None and not self._is_new:
            self._checker.took_too_long(self.current.schema)
        self.end(TOO_LONG)

    def end(self, why: str) -> None:
        """End the process; who waits for it hears why."""
        if self.ended:
            return
        self.ended = True
        self._stop_timer()
        if self._transport is not None and self._transport.get_returncode() is None:
            self._transport.kill()
        if self._transport is not None:
            self._transport.close()
        check, self.current = self.current, None
        self._checker.has_ended(self)
        if check is not None:
            check.then(Verdict(usable=True, why=None, unchecked=why))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class SchemaChecker:
    """The processes and those that wait for one."""

    def __init__(self) -> None:
        self._workers: set[_Worker] = set()
        self._ending: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._waiting: OrderedDict[str, deque[_Check]] = OrderedDict()
        self._waiting_count = 0
        self._starting: set[asyncio.Task[None]] = set()
        self._closed = False
        self._dear: OrderedDict[int, float] = OrderedDict()
        """Hashes of schemas that took too long, with the time until which they are known as such."""

    def is_too_dear(self, schema: bytes) -> bool:
        """Whether a check against this schema has lately taken too long."""
        return self._dear.get(hash(schema), 0.0) > asyncio.get_running_loop().time()

    def took_too_long(self, schema: bytes) -> None:
        """Remember a schema for a while."""
        self._dear[hash(schema)] = asyncio.get_running_loop().time() + DEAR_SECONDS
        self._dear.move_to_end(hash(schema))
        if len(self._dear) > DEAR_KEPT_MAX:
            self._dear.popitem(last=False)

    def check(self, consumer: str, schema: bytes, answer: bytes, then: OnVerdict) -> None:
        """Check an answer; ``then`` is called later, once, unless the checker is closed before."""
        if self._waiting_count >= WAITING_MAX:
            why = f"{WAITING_MAX} answers wait for their check already"
            asyncio.get_running_loop().call_soon(then, Verdict(usable=True, why=None, unchecked=why))
            return
        self._waiting.setdefault(consumer, deque()).append(_Check(consumer, schema, answer, then))
        self._waiting_count += 1
        self._next()

    def is_free(self, worker: _Worker) -> None:
        """A process may take another check."""
        if not worker.ended:
            self._idle.append(worker)
        self._next()

    def has_ended(self, worker: _Worker) -> None:
        """A process is gone; another is started when it is needed."""
        self._workers.discard(worker)
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
        self._waiting_count = 0
        for worker in list(self._workers):
            worker.current = None
            worker.end("")
        if self._starting:
            await asyncio.wait(self._starting)
        gone = [worker.gone for worker in self._ending]
        if gone:
            await asyncio.wait(gone, timeout=END_SECONDS_MAX)

    def _next(self) -> None:
        """Hand waiting checks to processes."""
        while self._waiting and not self._closed:
            if self._idle:
                self._idle.pop().ask(self._first())
            elif len(self._workers) < WORKERS_MAX:
                self._start().ask(self._first())
            else:
                return

    def _first(self) -> _Check:
        """The next check: consumers in turn."""
        consumer, checks = next(iter(self._waiting.items()))
        check = checks.popleft()
        self._waiting_count -= 1
        if checks:
            self._waiting.move_to_end(consumer)
        else:
            del self._waiting[consumer]
        return check

    def _start(self) -> _Worker:
        worker = _Worker(self)
        self._workers.add(worker)
        task = asyncio.get_running_loop().create_task(self._run(worker))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        return worker

    async def _run(self, worker: _Worker) -> None:
        line = (sys.executable, "-m", "overspill_gateway.schema_worker")
        try:
            await asyncio.get_running_loop().subprocess_exec(lambda: worker, *line)
        except OSError as error:
            logger.error("no process to check schemas in: %s", error)  # noqa: TRY400 - it says all
            worker.end(f"no process could be started for it ({error.strerror})")
            worker.is_gone()
