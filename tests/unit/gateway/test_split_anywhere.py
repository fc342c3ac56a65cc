"""The same bytes, split at every position there is: always the same requests, the same answer, the same stream."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.targets import DIALECTS, read_answer, read_events, read_requests
from unit.tiers import exhaustively

CORPUS = Path(__file__).resolve().parents[2] / "fuzz" / "corpus"


def seeds(name: str) -> list[bytes]:
    """Known inputs of one kind, good and bad."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def test_requests() -> None:
    """Good ones, refused ones and unfinished ones."""
    found = {"good": 0, "refused": 0, "unfinished": 0}
    for data in seeds("requests"):
        whole = read_requests([data])
        found["refused" if whole[1] else "good" if whole[0] else "unfinished"] += 1
        for cut in range(1, len(data)):
            assert read_requests([data[:cut], data[cut:]]) == whole, (data, cut)
    assert min(found.values()) > 3, found


@pytest.mark.interpreted  # its pool is a double
def test_answers() -> None:
    """In every framing, cut off, ambiguous, and no HTTP at all."""
    for data in seeds("answers"):
        whole = read_answer([data])
        for cut in range(1, len(data)):
            assert read_answer([data[:cut], data[cut:]])[:4] == whole[:4], (data, cut)


@pytest.mark.parametrize("strip_usage", [True, *exhaustively(False)])
def test_events(*, strip_usage: bool) -> None:
    """Whole streams and broken ones, of every dialect."""
    for seed in seeds("events"):
        dialect, data = DIALECTS[seed[0] % 4], seed[1:]
        whole = read_events(dialect, [data], strip_usage=strip_usage)
        for cut in range(1, len(data)):
            assert read_events(dialect, [data[:cut], data[cut:]], strip_usage=strip_usage) == whole, (data, cut)
