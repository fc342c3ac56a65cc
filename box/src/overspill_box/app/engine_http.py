"""What is asked of an engine itself: whether it can serve, and vLLM's sleep mode. Plain HTTP on loopback."""

from typing import Final, Protocol

import aiohttp

HEALTH_SECONDS: Final = 5.0
SLEEP_SECONDS: Final = 120.0
"""Weights of a large model take a while to be moved to the machine's memory."""


class EngineHttp(Protocol):
    """An engine on a port of this machine."""

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

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def is_healthy(self, port: int, path: str) -> bool:
        """See ``EngineHttp``."""
        try:
            timeout = aiohttp.ClientTimeout(total=HEALTH_SECONDS)
            async with self._session.get(f"http://127.0.0.1:{port}{path}", timeout=timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def is_asleep(self, port: int, api_key: str | None) -> bool:
        """See ``EngineHttp``."""
        try:
            timeout = aiohttp.ClientTimeout(total=HEALTH_SECONDS)
            url = f"http://127.0.0.1:{port}/is_sleeping"
            async with self._session.get(url, timeout=timeout, headers=_headers(api_key)) as response:
                return response.status == 200 and (await response.json()).get("is_sleeping") is True
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, AttributeError):
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
            async with self._session.post(url, timeout=timeout, headers=_headers(api_key)) as response:
                if response.status == 200:
                    return ""
                return f"it answers {response.status} to {path}"
        except (aiohttp.ClientError, OSError) as error:
            return f"{path} fails: {error}"
        except TimeoutError:
            return f"{path} takes longer than {SLEEP_SECONDS:g} s"


def _headers(api_key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}
