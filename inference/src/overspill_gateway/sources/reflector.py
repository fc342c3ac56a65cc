"""Lists and watches one kind of object.

It resumes where a watch ended, lists anew when the server has forgotten, and waits between failures. What the objects
mean is not known here.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import httpx
import msgspec

from overspill_api.list_watch import FORGOTTEN, Change, ListWatch, Pauses
from overspill_gateway.clock import Clock
from overspill_gateway.sources.documents import Metadata
from overspill_gateway.wire.time_slice import TimeSlice

logger = logging.getLogger(__name__)

LIST_LIMIT: Final = 500
WATCH_SECONDS: Final = 300
HEALTHY_SECONDS: Final = 1.0
"""A watch that ends sooner, and says nothing, is no watch."""
SLICE_SECONDS: Final = 0.002
"""The longest that objects of a list are taken in without a break for others."""
BACKOFF_SECONDS: Final = 0.2
BACKOFF_SECONDS_MAX: Final = 15.0


class _HasMetadata(Protocol):
    metadata: Metadata


T = TypeVar("T", bound=_HasMetadata)


class _ListMetadata(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815 - Kubernetes' name
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct):
    message: str = ""
    code: int = 0


class _OnlyMetadata(msgspec.Struct):
    metadata: Metadata


class _Expired(Exception):  # noqa: N818 - the normal way to be told to list anew
    """The server no longer knows the resource version: list anew."""


class WatchError(Exception):
    """A call failed; the message says what and what mends it."""


class Reflector(Generic[T]):
    """Keeps a receiver in step with the objects of one kind."""

    def __init__(
        self,
        path: str,
        label: str,
        kind: type[T],
        put: Callable[[T], None],
        drop: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self.path = path
        self.listed = False
        """Whether a list has been read whole since the start."""
        self.errors_total = 0
        self.state = "not asked yet"
        """How the last call went, for people."""
        self._label = label
        self._decode = msgspec.json.Decoder(kind).decode
        self._clock = clock or Clock()
        self.put = put
        """Gets each object that is there, new or changed."""
        self._drop = drop
        self._keys: set[str] = set()
        """Objects that are there, by ``namespace/name``."""
        self._following = ListWatch(Pauses(BACKOFF_SECONDS, BACKOFF_SECONDS_MAX, HEALTHY_SECONDS))

    async def run(self, client: httpx.AsyncClient, headers: Callable[[], dict[str, str]]) -> None:
        """List and watch until cancelled."""
        following = self._following
        while True:
            following.begin(self._clock.monotonic())
            try:
                if not following.version:
                    await self._list(client, headers())
                    continue
                await self._watch(client, headers())
                await self._pause(following.ended(self._clock.monotonic(), random.random()))  # noqa: S311 - no secret
            except _Expired:
                await self._failed(status=FORGOTTEN)
            except (httpx.HTTPError, OSError, WatchError, msgspec.DecodeError) as error:
                self.errors_total += 1
                reason = str(error) or type(error).__name__
                if reason != self.state:
                    logger.warning("watching %s: %s; what is known stays", self.path, reason)
                self.state = reason
                # What cannot be read would be told again from the same version, and nothing behind it.
                await self._failed(lists_anew=isinstance(error, msgspec.DecodeError))
            except Exception:  # whatever it is, the watch must go on
                self.errors_total += 1
                logger.exception("watching %s: an error of this program; listing anew", self.path)
                await self._failed(lists_anew=True)

    async def _failed(self, *, status: int = 0, lists_anew: bool = False) -> None:
        """Wait longer after each failure in a row, and never in step with other gateways."""
        now, draw = self._clock.monotonic(), random.random()  # noqa: S311 - no secret
        await self._pause(self._following.failed(now, draw, status=status, lists_anew=lists_anew))

    async def _pause(self, seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)

    async def _list(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        keys: set[str] = set()
        parameters: dict[str, str | int] = {"labelSelector": self._label, "limit": LIST_LIMIT}
        while True:
            response = await client.get(self.path, params=parameters, headers=headers)
            _check(response.status_code, response.content)
            page = msgspec.json.decode(response.content, type=_List)
            turn = TimeSlice(SLICE_SECONDS)  # a thousand documents take longer than requests may wait
            for item in page.items or []:
                key = self._take(bytes(item))
                if key:
                    keys.add(key)
                await turn.give_way()
            onward = page.metadata.continue_
            if not onward:
                break
            if onward == parameters.get("continue"):
                raise WatchError("a list does not end: a page leads to itself")
            parameters["continue"] = onward
        if not page.metadata.resourceVersion:
            raise WatchError("a list has no metadata.resourceVersion, so that nothing can be watched from there")
        self._following.listed(page.metadata.resourceVersion)
        before, self._keys = self._keys, keys
        for gone in before - keys:
            self._take_away(gone)
        if not self.listed:
            logger.info("listed %s", self.path, extra={"objects": len(keys)})
        self.listed = True
        self.state = "listed"

    async def _watch(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        """Follow changes until the server ends the watch."""
        parameters: dict[str, str | int] = {
            "labelSelector": self._label,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._following.version,
            "timeoutSeconds": random.randint(WATCH_SECONDS, 2 * WATCH_SECONDS),  # noqa: S311 - spreads gateways
        }
        async with client.stream("GET", self.path, params=parameters, headers=headers) as response:
            if response.status_code != 200:
                _check(response.status_code, await response.aread())
            self.state = "watched"
            pending = b""
            async for data in response.aiter_raw():
                lines = (pending + data).split(b"\n")
                pending = lines.pop()
                for line in lines:
                    if line:
                        self._follow(msgspec.json.decode(line, type=_Event))

    def _follow(self, event: _Event) -> None:
        raw = bytes(event.object)
        if event.type == "ERROR":
            status = msgspec.json.decode(raw, type=_Status)
            _check(status.code or 500, raw)
            return
        metadata = msgspec.json.decode(raw, type=_OnlyMetadata).metadata
        key = f"{metadata.namespace}/{metadata.name}"
        match self._following.happened(event.type, metadata.resourceVersion):
            case Change.GONE:
                self._keys.discard(key)
                self._take_away(key)
            case Change.PUT:
                self._keys.add(key)
                self._take(raw)
            case Change.NOTHING:
                pass

    def _take(self, raw: bytes) -> str | None:
        """Hand an object on. Whatever is wrong with it is counted and concerns it alone; it counts as being there."""
        try:
            item = self._decode(raw)
        except msgspec.DecodeError as error:
            self.errors_total += 1
            logger.warning("an object of %s can't be read: %s", self.path, error)
            return _key_of(raw)
        try:
            self.put(item)
        except Exception:  # one object must not keep the others from being followed
            self.errors_total += 1
            logger.exception("%s of %s can't be used: an error of this program", item.metadata.name, self.path)
        return f"{item.metadata.namespace}/{item.metadata.name}"

    def _take_away(self, key: str) -> None:
        try:
            self._drop(key)
        except Exception:  # the others must go all the same
            self.errors_total += 1
            logger.exception("%s of %s could not be taken away: an error of this program", key, self.path)


def _key_of(raw: bytes) -> str | None:
    """Key of an object of which nothing else can be read."""
    try:
        metadata = msgspec.json.decode(raw, type=_OnlyMetadata).metadata
    except msgspec.DecodeError:
        return None
    return f"{metadata.namespace}/{metadata.name}"


def _check(status: int, content: bytes) -> None:
    if status == 200:
        return
    if status == FORGOTTEN:
        raise _Expired
    try:
        message = msgspec.json.decode(content, type=_Status).message
    except msgspec.DecodeError:
        message = content[:200].decode(errors="replace")
    hint = ""
    if status in {401, 403}:
        hint = "; the gateway's ServiceAccount needs list and watch on Secrets here and on EndpointSlices everywhere"
    raise WatchError(f"the API server answered {status}: {message}{hint}")
