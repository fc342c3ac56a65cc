"""Calls that may hang (a disk, a name server) beside the event loop, each in a thread of its own.

A pool of threads would be full of the calls that hang, and those that wait for a place in it would hang with them; and
Python waits for a pool's threads before it ends. The threads here die with the process. Whoever calls bounds how many
there are.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def in_own_thread(call: Callable[[], Result], name: str) -> Result:
    """The result of a call, or what it raised; when the wait is cancelled the call goes on, and nobody hears of it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def tell(result: Result | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # it is there where no error is

    def run() -> None:
        result: Result | None = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as raised:  # noqa: BLE001 - it belongs to whoever waits
            error = raised
        try:
            loop.call_soon_threadsafe(tell, result, error)
        except RuntimeError:
            return  # the loop has ended meanwhile

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
