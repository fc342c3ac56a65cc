"""Events, usage and money: the pure parts of passing an answer on."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.answers.events import EVENT_BYTES_MAX, EventAligner
from overspill_gateway.core.answers.usage import Price, Usage, cost_nano_usd

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
    """An event longer than the bound is forgotten, and it is known that there was one; what came before it passes."""
    aligner = EventAligner()

    assert aligner.feed(EVENTS[0] + b"x" * EVENT_BYTES_MAX) == EVENTS[0]
    assert not aligner.too_long
    assert aligner.feed(b"x") == b""
    assert aligner.too_long
    assert aligner.idle


def document(**usage: Any) -> bytes:
    """An answer with this usage."""
    return json.dumps({"choices": [{"text": 'say "usage": {"prompt_tokens": 9}'}], "usage": usage, "x": None}).encode()


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**12), st.integers(0, 10**12))
def test_cost_is_rounded_up_and_exact(prompt: int, output: int, price_in: int, price_out: int) -> None:
    """Never less than what is owed, and less than one nano-dollar more; integers throughout."""
    cost = cost_nano_usd(Usage(prompt, prompt // 2, output), Price(price_in, price_in // 2, price_out))
    exact = (prompt - prompt // 2) * price_in + (prompt // 2) * (price_in // 2) + output * price_out

    assert exact <= cost * 10**6 < exact + 10**6


def test_a_million_tokens_cost_their_price() -> None:
    """0.15 USD per million input tokens is 150,000,000 nano-dollars a million."""
    assert cost_nano_usd(Usage(10**6, 0, 0), Price(150_000_000, 0, 0)) == 150_000_000
