"""The pepper of API keys from its Secret, for a gateway that starts before the operator has made it."""

import asyncio
import base64
import logging
from collections.abc import Callable
from typing import Final

import httpx
import msgspec

from overspill_api.names import PEPPER_KEY

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS: Final = 1.0


class _Secret(msgspec.Struct):
    data: dict[str, str] | None = None


class PepperReader:
    """Asks for the Secret until it is there."""

    def __init__(self, namespace: str, name: str, take: Callable[[bytes], None]) -> None:
        """``take`` gets the pepper, once."""
        self._name = name
        self._path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        self._place = f"Secret {name} in namespace {namespace}"
        self._take = take
        self._state = "it is being asked for"
        self._taken = not name

    def missing(self) -> str | None:
        """What is waited for; None: nothing."""
        if self._taken:
            return None
        return f"the pepper of API keys is not there yet ({self._place}; the operator makes it): {self._state}"

    async def run(self, client: httpx.AsyncClient, headers: Callable[[], dict[str, str]]) -> None:
        """Until it is there."""
        while not self._taken:
            try:
                await self._look(client, headers())
            except (httpx.HTTPError, OSError, ValueError, msgspec.MsgspecError) as error:
                self._say(f"it can't be read: {str(error) or type(error).__name__}")
            if not self._taken:
                await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _look(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        answer = await client.get(self._path, headers=headers)
        if answer.status_code == 404:
            self._say("there is no such Secret")
            return
        answer.raise_for_status()
        secret = msgspec.json.decode(answer.content, type=_Secret)
        pepper = base64.b64decode((secret.data or {}).get(PEPPER_KEY, ""))
        if not pepper:
            self._say(f"it has no key {PEPPER_KEY!r}")
            return
        self._take(pepper)
        self._taken = True
        logger.info("the pepper of API keys is there")

    def _say(self, state: str) -> None:
        if state != self._state:
            logger.warning("waiting for the pepper of API keys", extra={"secret": self._name, "state": state})
        self._state = state
