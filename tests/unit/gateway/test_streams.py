"""Events, usage and money: the pure parts of passing an answer on."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.events import PENDING_BYTES_MAX, EventAligner
from overspill_gateway.core.usage import Price, Usage, cost_nano_usd, usage_of_answer, usage_of_event

EVENTS = [b'data: {"a":1}\n\n', b"event: x\r\ndata: y\r\n\r\n", b": comment\n\n", b"data: [DONE]\n\n"]
STREAM = b"".join(EVENTS)


def test_events_stay_whole_however_they_are_split() -> None:
    """Split at every byte, what is passed on always ends where an event ends, and nothing is lost."""
    ends = {sum(map(len, EVENTS[:count])) for count in range(len(EVENTS) + 1)}
    for position in range(len(STREAM) + 1):
        aligner = EventAligner()
        first = aligner.feed(STREAM[:position])
        second = aligner.feed(STREAM[position:])
        assert len(first) in ends
        assert first + second + aligner.rest() == STREAM


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\n\n", b"\r\n\r\n", b"data: x"]), max_size=30))
def test_nothing_is_lost_or_invented(pieces: list[bytes]) -> None:
    """For any pieces: what goes on plus the rest is what came."""
    aligner = EventAligner()

    passed = b"".join(aligner.feed(piece) for piece in pieces)

    assert passed + aligner.rest() == b"".join(pieces)


def test_an_endless_event_does_not_fill_the_memory() -> None:
    """An event longer than the bound is passed on in pieces."""
    aligner = EventAligner()

    assert aligner.feed(b"x" * PENDING_BYTES_MAX) == b""
    assert len(aligner.feed(b"xx")) == PENDING_BYTES_MAX + 2


def document(**usage: Any) -> bytes:
    """An answer with this usage."""
    return json.dumps({"choices": [{"text": 'say "usage": {"prompt_tokens": 9}'}], "usage": usage, "x": None}).encode()


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 3}, Usage(5, 0, 3)),
        ({"prompt_tokens": 5, "total_tokens": 5}, Usage(5, 0, 0)),
        ({"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}, Usage(5, 2, 3)),
        ({"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": None}, Usage(5, 0, 3)),
        ({"prompt_tokens": -5, "completion_tokens": 3}, None),
        ({"prompt_tokens": 5, "completion_tokens": -3}, None),
        ({"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 6}}, None),
        ({"prompt_tokens": "5"}, None),
        ({}, None),
    ],
)
def test_usage_of_a_plain_answer(usage: dict[str, Any], expected: Usage | None) -> None:
    """Read alike from the whole answer and from its end; numbers that make no sense count as none."""
    body = document(**usage)

    assert usage_of_answer(body, whole=True) == expected
    assert usage_of_answer(body[20:], whole=False) == expected


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"usage": 3}', b'{"usage": null}', b"no json"])
def test_no_usage_is_no_fault(body: bytes) -> None:
    """An answer without usage, or that is not JSON, has none."""
    assert usage_of_answer(body, whole=True) is None
    assert usage_of_answer(body, whole=False) is None


def test_the_last_usage_of_a_stream_counts() -> None:
    """With continuous usage each event has one: the last is the sum. A null one says nothing."""
    first = b'data: {"usage": {"prompt_tokens": 5, "completion_tokens": 1}}\n\n'
    second = b'data: {"usage" : {"prompt_tokens": 5, "completion_tokens": 2}}\n\n'

    assert usage_of_event(first + second) == Usage(5, 0, 2)
    assert usage_of_event(first + b'data: {"usage": null}\n\n') == Usage(5, 0, 1)
    assert usage_of_event(b"data: [DONE]\n\n") is None


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**12), st.integers(0, 10**12))
def test_cost_is_rounded_up_and_exact(prompt: int, output: int, price_in: int, price_out: int) -> None:
    """Never less than what is owed, and less than one nano-dollar more; integers throughout."""
    cost = cost_nano_usd(Usage(prompt, prompt // 2, output), Price(price_in, price_in // 2, price_out))
    exact = (prompt - prompt // 2) * price_in + (prompt // 2) * (price_in // 2) + output * price_out

    assert exact <= cost * 10**6 < exact + 10**6


def test_a_million_tokens_cost_their_price() -> None:
    """0.15 USD per million input tokens is 150,000,000 nano-dollars a million."""
    assert cost_nano_usd(Usage(10**6, 0, 0), Price(150_000_000, 0, 0)) == 150_000_000
