"""A client of the standard library: `make try` runs before anything is installed. It notes who answered."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

Value = TypeVar("Value")
FAILURES = (OSError, http.client.HTTPException, ValueError)


class GaveUpError(Exception):
    """Something did not happen in time."""


class RefusedError(Exception):
    """An answer that is an error; the text is its status and body."""


@dataclass(frozen=True)
class Answer:
    """What a client saw of one answer."""

    served_by: str
    """The header x-overspill-served-by."""
    reason: str
    """The header x-overspill-reason."""
    text: str
    """What was said."""
    pieces: int
    """Events with text."""
    first_token_seconds: float
    """From the call to the first of them."""
    seconds: float
    """From the call to the end."""


@dataclass(frozen=True)
class Client:
    """Asks one server."""

    url: str
    """Where it listens, without a path."""
    key: str = ""
    """API key; empty: none is sent."""

    def get(self, path: str, seconds: float = 5.0) -> tuple[int, str]:
        """Status and body."""
        connection = self._connection(seconds)
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def ask(self, model: str, text: str = "Tell me a story.", *, tokens: int = 16, seconds: float = 60.0) -> Answer:
        """One streamed chat, read to its end; RefusedError where it ends as an error."""
        started = time.monotonic()
        connection = self._connection(seconds)
        body = {
            "model": model,
            "stream": True,
            "max_tokens": tokens,
            "messages": [{"role": "user", "content": text}],
        }
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), self._headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise RefusedError(f"{answer.status} {answer.read().decode(errors='replace')}")
            # After a long wait who served comes as comments in the stream: its head was sent before that was known.
            said = {name.lower(): value for name, value in answer.getheaders()}
            pieces, first = list[str](), 0.0
            for kind, value in _events(answer):
                if kind == "comment" and ": " in value:
                    name, _, content = value.partition(": ")
                    said[name.strip().lower()] = content
                elif kind == "data" and (piece := _text(value)):
                    first = first or time.monotonic() - started
                    pieces.append(piece)
        finally:
            connection.close()
        return Answer(
            said.get("x-overspill-served-by", ""),
            said.get("x-overspill-reason", ""),
            "".join(pieces),
            len(pieces),
            first,
            time.monotonic() - started,
        )

    @property
    def _headers(self) -> dict[str, str]:
        authorization = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return {"content-type": "application/json", **authorization}

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
    ended = False
    for line in answer:
        text = line.decode(errors="replace").rstrip("\r\n")
        if text.startswith(":"):
            yield "comment", text[1:].strip()
        elif text.startswith("data:"):
            value = text[5:].strip()
            if value == "[DONE]":
                ended = True
                continue
            yield "data", value
    if not ended:
        raise RefusedError("the stream ended without [DONE]")


def _text(event: str) -> str:
    value: Any = json.loads(event)
    if "error" in value:
        raise RefusedError(f"an error in the stream: {event}")
    return "".join(choice.get("delta", {}).get("content") or "" for choice in value.get("choices", ()))


def wait_until(what: str, condition: Callable[[], Value], seconds: float, *, pause_seconds: float = 0.1) -> Value:
    """The first true value of a condition; GaveUpError, naming it and its last value, after some seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise GaveUpError(f"waited {seconds:g} s until {what}; last seen: {value!r}")
        time.sleep(pause_seconds)
    return value


class Load:
    """One client that asks all the time, in a thread; it remembers who served and what failed."""

    def __init__(self, client: Client, model: str, *, pause_seconds: float = 0.1) -> None:
        self.served_by: list[str] = []
        self.failures: list[str] = []
        self._client = client
        self._model = model
        self._pause_seconds = pause_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    @property
    def last_served_by(self) -> str:
        """Who served the newest answer."""
        return self.served_by[-1] if self.served_by else ""

    def wait_for(self, requests: int) -> None:
        """Wait until so many requests more have been answered."""
        wanted = len(self.served_by) + requests
        wait_until(f"{requests} requests are answered", lambda: len(self.served_by) >= wanted, 60)

    def _run(self) -> None:
        while not self._ended.wait(self._pause_seconds):
            try:
                self.served_by.append(self._client.ask(self._model, tokens=4).served_by)
            except (*FAILURES, RefusedError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=120)
