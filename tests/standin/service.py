"""The stand-in's behaviour: who may ask, who waits, how fast it answers, what goes wrong on command, what it saw.

`/standin/...` is for tests: see README.md for what each path takes and gives.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace

from . import answers
from .answers import Answer, Refusal
from .connection import Connection, Request
from .metrics import Metrics
from .settings import Settings

RECORDED_REQUESTS_MAX = 10_000
DEATH_SECONDS = 0.2
FAILURES = ("status", "reset", "cut", "hang")
CHANGEABLE = ("answer_delay_ms", "token_delay_ms", "tokens", "concurrency")


@dataclass
class Failure:
    """What befalls the next requests."""

    kind: str = "status"
    """`status`: answer with one. `reset`: drop the connection. `cut`: drop it after some tokens. `hang`: be silent."""
    count: int = 1
    """How many requests yet."""
    status: int = 503
    """For `status`."""
    retry_after: str = ""
    """For `status`: the header of that name."""
    after_tokens: int = 1
    """For `cut`."""


class Slots:
    """At most so many at a time, the others in the order they came. 0: no limit."""

    def __init__(self, metrics: Metrics, limit: int) -> None:
        self.limit = limit
        self._metrics = metrics
        self._queue: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold one slot, after waiting for it."""
        if self._queue or not self._has_room():
            await self._wait()
        else:
            self._metrics.running += 1
        try:
            yield
        finally:
            self._metrics.running -= 1
            self.admit()

    def _has_room(self) -> bool:
        return not self.limit or self._metrics.running < self.limit

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._metrics.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._metrics.waiting -= 1
            else:  # let in and given up in the same moment
                self._metrics.running -= 1
            self.admit()
            raise

    def admit(self) -> None:
        """Let in as many as there is room for. They count as running from here on, not from when they resume."""
        while self._queue and (self._queue[0].cancelled() or self._has_room()):
            turn = self._queue.popleft()
            if not turn.cancelled():
                self._metrics.waiting -= 1
                self._metrics.running += 1
                turn.set_result(None)


