"""Chunks that are known by their length: the plain ones, whole, and nothing else."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from overspill_gateway.wire.chunk_frame import content_start

PLAIN = re.compile(rb"([1-9a-f][0-9a-f]*)\r\n")


def by_reading(data: bytes) -> int:
    """Where the content of one plain chunk starts, found by reading its size."""
    found = PLAIN.match(data)
    if found is None or len(data) != found.end() + int(found[1], 16) + 2 or not data.endswith(b"\r\n"):
        return 0
    return found.end()


def test_every_size_is_known() -> None:
    """Up to some kilobytes, which an event seldom has; longer ones are left to the parser."""
    for size in range(1, 6000):
        data = b"%x\r\n%b\r\n" % (size, b"x" * size)
        assert content_start(data) == (by_reading(data) if size <= 2048 else 0)


@given(st.binary(max_size=300), st.binary(max_size=6), st.integers(0, 310), st.integers(0, 3))
@example(b"", b"0\r\n\r\n", 0, 0)
@example(b"x", b"0", 0, 0)
@example(b"x", b";a", 1, 0)
@example(b"x\r\n1\r\ny", b"", 0, 0)
def test_nothing_else_is(content: bytes, put: bytes, at: int, dropped: int) -> None:
    """Zeros in front, capitals, extensions, the last chunk, two chunks, half of one, bytes put anywhere."""
    whole = b"%x\r\n%b\r\n" % (len(content), content)
    data = whole[:at] + put + whole[at + dropped :]
    assert content_start(data) == by_reading(data)
