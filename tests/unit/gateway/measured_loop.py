"""An event loop that measures the CPU time of every callback: load of other processes does not count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import uvloop

METHODS = (
    "connection_made", "connection_lost", "data_received", "eof_received", "pause_writing", "resume_writing",
    "pipe_data_received", "pipe_connection_lost", "process_exited",
)  # fmt: skip


class Turns:
    """What callbacks took."""

    def __init__(self) -> None:
        self.by_name: dict[str, float] = {}
        """The longest of each, in seconds."""

    def forget(self) -> None:
        """Begin anew."""
        self.by_name = {}

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, measured."""

        def call(*args: Any) -> Any:
            started = time.thread_time()
            try:
                return function(*args)
            finally:
                took = time.thread_time() - started
                name = _name(function)
                if took > self.by_name.get(name, 0.0):
                    self.by_name[name] = took

        return call


class TimedProtocol(asyncio.SubprocessProtocol):
    """Hands everything on to a protocol, measured."""

    def __init__(self, protocol: Any, turns: Turns) -> None:
        for name in METHODS:
            method = getattr(protocol, name, None)
            if method is not None:
                setattr(self, name, turns.timed(method))


class MeasuredLoop(uvloop.Loop):
    """uvloop's, measuring."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns()

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        """Measured."""
        return super().call_soon(self.turns.timed(callback), *args, context=context)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        """Measured."""
        return super().call_soon_threadsafe(self.turns.timed(callback), *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        """Measured."""
        return super().call_later(delay, self.turns.timed(callback), *args, context=context)

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:  # type: ignore[override]
        """Measured."""
        return super().add_reader(fd, self.turns.timed(callback), *args)

    async def create_server(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Measured."""
        return await super().create_server(lambda: TimedProtocol(protocol_factory(), self.turns), *args, **kwargs)

    async def create_connection(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Measured."""
        made: list[Any] = []

        def make() -> TimedProtocol:
            made.append(protocol_factory())
            return TimedProtocol(made[0], self.turns)

        transport, _ = await super().create_connection(make, *args, **kwargs)
        return transport, made[0]

    async def subprocess_exec(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Measured."""
        made: list[Any] = []

        def make() -> TimedProtocol:
            made.append(protocol_factory())
            return TimedProtocol(made[0], self.turns)

        transport, _ = await super().subprocess_exec(make, *args, **kwargs)
        return transport, made[0]


def _name(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    if isinstance(owner, asyncio.Task):
        coroutine = owner.get_coro()
        return f"task {getattr(coroutine, '__qualname__', coroutine)}"
    name = str(getattr(function, "__qualname__", None) or getattr(function, "__name__", type(function).__name__))
    return f"{type(owner).__name__}.{name.rpartition('.')[2]}" if owner is not None else name
