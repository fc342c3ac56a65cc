"""Lines of a stream, however the bytes come."""

import tracemalloc

import pytest

from overspill_operator.adapters.line_reader import LineReader


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_the_same_however_they_are_cut(size: int) -> None:
    """One that is longer than may be is skipped to its end, empty ones are left out."""
    content = b"one\n\ntoo long a line\nten bytes!\nrest"
    reader, lines = LineReader(10), []
    for begin in range(0, len(content), size):
        lines += reader.feed(content[begin : begin + size])
    assert lines == [b"one", b"ten bytes!"]
    assert reader.skipped == 1
    assert reader.feed(b"ed\n") == [b"rested"]


def test_a_line_without_end_that_comes_in_small_pieces_takes_no_more_room_than_its_bytes() -> None:
    """Nor does anything stay of it once it is too long."""
    length = 2**17
    reader = LineReader(length)
    tracemalloc.start()
    try:
        for number in range(length // 2):
            reader.feed(bytes((number % 256, 65)).replace(b"\n", b" "))
        kept, _ = tracemalloc.get_traced_memory()
        reader.feed(b"xx")
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 * length
    assert left < length / 10
