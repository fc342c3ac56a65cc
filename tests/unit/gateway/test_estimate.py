"""Tokens before anybody has counted them: likely ones learned from what was reported, and a bound for money."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.dialects.endpoints import CHAT, EMBEDDINGS
from overspill_gateway.core.requests.access import Grant
from overspill_gateway.core.requests.ask import Needs
from overspill_gateway.core.requests.asking import ask_of
from overspill_gateway.core.requests.body import read_body
from overspill_gateway.core.requests.estimate import (
    ATTACHMENT_TOKENS_MAX,
    BYTES_PER_TOKEN,
    TokenRatio,
    prompt_tokens_max,
)

ME = Grant("ns/me", frozenset(), frozenset())


def test_a_route_learns_its_ratio() -> None:
    """From a start that fits English, to what its own prompts have, in some dozens of requests."""
    ratio = TokenRatio()
    for _ in range(60):
        ratio.observed(20_000, 10_000)

    assert ratio.bytes_per_token == pytest.approx(2.0, rel=0.02)


def test_single_outliers_do_not_poison_it() -> None:
    """One absurd report moves it little, in either direction, and it heals."""
    ratio = TokenRatio()
    for _ in range(200):
        ratio.observed(4000, 1000)
    ratio.observed(1_000_000, 1)
    ratio.observed(300, 10**9)

    assert ratio.bytes_per_token == pytest.approx(4.0, rel=0.15)
    for _ in range(200):
        ratio.observed(4000, 1000)
    assert ratio.bytes_per_token == pytest.approx(4.0, rel=0.02)


@given(st.lists(st.tuples(st.integers(-5, 10**9), st.integers(-5, 10**9)), max_size=200))
def test_it_stays_within_reason_whatever_is_reported(reports: list[tuple[int, int]]) -> None:
    """A ratio of 0.5 to 16 bytes, never zero nor infinite."""
    ratio = TokenRatio()
    for prompt_bytes, tokens in reports:
        ratio.observed(prompt_bytes, tokens)

    assert 0.5 <= ratio.bytes_per_token <= 16


def test_short_prompts_teach_nothing() -> None:
    """Their tokens are the chat template's."""
    ratio = TokenRatio()
    for _ in range(100):
        ratio.observed(20, 40)

    assert ratio.bytes_per_token == BYTES_PER_TOKEN


def test_text_that_nobody_counted_has_rather_too_many_tokens() -> None:
    """It costs money: rounded up, and never at more bytes a token than English has."""
    ratio = TokenRatio()
    for _ in range(100):
        ratio.observed(80_000, 10_000)

    assert ratio.tokens_of_bytes(4001) == 1001
    assert ratio.tokens_of_bytes(0) == 0


@given(st.text(max_size=300), st.booleans())
def test_a_prompt_has_no_more_tokens_than_the_bound(text: str, ascii_only: bool) -> None:  # noqa: FBT001
    """A tokenizer of bytes makes one token of a byte at most, and JSON is never shorter than the text it stands for."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}, ensure_ascii=ascii_only)
    facts = read_body(body.encode("utf-8", "surrogatepass"), CHAT)
    ask = ask_of(facts, CHAT, ME)

    assert ask.prompt_tokens_max >= len(text.encode("utf-8", "surrogatepass"))
    assert ask.prompt_tokens_max >= ask.prompt_tokens


def test_an_attachment_is_held_at_its_dearest() -> None:
    """An image's tokens do not follow from its length."""
    assert prompt_tokens_max(100, 2, 0) - prompt_tokens_max(100) == 2 * ATTACHMENT_TOKENS_MAX


def test_what_generates_nothing_has_no_output_to_hold() -> None:
    """Embeddings cost their prompt only."""
    facts = read_body(b'{"model": "m", "input": "text"}', EMBEDDINGS)
    ask = ask_of(facts, EMBEDDINGS, ME)

    assert (ask.output_tokens_max, ask.output_tokens, ask.needs) == (0, 0, Needs.NOTHING)
