"""What is asked of an engine itself: whether it can serve, and vLLM's sleep mode. Plain HTTP on loopback."""

import json
from collections.abc import Callable
from typing import Final, Protocol

import aiohttp

from overspill_box.core.process import Listener

HEALTH_SECONDS: Final = 5.0
SLEEP_SECONDS: Final = 120.0
"""Weights of a large model take a while to be moved to the machine's memory."""
ANSWER_BYTES_MAX: Final = 1024
"""What is read of an answer."""


class EngineHttp(Protocol):
    """An engine on a port of this machine. Whoever tells it a key has looked who listens there."""

    def listener(self, port: int) -> Listener:
        """Who listens on the port now."""

    async def is_healthy(self, port: int, path: str) -> bool:
        """Whether it can serve."""

    async def is_asleep(self, port: int, api_key: str | None) -> bool:
        """Whether it sleeps; one that does not say is awake."""

    async def sleep(self, port: int, api_key: str | None) -> str:
        """Put it to sleep; why that failed, empty: it did not."""

    async def wake(self, port: int, api_key: str | None) -> str:
        """Wake it up; why that failed, empty: it did not."""


class AiohttpEngineHttp:
    """``EngineHttp`` by a session of aiohttp, which whoever makes it closes."""

    def __init__(self, session: aiohttp.ClientSession, listener_at: Callable[[int], Listener]) -> None:
        self._session = session
        self._listener_at = listener_at

    def listener(self, port: int) -> Listener:
        """See ``EngineHttp``."""
        return self._listener_at(port)

    async def is_healthy(self, port: int, path: str) -> bool:
        """See ``EngineHttp``."""
        try:
            timeout = aiohttp.ClientTimeout(total=HEALTH_SECONDS)
            url = f"http://127.0.0.1:{port}{path}"
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def is_asleep(self, port: int, api_key: str | None) -> bool:
        """See ``EngineHttp``."""
        try:
            timeout = aiohttp.ClientTimeout(total=HEALTH_SECONDS)
            url = f"http://127.0.0.1:{port}/is_sleeping"
            headers = _headers(api_key)
            async with self._session.get(url, timeout=timeout, headers=headers, allow_redirects=False) as response:
                text = await response.content.read(ANSWER_BYTES_MAX) if response.status == 200 else b"{}"
            return json.loads(text).get("is_sleeping") is True
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, AttributeError, RecursionError):
            return False

    async def sleep(self, port: int, api_key: str | None) -> str:
        """See ``EngineHttp``."""
        return await self._post(port, "/sleep?level=1", api_key)

    async def wake(self, port: int, api_key: str | None) -> str:
        """See ``EngineHttp``."""
        return await self._post(port, "/wake_up", api_key)

    async def _post(self, port: int, path: str, api_key: str | None) -> str:
        try:
            timeout = aiohttp.ClientTimeout(total=SLEEP_SECONDS)
            url = f"http://127.0.0.1:{port}{path}"
            headers = _headers(api_key)
            async with self._session.post(url, timeout=timeout, headers=headers, allow_redirects=False) as response:
                if response.status == 200:
                    return ""
                return f"it answers {response.status} to {path}"
        except (aiohttp.ClientError, OSError) as error:
            return f"{path} fails: {error}"
        except TimeoutError:
            return f"{path} takes longer than {SLEEP_SECONDS:g} s"


def _headers(api_key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}
