"""Names of hosted APIs: a dead one holds up nobody, answers are fresh a while, the last good one outlives an outage."""

from __future__ import annotations

import asyncio
import socket

import pytest

from overspill_gateway.wire import resolver
from overspill_gateway.wire.resolver import Resolver, SocketAddress, UnresolvedError, in_turn, literal_address
from unit.gateway.harness import eventually, soon
from unit.gateway.name_server import NameServer


async def ip_of(names: Resolver, host: str) -> list[str]:
    """The addresses of a host, as text."""
    return [str(address.parts[0]) for address in await soon(names.addresses(host, 443))]


async def test_dead_names_hold_up_nobody(names: NameServer) -> None:
    """Each name has its own thread, and one at most: a hundred requests for dead names leave room for a good one."""
    names.addresses["good"] = ["192.0.2.1"]
    names.dead = {f"dead-{number}" for number in range(40)}
    resolving = Resolver()
    waiting = [asyncio.ensure_future(resolving.addresses(name, 443)) for name in sorted(names.dead) for _ in range(3)]
    await eventually(lambda: len(names.asked) == 40)

    assert await ip_of(resolving, "good") == ["192.0.2.1"]
    assert len(names.asked) == 41
    for wait in waiting:
        wait.cancel()
    await asyncio.wait(waiting)


async def test_a_wait_ends_though_the_resolver_does_not_answer(names: NameServer) -> None:
    """Whoever has no more time goes; the question stays the only one about this name."""
    names.dead = {"dead"}
    resolving = Resolver()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await resolving.addresses("dead", 443)
    assert names.asked == ["dead"]


async def test_answers_are_asked_anew_after_seconds(names: NameServer) -> None:
    """A changed address is found within FRESH_SECONDS; until then nobody is asked."""
    names.addresses["api"] = ["192.0.2.1"]
    resolving = Resolver()
    assert await ip_of(resolving, "api") == await ip_of(resolving, "api") == ["192.0.2.1"]
    assert names.asked == ["api"]

    names.addresses["api"] = ["192.0.2.2"]
    pass_time(resolving, resolver.FRESH_SECONDS)
    assert await ip_of(resolving, "api") == ["192.0.2.2"]


def pass_time(resolving: Resolver, seconds: float) -> None:
    """Let what is known grow older."""
    for answer in resolving.answers.values():
        answer.fresh_until -= seconds
        answer.good_until -= seconds


async def test_a_name_that_is_not_there_is_told_and_soon_asked_again(names: NameServer) -> None:
    """The resolver's words; a burst of requests asks once, and a second later a name that was made is found."""
    resolving = Resolver()
    for _ in range(3):
        with pytest.raises(UnresolvedError, match="the name new is not resolved: what the resolver says"):
            await resolving.addresses("new", 443)
    assert names.asked == ["new"]

    names.addresses["new"] = ["192.0.2.3"]
    pass_time(resolving, resolver.FAILED_SECONDS)
    assert await ip_of(resolving, "new") == ["192.0.2.3"]


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "..", "ex\u00e4mple..com"])
async def test_what_is_no_name_is_an_error_like_others(host: str) -> None:
    """Python's own encoding of names raises errors of another kind."""
    with pytest.raises(UnresolvedError):
        await soon(Resolver().addresses(host, 443))


async def test_the_last_good_answer_outlives_an_outage(names: NameServer) -> None:
    """A resolver that is down or silent changes nothing for five minutes; one that says that a name is gone does."""
    names.addresses["api"] = ["192.0.2.1"]
    resolving = Resolver()
    await ip_of(resolving, "api")

    del names.addresses["api"]
    names.error = socket.EAI_AGAIN
    pass_time(resolving, resolver.FRESH_SECONDS)
    assert await ip_of(resolving, "api") == ["192.0.2.1"]
    names.dead.add("api")
    pass_time(resolving, resolver.FAILED_SECONDS)
    assert await ip_of(resolving, "api") == ["192.0.2.1"]
    names.release.set()
    await eventually(lambda: not resolving.questions)

    names.error = socket.EAI_NONAME
    pass_time(resolving, resolver.FAILED_SECONDS)
    with pytest.raises(UnresolvedError):
        await resolving.addresses("api", 443)


async def test_an_old_answer_is_no_answer(names: NameServer) -> None:
    """After five minutes without a word nobody knows who has the address by now."""
    names.addresses["api"] = ["192.0.2.1"]
    resolving = Resolver()
    await ip_of(resolving, "api")
    del names.addresses["api"]
    names.error = socket.EAI_AGAIN
    pass_time(resolving, resolver.STALE_SECONDS)
    with pytest.raises(UnresolvedError):
        await resolving.addresses("api", 443)


async def test_what_is_remembered_has_a_bound(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from documents, and there can be many in a process's life."""
    monkeypatch.setattr(resolver, "HOSTS_MAX", 3)
    resolving = Resolver()
    for number in range(6):
        names.addresses[f"h{number}"] = ["192.0.2.1"]
        await ip_of(resolving, f"h{number}")
    assert len(resolving.answers) == 3


async def test_addresses_need_no_resolver(names: NameServer) -> None:
    """An address of either family is its own answer."""
    assert literal_address("2001:db8::1", 443) == SocketAddress(socket.AF_INET6, ("2001:db8::1", 443, 0, 0))
    assert await ip_of(Resolver(), "192.0.2.9") == ["192.0.2.9"]
    assert not names.asked


def test_families_take_turns() -> None:
    """The first one's first; none comes twice."""
    six = [SocketAddress(socket.AF_INET6, (f"2001:db8::{number}", 1, 0, 0)) for number in (1, 2, 3)]
    four = [SocketAddress(socket.AF_INET, ("192.0.2.1", 1))]
    assert in_turn([*six, *four, *four]) == (six[0], four[0], six[1], six[2])
