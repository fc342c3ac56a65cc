"""Addresses of hosts, asked of the system's resolver: each host beside the others, so that a dead name holds up nobody.

One question per host is under way at most, in a thread of its own. An answer is fresh for five seconds; a failure is
remembered for one. While the resolver is silent or down, the last good answer serves on for five minutes.
"""

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from overspill_gateway.wire.own_thread import in_own_thread

FRESH_SECONDS: Final = 5.0
FAILED_SECONDS: Final = 1.0
STALE_SECONDS: Final = 300.0
SILENT_SECONDS: Final = 0.5
"""After this long without an answer the last good one is taken, where there is one."""
HOSTS_MAX: Final = 4096
"""Hosts whose answers are remembered."""
QUESTIONS_MAX: Final = 256
"""Questions under way: a thread each."""

_PASSING: Final = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM, socket.EAI_MEMORY})

HostPort = tuple[str, int]


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """Where to connect to."""

    family: int
    """AF_INET or AF_INET6."""
    parts: tuple[str | int | bytes, ...]
    """As sockets take it."""


class UnresolvedError(OSError):
    """A host has no address, or nobody says which."""


@dataclass(slots=True)
class _Answer:
    addresses: tuple[SocketAddress, ...]
    error: UnresolvedError | None
    fresh_until: float
    good_until: float


class Resolver:
    """The addresses of hosts, for one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.answers: dict[HostPort, _Answer] = {}
        """What is known."""
        self.questions: dict[HostPort, asyncio.Task[tuple[SocketAddress, ...]]] = {}
        """What is being asked."""

    async def addresses(self, host: str, port: int) -> tuple[SocketAddress, ...]:
        """Addresses in the order in which to try them, at least one; raises UnresolvedError.

        It may take as long as the system's resolver does: whoever can't wait stops waiting.
        """
        literal = literal_address(host, port)
        if literal is not None:
            return (literal,)
        key = (host, port)
        answer = self.answers.get(key)
        if answer is not None and self._loop.time() < answer.fresh_until:
            if answer.error is not None:
                raise answer.error
            return answer.addresses
        question = self._question(key)
        last = answer.addresses if answer is not None and self._loop.time() < answer.good_until else ()
        await asyncio.wait({question}, timeout=SILENT_SECONDS if last else None)
        if last and (not question.done() or _failed_in_passing(question)):
            return last
        return question.result()

    def prefer(self, host: str, port: int, address: SocketAddress) -> None:
        """This address answered where others did not: try it first for as long as the answer is known."""
        answer = self.answers.get((host, port))
        if answer is not None and address in answer.addresses:
            answer.addresses = (address, *(other for other in answer.addresses if other != address))

    def _question(self, key: HostPort) -> "asyncio.Task[tuple[SocketAddress, ...]]":
        question = self.questions.get(key)
        if question is None:
            if len(self.questions) >= QUESTIONS_MAX:
                raise UnresolvedError(0, f"{QUESTIONS_MAX} other names are being resolved, and none of them is")
            question = self.questions[key] = self._loop.create_task(self._ask(key))
            question.add_done_callback(_look_at_error)
        return question

    async def _ask(self, key: HostPort) -> tuple[SocketAddress, ...]:
        host, port = key
        try:
            answers = await in_own_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), "resolve")
        except (OSError, UnicodeError) as error:
            number, reason = getattr(error, "errno", None) or 0, getattr(error, "strerror", None) or str(error)
            unresolved = UnresolvedError(number, f"the name {host} is not resolved: {reason}")
            self._remember(key, (), unresolved)
            raise unresolved from None
        finally:
            del self.questions[key]
        addresses = in_turn([SocketAddress(family, address) for family, _, _, _, address in answers])
        self._remember(key, addresses, None)
        return addresses

    def _remember(self, key: HostPort, addresses: tuple[SocketAddress, ...], error: UnresolvedError | None) -> None:
        now = self._loop.time()
        before = self.answers.pop(key, None)
        if error is not None and before is not None and before.addresses and error.errno in _PASSING:
            self.answers[key] = _Answer(before.addresses, None, now + FAILED_SECONDS, before.good_until)
            return
        seconds = FAILED_SECONDS if error is not None else FRESH_SECONDS
        self.answers[key] = _Answer(addresses, error, now + seconds, now + STALE_SECONDS)
        if len(self.answers) > HOSTS_MAX:
            del self.answers[next(iter(self.answers))]


def literal_address(host: str, port: int) -> SocketAddress | None:
    """The address that a host is already; None: it is a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return SocketAddress(socket.AF_INET, (host, port))
    return SocketAddress(socket.AF_INET6, (host, port, 0, 0))


def in_turn(addresses: list[SocketAddress]) -> tuple[SocketAddress, ...]:
    """Both families by turns, the first one's first, as RFC 8305 has it: a family that leads nowhere costs one try."""
    first = [address for address in addresses if address.family == addresses[0].family]
    others = [address for address in addresses if address.family != addresses[0].family]
    ordered: list[SocketAddress] = []
    for place in range(max(len(first), len(others))):
        ordered += [*first[place : place + 1], *others[place : place + 1]]
    return tuple(dict.fromkeys(ordered))


def _failed_in_passing(question: "asyncio.Task[tuple[SocketAddress, ...]]") -> bool:
    error = question.exception()
    return isinstance(error, UnresolvedError) and error.errno in _PASSING


def _look_at_error(question: "asyncio.Task[tuple[SocketAddress, ...]]") -> None:
    """Whoever asked may have stopped waiting."""
    if not question.cancelled():
        question.exception()
