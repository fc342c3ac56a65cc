"""What a call of a hosted API may cost, and what is held for it."""

from hypothesis import given
from hypothesis import strategies as st

from overspill_gateway.core.answers.usage import Price, Usage, cost_nano_usd
from overspill_gateway.core.money.budget import OUTPUT_TOKENS_MAX, OUTPUT_TOKENS_MAX_BY_CLIENT, clamp_of, offer
from overspill_gateway.core.requests.ask import Ask

DOLLAR = 10**9
PRICE = Price(150_000_000, 75_000_000, 600_000_000)
"""Of a small hosted model: 0.15 and 0.60 USD per million."""


def ask(prompt: int = 1000, max_tokens: int | None = None, answers: int = 1) -> Ask:
    """A request whose prompt has at most this many tokens."""
    return Ask(prompt // 4, 100, max_tokens, answers, prompt_tokens_max=prompt)


# -- what a call may cost ------------------------------------------------------------------------------------------


@given(
    st.builds(Price, st.integers(0, 10**11), st.integers(0, 10**11), st.integers(0, 10**11)),
    st.one_of(st.none(), st.integers(100, 10**6)),
    st.integers(0, 10**6), st.one_of(st.none(), st.integers(0, 10**8)), st.integers(1, 128),
    st.integers(0, 10**13), st.one_of(st.none(), st.integers(64, 10**6)), st.data(),
)  # fmt: skip
def test_no_answer_within_the_offer_costs_more_than_it(
    price: Price,
    context: int | None,
    prompt: int,
    longest: int | None,
    answers: int,
    money: int,
    most_output: int | None,
    data: st.DataObject,
) -> None:
    """Whatever the API does within the limit that was written into the request, cached prompt or not."""
    found = offer(price, context, ask(prompt, longest, answers), money, most_output)
    if found is None:
        return
    if most_output is not None:
        assert min(limit for limit in (found.output_tokens, longest) if limit is not None) <= most_output
    assert found.nano_usd <= money
    limit = longest if found.output_tokens is None else found.output_tokens
    assert limit is not None
    if longest is not None:
        assert limit <= longest
    most = prompt if context is None or longest == 0 else min(prompt, context * answers)
    used = data.draw(st.integers(0, most))
    cached = data.draw(st.integers(0, used))
    output = data.draw(st.integers(0, limit)) * answers

    for usage in (Usage(used, cached, output), Usage(most, 0, limit * answers), Usage(most, most, limit * answers)):
        assert cost_nano_usd(usage, price) <= found.nano_usd


def test_without_a_budget_the_request_stays_as_it_is() -> None:
    """The worst case is known all the same, for attempts whose end is uncertain."""
    found = offer(PRICE, None, ask(1000), None)

    assert found is not None
    assert found.output_tokens is None
    assert found.nano_usd == (1000 * 150 + OUTPUT_TOKENS_MAX * 600)


def test_a_request_without_a_limit_gets_one_under_a_budget() -> None:
    """An answer without an end can't be held."""
    found = offer(PRICE, None, ask(1000), DOLLAR)

    assert found is not None
    assert found.output_tokens == OUTPUT_TOKENS_MAX


def test_a_client_s_own_limit_is_left_alone_where_the_money_does() -> None:
    """The body is edited only where it must be."""
    found = offer(PRICE, None, ask(1000, 500), DOLLAR)

    assert found is not None
    assert found.output_tokens is None
    assert found.nano_usd == 1000 * 150 + 500 * 600


def test_near_the_cap_answers_become_shorter() -> None:
    """As long as the rest of the money allows, down to a length that is of use."""
    prompt = 1000 * 150
    found = offer(PRICE, None, ask(1000, 500), prompt + 100 * 600 + 599)

    assert found is not None
    assert (found.output_tokens, found.nano_usd) == (100, prompt + 100 * 600)
    assert offer(PRICE, None, ask(1000, 500), prompt + 64 * 600) is not None
    assert offer(PRICE, None, ask(1000, 500), prompt + 63 * 600) is None
    assert offer(PRICE, None, ask(1000, 10), prompt + 10 * 600) is not None
    assert offer(PRICE, None, ask(1000, 10), prompt + 9 * 600) is None


def test_every_answer_asked_for_is_held() -> None:
    """n answers cost n times the output."""
    found = offer(PRICE, None, ask(0, 100, answers=5), DOLLAR)

    assert found is not None
    assert found.nano_usd == 5 * 100 * 600


def test_a_huge_limit_can_not_take_everybody_s_money() -> None:
    """max_tokens of 100 million is cut to the model's context, or to what no model exceeds."""
    unknown = offer(PRICE, None, ask(0, 100_000_000), 100 * DOLLAR)
    known = offer(PRICE, 8192, ask(0, 100_000_000), 100 * DOLLAR)

    assert unknown is not None
    assert unknown.output_tokens == OUTPUT_TOKENS_MAX_BY_CLIENT
    assert known is not None
    assert known.output_tokens == 8192


def test_no_request_asks_for_more_than_the_model_writes() -> None:
    """An API would refuse it: a longer limit is cut, with a budget or without; none is set where nobody needs one."""

    def written(longest: int | None, money: int | None, *, model: int = 4096, context: int | None = None) -> int | None:
        found = offer(PRICE, context, ask(100, longest), money, model)
        assert found is not None
        asked = found.output_tokens or longest or OUTPUT_TOKENS_MAX
        assert found.nano_usd == 100 * 150 + min(asked, model) * 600
        return found.output_tokens

    assert written(10_000, None) == written(10_000, DOLLAR) == 4096
    assert written(None, DOLLAR) == 4096
    assert written(None, None) is None
    assert written(4096, None) is written(4096, DOLLAR) is None
    assert written(10_000, DOLLAR, context=8192) == 4096
    assert written(None, DOLLAR, model=100_000) == OUTPUT_TOKENS_MAX
    assert written(50_000, DOLLAR, model=100_000) is None
    assert (clamp_of(ask(1, 200), 100), clamp_of(ask(1, 100), 100), clamp_of(ask(1, 200), None)) == (100, None, None)


def test_the_written_limit_leaves_room_for_the_prompt() -> None:
    """An API refuses a prompt and a limit that are together more than its context."""
    found = offer(PRICE, 8192, ask(16_000), DOLLAR)

    assert found is not None
    assert found.output_tokens is not None
    assert found.output_tokens + 16_000 // 4 < 8192
    assert offer(PRICE, 8192, ask(40_000), DOLLAR) is None


def test_embeddings_hold_their_prompt_only() -> None:
    """What generates nothing has a longest answer of 0, and a batch is not bounded by the context."""
    found = offer(Price(20_000_000, 20_000_000, 0), 8192, ask(100_000, 0), DOLLAR)

    assert found is not None
    assert (found.nano_usd, found.output_tokens) == (100_000 * 20, None)