class Service:
    """One stand-in: settings, numbers, and the record of what it was asked."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self._slots = Slots(self.metrics, settings.concurrency)
        self._failure = Failure(count=0)
        self._seen: deque[dict[str, object]] = deque(maxlen=RECORDED_REQUESTS_MAX)
        self._count = 0
        self._cancelled = 0
        self._sleeps = False
        self._created = int(time.time())

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request."""
        try:
            if request.path.startswith("/v1/") or request.path == "/tokenize":
                await self._api(request, connection)
            elif request.path.startswith("/standin/"):
                self._control(request, connection)
            elif request.path == "/metrics":
                model = self.settings.models[0] if self.settings.models else self.settings.name
                text = self.metrics.text(model, slots=self.settings.concurrency or 256)
                connection.send(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")
            elif request.path in ("/sleep", "/wake_up", "/is_sleeping"):
                self._sleep_mode(request, connection)
            elif request.path in ("/health", "/ping"):
                connection.send(200, b"", "text/plain")
            elif request.path == "/version":
                connection.send_json(200, {"version": "0.32.0"})
            else:
                connection.send_json(404, {"detail": "Not Found"})
        except Refusal as refusal:
            connection.send_json(refusal.status, refusal.body(self.settings))

    def _sleep_mode(self, request: Request, connection: Connection) -> None:
        """As vLLM's with VLLM_SERVER_DEV_MODE: asleep it is healthy and answers no request."""
        if request.path == "/is_sleeping":
            connection.send_json(200, {"is_sleeping": self._sleeps})
            return
        self._sleeps = request.path == "/sleep"
        connection.send(200, b"", "text/plain")

    async def _api(self, request: Request, connection: Connection) -> None:
        self._authorize(request)
        if request.path == "/v1/models":
            connection.send_json(200, answers.model_list(self.settings, self._created))
            return
        if request.path not in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize"):
            connection.send_json(404, {"detail": "Not Found"})
            return
        if request.method != "POST":
            connection.send_json(405, {"detail": "Method Not Allowed"})
            return
        if self._sleeps:
            raise Refusal(500, "the engine is asleep", "InternalServerError")
        body = _json_object(request.body)
        self._count += 1
        self._seen.append(
            {
                "path": request.path,
                "model": body.get("model"),
                "stream": bool(body.get("stream")),
                "max_tokens": body.get("max_tokens"),
                "authorization": "authorization" in request.headers,
                "headers": sorted(request.headers),
                "received_unix": time.time(),
            }
        )
        try:
            if request.path == "/v1/embeddings":
                connection.send_json(200, answers.embeddings(self.settings, body))
            elif request.path == "/tokenize":
                connection.send_json(200, answers.tokenized(self.settings, body))
            else:
                await self._complete(request.path == "/v1/chat/completions", body, connection)
        except asyncio.CancelledError:
            self._cancelled += 1
            raise

    def _authorize(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if self.settings.api_key and given != f"Bearer {self.settings.api_key}":
            text = "Incorrect API key provided." if given else "You didn't provide an API key."
            raise Refusal(401, text, "Unauthorized", None, "invalid_api_key")

    async def _complete(self, chat: bool, body: dict[str, object], connection: Connection) -> None:  # noqa: FBT001
        arrived = time.monotonic()
        answer = answers.answer_to(
            self.settings, body, chat=chat, identity=os.urandom(8).hex(), created=int(time.time())
        )
        cut_after = None
        if self._failure.count > 0:
            self._failure.count -= 1
            if self._failure.kind == "cut":
                cut_after = self._failure.after_tokens
            else:
                await self._fail(connection)
                return
        streamed, finished = bool(body.get("stream")), "abort"
        try:
            async with self._slots.one():
                self.metrics.prompt_tokens += answer.prompt_tokens
                await asyncio.sleep(self.settings.answer_delay_ms / 1000)
                self.metrics.time_to_first_token.observe(time.monotonic() - arrived)
                if not await self._give(answer, connection, streamed=streamed, cut_after=cut_after):
                    return
            finished = answer.finish_reason
        finally:
            self.metrics.finished[finished] += 1

    async def _give(self, answer: Answer, connection: Connection, *, streamed: bool, cut_after: int | None) -> bool:
        """All tokens at their pace; false when it was cut on command."""
        if streamed:
            connection.start_stream("text/event-stream; charset=utf-8")
            if answer.chat:
                await connection.send_piece(answer.role_event())
        for index in range(len(answer.tokens)):
            if index and self.settings.token_delay_ms:
                await asyncio.sleep(self.settings.token_delay_ms / 1000)
                self.metrics.inter_token_latency.observe(self.settings.token_delay_ms / 1000)
            if index == cut_after:
                break
            self.metrics.generation_tokens += 1
            if streamed:
                await connection.send_piece(answer.token_event(index))
        if cut_after is not None:
            connection.abort()
            return False
        if streamed:
            await connection.send_piece(answer.closing_events())
            connection.end_stream()
        else:
            connection.send_json(200, answer.whole())
        return True

    async def _fail(self, connection: Connection) -> None:
        failure = self._failure
        if failure.kind == "reset":
            connection.reset()
        elif failure.kind == "hang":
            await asyncio.Event().wait()
        else:
            refusal = Refusal(failure.status, "The stand-in was told to fail.", "InternalServerError")
            header = f"retry-after: {failure.retry_after}\r\n".encode() if failure.retry_after else b""
            connection.send_json(failure.status, refusal.body(self.settings), header)

    def _control(self, request: Request, connection: Connection) -> None:
        action = (request.method, request.path)
        if action == ("POST", "/standin/fail"):
            self._failure = _changed(Failure(), request)
            if self._failure.kind not in FAILURES:
                raise Refusal(400, f"kind must be one of {', '.join(FAILURES)}", "BadRequestError", "kind")
        elif action == ("POST", "/standin/behave"):
            given = _json_object(request.body)
            if strange := [name for name in given if name not in CHANGEABLE]:
                raise Refusal(400, f"{strange[0]} cannot change: {', '.join(CHANGEABLE)} can", "BadRequestError")
            self.settings = replace(self.settings, **given)  # type: ignore[arg-type]
            self._slots.limit = self.settings.concurrency
            self._slots.admit()
        elif action == ("POST", "/standin/reset"):
            self._failure = Failure(count=0)
            self._seen.clear()
            self._count = self._cancelled = 0
        elif action == ("POST", "/standin/die"):
            # Like SIGKILL, which process 1 of a container cannot send itself; late enough for `kubectl exec` to
            # see that the order was taken, before its own process goes down with the container.
            asyncio.get_running_loop().call_later(DEATH_SECONDS, os._exit, 137)
        elif action != ("GET", "/standin/requests"):
            raise Refusal(404, "there is GET requests; POST fail, behave, reset, die", "NotFoundError")
        connection.send_json(200, self._record())

    def _record(self) -> dict[str, object]:
        return {
            "name": self.settings.name,
            "count": self._count,
            "cancelled": self._cancelled,
            "running": self.metrics.running,
            "waiting": self.metrics.waiting,
            "fail": asdict(self._failure),
            "requests": list(self._seen),
        }


def _changed(failure: Failure, request: Request) -> Failure:
    try:
        return replace(failure, **_json_object(request.body))  # type: ignore[arg-type]
    except TypeError:
        known = ", ".join(asdict(failure))
        raise Refusal(400, f"there is only {known}", "BadRequestError") from None


def _json_object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body or b"{}")
    except ValueError as error:
        text = f"1 validation error:\n  {{'type': 'json_invalid', 'loc': 'body', 'msg': 'JSON decode error: {error}'}}"
        raise Refusal(400, text, "Bad Request", "body") from None
    if not isinstance(value, dict):
        raise Refusal(400, "the body must be a JSON object", "Bad Request", "body")
    return value
