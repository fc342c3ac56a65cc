"""Errors inside a stream, in every spelling that servers have: none is missed, none passes, none looks like an end."""

from __future__ import annotations

import json
from itertools import product

import pytest

from overspill_gateway.core.answers.stream import StreamReader
from overspill_gateway.core.dialects.endpoints import Dialect
from unit.gateway.generated import DONE, PING, STREAMS, chunk, said
from unit.tiers import exhaustively

WHY = "out of memory"
DOCUMENTS: list[tuple[dict[str, object], int]] = [
    ({"error": {"message": WHY, "type": "server_error", "code": 500}}, 500),
    ({"error": {"message": WHY, "type": "server_error", "code": "503"}}, 503),
    ({"error": WHY}, 502),
    ({"error": WHY, "error_type": "overloaded"}, 429),
    ({"error": WHY, "error_type": "validation"}, 400),
    ({"error": WHY, "error_type": "generation"}, 502),
    ({"error": WHY, "code": 429}, 429),
    ({"object": "error", "message": WHY, "type": "BadRequestError", "code": 400}, 400),
    ({"type": "error", "message": WHY}, 502),
    ({"type": "error", "error": {"type": "overloaded_error", "message": WHY}}, 429),
    ({"detail": WHY}, 502),
    ({"message": WHY, "code": 42}, 502),
    ({"message": WHY}, 502),
    ({"errors": [{"message": WHY}]}, 502),
    ({"errors": [WHY]}, 502),
]
"""What an error's document may be, and the status that it would have been."""
SPELLINGS = [
    "data: %s\n\n",
    "data:%s\n\n",
    "event: error\ndata: %s\n\n",
    "event: Error\nid: 7\ndata: %s\n\n",
    "event: message\ndata: %s\n\n",
    "data: %s\n: working\n\n",
    "error: %s\n\n",
    "%s\n\n",
    "\n\n%s\n\n",
    "%s\ndata: [DONE]\n\n",
    ": working\n%s\n\n",
    "event: message\n%s\nid: 7\n\n",
]
"""Where it may stand in the stream."""


def fed(reader: StreamReader, data: bytes, size: int) -> bytes:
    """What a reader lets pass of a stream in pieces and of its end."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join([reader.feed(piece) for piece in pieces]) + reader.rest()


@pytest.mark.parametrize(
    "dialect", [Dialect.CHAT, Dialect.MESSAGES, *exhaustively(Dialect.COMPLETIONS, Dialect.RESPONSES)]
)
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("piece_bytes", [17, *exhaustively(1)])
def test_an_error_is_one_wherever_it_stands(dialect: Dialect, spelling: str, piece_bytes: int) -> None:
    """First of all, before the first token and after it; in one piece or in many; by any line ends; its last or not."""
    start, output, end = (STREAMS[dialect][0], STREAMS[dialect][1][:1], STREAMS[dialect][2])
    begun = [*start, *output]
    places = [([], b""), (start, b""), (begun, b"".join(begun))]
    for (document, status), (before, passes), behind in product(DOCUMENTS, places, (b"", end)):
        stream = b"".join([*before, (spelling % json.dumps(document)).encode(), behind])
        for size in (piece_bytes, 1000):
            reader = StreamReader(dialect)

            assert fed(reader, stream, size).rstrip() == passes.rstrip()  # but for empty lines
            assert (reader.fault, reader.fault_status, reader.ended) == (WHY, status, False), document
        reader = StreamReader(dialect)
        fed(reader, stream.replace(b"\n", b"\r\n"), 1000)
        assert (reader.fault, reader.ended) == (WHY, False), document


@pytest.mark.parametrize("dialect", list(STREAMS))
@pytest.mark.parametrize(
    ("error", "why"),
    [
        (b"event: error\ndata: out of memory\n\n", WHY),
        (b"event: error\ndata: out of\ndata: memory\n\n", "out of\nmemory"),
        (b"event:error\ndata:out of memory\n\n", WHY),
        (b"error: out of memory\n\n", WHY),
        (b"event: error\ndata: [DONE]\n\n", "[DONE]"),
        (b"event: error\ndata:\n\n", "an error without a message"),
        (b"event: error\n\n", "an error without a message"),
        (b"event: error\ndata: {}\n\n", "an error without a message"),
        (b"event: error\ndata: null\n\n", "null"),
        (b'{\n  "error": {\n    "message": "out of memory"\n  }\n}\n\n', WHY),
        (b'data: {\ndata:   "error": "out of memory"\ndata: }\n\n', WHY),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_an_event_called_error_is_one_whatever_it_says(
    dialect: Dialect, error: bytes, why: str, *, begun: bool
) -> None:
    """Plain text, over several lines, nothing at all."""
    start, output, end = STREAMS[dialect]
    before = [*start, output[0]] if begun else start
    for size in (1, 1000):
        reader = StreamReader(dialect)

        assert fed(reader, b"".join([*before, error, end]), size) == (b"".join(before) if begun else b"")
        assert (reader.fault, reader.ended) == (why, False)


@pytest.mark.parametrize(
    "event",
    [
        b": {\n\n",
        b': {"error": "x"}\n\n',
        b'id: {"error": "x"}\ndata: {"choices": []}\n\n',
        b'{"note": "x"}\ndata: {"choices": []}\n\n',
        b'data: {"choices": []}\n{"half\n\n',
        b'data: {"choices": [], "detail": "x", "message": "y"}\n\n',
        chunk({"content": '\n{"error": "x"}\n\n'}),
        PING,
    ],
)
def test_what_only_looks_like_an_error_passes(event: bytes) -> None:
    """Comments, fields and texts that speak of errors, and lines that no client reads."""
    reader = StreamReader(Dialect.CHAT)
    stream = b"".join([said("x"), event, said("", "stop"), DONE])

    assert fed(reader, stream, 1000) == stream
    assert (reader.fault, reader.ended) == (None, True)
