"""A head that is known from before is taken for what it is, or not at all: never for what the one before was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.http.forwarding import to_hosted, to_replica, with_json_type
from overspill_gateway.core.http.head import Head, read_head
from overspill_gateway.core.requests.head_memory import HeadMemory
from overspill_gateway.wire.pool import Address, Pool
from overspill_gateway.wire.upstream import UpstreamConnection
from unit.gateway.fake_transport import FakeTransport
from unit.gateway.test_upstream import Remembers

HEADS = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 512\r\nAuthorization: Bearer k\r\nX-Tag: 7",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Tag: 7\r\ncontent-length:0",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Request-Id: r1",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Encoding: identity\r\nContent-Type: text/plain",
)
TWICE = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Request-Id: r1\r\nx-request-id: r2\r\nConnection: keep-alive"
ANSWER = b'HTTP/1.1 200 OK\r\nServer: e\r\nContent-Length: 12\r\nContent-Type: application/json\r\n\r\n{"a": "bcd"}'

edits = st.tuples(
    st.integers(0, 200), st.integers(0, 3), st.sampled_from([b"", b"0", b"1", b"9", b" ", b"\r\n", b",", b":", b"x"])
)


def edited(data: bytes, edit: tuple[int, int, bytes]) -> bytes:
    """Bytes with some replaced, left out or put in."""
    at, gone, new = edit
    at = at % (len(data) + 1)
    return data[:at] + new + data[at + gone :]


def read(raw: bytes) -> Head | None:
    """A head, read anew; None: it is refused."""
    head = read_head(raw, target_bytes_max=8192, fields_max=100)
    return head if isinstance(head, Head) else None


def facts(head: Head) -> tuple[Any, ...]:
    """All that was read of a head."""
    return (
        head.method, head.path, head.query, head.headers, head.authorization, head.request_id, head.content_length,
        head.chunked, head.expects_continue, head.http_1_0, head.keep_alive, head.content_type, head.compressed,
    )  # fmt: skip


@pytest.mark.parametrize("raw", HEADS)
def test_the_same_head_is_known_again(raw: bytes) -> None:
    """With all that was found out about it, but for what this request alone may have."""
    memory, head = HeadMemory(), read(raw)
    assert head is not None
    head.admitted, head.body_bytes_max = object(), 17
    memory.remember(raw, head)

    again = memory.recall(raw)

    assert again is not None
    assert again is not head
    assert facts(again) == facts(head)
    assert again.admitted is head.admitted
    assert again.body_bytes_max is None


@pytest.mark.parametrize("length", [b"0", b"7", b"123456789"])
def test_another_length_is_read(length: bytes) -> None:
    """A conversation grows: nothing but the length of its requests differs."""
    memory, head = HeadMemory(), read(HEADS[0])
    assert head is not None
    memory.remember(HEADS[0], head)
    longer = HEADS[0].replace(b"512", length)

    again, anew = memory.recall(longer), read(longer)

    assert again is not None
    assert anew is not None
    assert facts(again) == facts(anew)


OF_ONE_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 512\r\nAuthorization: Bearer k\r\n"
    b"X-Request-ID: one\r\ntraceparent: 00-1-1-01\r\nUser-Agent: curl/8\r\nX-Api-Key:"
)


@pytest.mark.parametrize(
    ("old", "new", "same_sender"),
    [
        (b"one", b"two", True),
        (b"one", b"t o", True),
        (b"512", b"7", True),
        (b"00-1-1-01", b"00-22-2-01", True),
        (b"curl/8", b"curl/9", True),
        (b"Bearer k", b"Bearer other", False),
        (b"X-Api-Key:", b"X-Api-Key: k2", False),
    ],
)
def test_what_differs_is_read_and_what_follows_from_it_is_forgotten(
    old: bytes, new: bytes, *, same_sender: bool
) -> None:
    """An identifier or a trace says nothing of who sends a request; a key does."""
    memory, head = HeadMemory(), read(OF_ONE_REQUEST)
    assert head is not None
    memory.remember(OF_ONE_REQUEST, head)
    head.admitted, head.owner = object(), "ns/me"
    head.replica_lines, head.hosted_lines = to_replica(with_json_type(head.headers)), to_hosted(head.headers)
    other, sent = OF_ONE_REQUEST.replace(old, new), list(head.replica_lines)

    again, anew = memory.recall(other), read(other)

    assert again is not None
    assert anew is not None
    assert facts(again) == facts(anew)
    assert (again.admitted, again.owner) == ((head.admitted, "ns/me") if same_sender else (None, ""))
    assert again.replica_lines == to_replica(with_json_type(anew.headers))
    assert again.hosted_lines in {None, to_hosted(anew.headers)}
    assert head.replica_lines == sent


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"512", b"0512"), (b"512", b"+5"), (b": 512", b":  512"), (b"Host: a", b"Host: b"), (b"traceparent", b"other"),
        (b"one", b"o\x00e"), (b"one", b"o\ne"), (b"chat", b"c"), (b"X-Api-Key:", b"X-Api-Key: a\r\nX-Api-Key: b"),
    ],
)  # fmt: skip
def test_what_has_to_be_read_is_read(old: bytes, new: bytes) -> None:
    """Framing and hosts, names, what no head may hold: only the reader says what they mean."""
    memory, head = HeadMemory(), read(OF_ONE_REQUEST)
    assert head is not None
    memory.remember(OF_ONE_REQUEST, head)

    assert memory.recall(OF_ONE_REQUEST.replace(old, new)) is None


def test_of_two_identifiers_the_last_counts_however_the_first_differs() -> None:
    """Such a head is read each time."""
    memory, head = HeadMemory(), read(TWICE)
    assert head is not None
    memory.remember(TWICE, head)

    assert memory.recall(TWICE.replace(b"r1", b"r3")) is None


def test_the_head_that_was_recalled_is_the_one_that_is_remembered() -> None:
    """What is found out about it serves the next: a key is checked once, not once for each request after the first."""
    memory, head = HeadMemory(), read(OF_ONE_REQUEST)
    assert head is not None
    memory.remember(OF_ONE_REQUEST, head)
    other = memory.recall(OF_ONE_REQUEST.replace(b"Bearer k", b"Bearer other"))
    assert other is not None
    other.admitted = object()

    again = memory.recall(OF_ONE_REQUEST.replace(b"Bearer k", b"Bearer other").replace(b"one", b"two"))

    assert again is not None
    assert again.admitted is other.admitted


@given(st.sampled_from((*HEADS, TWICE)), edits, st.sampled_from((*HEADS, TWICE)), edits)
def test_what_is_recalled_is_what_would_be_read(
    first: bytes, one: tuple[int, int, bytes], second: bytes, other: tuple[int, int, bytes]
) -> None:
    """However two heads differ: none is taken for good that would be refused, or for another than it is."""
    memory, raw, following = HeadMemory(), edited(first, one), edited(second, other)
    head = read(raw)
    if head is None:
        return
    memory.remember(raw, head)
    again = memory.recall(following)
    if again is None:
        return
    anew = read(following)

    assert anew is not None
    assert facts(again) == facts(anew)


# -- answers -------------------------------------------------------------------------------------------------------


def outcome(connection: UpstreamConnection, data: bytes) -> tuple[Any, ...]:
    """What a receiver hears of one more answer, and whether its connection stays."""
    receiver = Remembers()
    connection.send(receiver, b"", b"")
    connection.data_received(data)
    return (
        receiver.status, receiver.headers, receiver.body, receiver.ends, receiver.lost, connection.closed,
        receiver.pauses,
    )  # fmt: skip


def connection() -> UpstreamConnection:
    """A new one."""
    made = UpstreamConnection(Pool(Address("h", 1), idle_seconds=5, connect_seconds=1))
    made.connection_made(FakeTransport())
    return made


@given(edits, edits)
async def test_an_answer_is_the_same_whatever_came_before(
    one: tuple[int, int, bytes], other: tuple[int, int, bytes]
) -> None:
    """On a connection that has seen its like, or one that is nearly so, and on a new one."""
    used = connection()
    outcome(used, ANSWER)
    before = outcome(used, edited(ANSWER, one))
    if before[3] != 1 or before[5]:  # unfinished, or the connection's last
        used = connection()
        outcome(used, ANSWER)
    data = edited(ANSWER, other)

    assert outcome(used, data) == outcome(connection(), data)


async def test_a_known_answer_in_pieces_and_a_known_one_that_is_longer_are_read() -> None:
    """Only an answer that comes whole, and alone, is taken without parsing."""
    used = connection()
    outcome(used, ANSWER)

    receiver = Remembers()
    used.send(receiver, b"", b"")
    for at in range(len(ANSWER)):
        used.data_received(ANSWER[at : at + 1])
    longer = outcome(used, ANSWER.replace(b"12", b"15").replace(b"bcd", b"bcdefg"))

    assert (receiver.status, receiver.body, receiver.ends) == (200, b'{"a": "bcd"}', 1)
    assert longer[:6] == (200, {b"server": b"e", b"content-length": b"15", b"content-type": b"application/json"},
                          b'{"a": "bcdefg"}', 1, None, False)  # fmt: skip
