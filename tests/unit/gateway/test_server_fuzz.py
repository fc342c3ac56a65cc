"""Arbitrary bytes at the server's protocol: it never breaks, and reads alike however the bytes are split."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from unit.gateway.test_server import GOOD, HOST, REFUSED, Conversation

WHOLE = [data for data, _ in GOOD.values()] + [data for _, data in REFUSED.values() if len(data) < 300]
PIECES = [
    b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\n", b"HEAD /later HTTP/1.0\r\n", HOST, b"\r\n", b"\r\n\r\n",
    b"0\r\n\r\n", b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"connection: close\r\n",
    b"connection: upgrade\r\n", b"upgrade: h2c\r\n", b"expect: 100-continue\r\n", b"hello", b"5\r\nhello\r\n",
    b"x: y\r\n", b"\n", b"\r", b"\0", b" ",
]  # fmt: skip
PIPELINED_MAX = 20
"""More requests than any of these bytes hold."""


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A known request with some bytes changed, dropped or put in, or pieces of requests in any order."""
    if draw(st.booleans()):
        return b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=14)))
    data = bytearray(draw(st.sampled_from(WHOLE)) + draw(st.sampled_from([b"", *WHOLE])))
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "drop", "insert"])):
            case "change":
                data[position : position + 1] = draw(st.binary(min_size=1, max_size=1))
            case "drop":
                del data[position : position + draw(st.integers(1, 4))]
            case _:
                data[position:position] = draw(st.sampled_from(PIECES))
    return bytes(data)


async def outcome(*reads: bytes) -> tuple[list[tuple[bytes, bytes, bytes]], list[int]]:
    """What was served, and all statuses, for bytes that come in these reads."""
    conversation = Conversation()
    for data in reads:
        conversation.says(data)
    for _ in range(PIPELINED_MAX):  # on a busy machine some are answered at the loop's next turn
        await asyncio.sleep(0)
    served = [(head.method, head.path, body) for head, body in conversation.handler.served]
    # Of several faults another one may be seen first, depending on how much is read at once.
    statuses = [status if status in {200, 401} else 400 for status in conversation.statuses if status != 100]
    return served, statuses


@given(mutated(), st.integers(0, 400))
@settings(max_examples=4 * settings().max_examples)
def test_any_bytes_read_alike_however_they_are_split(data: bytes, position: int) -> None:
    """No exception, nothing served twice or differently, at most one refusal, and it is the last word."""

    async def check() -> None:
        whole = await outcome(data)
        assert await outcome(data[:position], data[position:]) == whole
        assert await outcome(*(data[at : at + 1] for at in range(len(data)))) == whole
        refusals = [status for status in whole[1] if status not in {200, 401}]
        assert len(refusals) <= 1
        assert not refusals or whole[1][-1] == refusals[0]

    asyncio.run(check())
