"""The pure side of budgets: what is held, what is charged, what is leased, and that the cap holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from overspill_gateway.core.answers.usage import Price, Usage, cost_nano_usd
from overspill_gateway.core.money.budget import OUTPUT_TOKENS_MAX, OUTPUT_TOKENS_MAX_BY_CLIENT, Account, clamp_of, offer
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


# -- the account ---------------------------------------------------------------------------------------------------


class AccountMachine(RuleBasedStateMachine):
    """One account, its ledger, calls that end in every way, crashes, and limits that change."""

    LIMIT = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.written = 0
        """What the ledger has: durable."""
        self.really_spent = 0
        """What the provider has billed, over all lives."""
        self.overshoot = 0
        self.calls: list[int] = []
        self.account = Account(self.LIMIT, 200)
        self.highest_limit = self.LIMIT

    @rule(amount=st.integers(1, 4000))
    def hold(self, amount: int) -> None:
        """A call is sent, if it may."""
        if self.account.hold(amount):
            self.calls.append(amount)

    @rule(at_least=st.integers(0, 4000), seconds=st.floats(0, 20))
    def lease(self, at_least: int, seconds: float) -> None:
        """The ledger writes a block, as far as the limit allows."""
        self.now += seconds
        wanted = self.account.block_wanted(at_least)
        granted = max(min(wanted, self.account.limit - self.written), 0)
        others = self.written - self.account.leased
        self.written += granted
        self.account.leased_block(granted, others, self.now)

    @precondition(lambda self: self.calls)
    @rule(share=st.floats(0, 1))
    def settle_by_usage(self, share: float) -> None:
        """A backend reported less than was held."""
        amount = self.calls.pop(0)
        self._settle(amount, int(amount * share))

    @precondition(lambda self: self.calls)
    @rule()
    def settle_in_full(self) -> None:
        """Nobody knows what a call cost: charged, never refunded."""
        amount = self.calls.pop(0)
        self._settle(amount, amount)

    @precondition(lambda self: self.calls)
    @rule(more=st.integers(1, 500))
    def settle_beyond(self, more: int) -> None:
        """A backend reported more than it could."""
        amount = self.calls.pop(0)
        self.overshoot += more
        self._settle(amount, amount + more)

    @rule()
    def give_back(self) -> None:
        """What is leased and not needed goes back."""
        self.written -= self.account.take_back()

    @rule(limit=st.integers(0, 20_000))
    def change_limit(self, limit: int) -> None:
        """Somebody edits the route."""
        self.highest_limit = max(self.highest_limit, limit)
        self.account.set_limit(limit, 200)

    @rule()
    def crash(self) -> None:
        """The process dies; calls under way may have cost their worst case."""
        self.really_spent += sum(self.calls)
        self.calls.clear()
        limit = self.account.limit
        self.account = Account(limit, 200)

    def _settle(self, held: int, charged: int) -> None:
        self.really_spent += charged
        self.written += self.account.settle(held, charged)

    @invariant()
    def the_ledger_never_knows_less_than_was_spent(self) -> None:
        """At any line: what a crash would leave covers what was spent and what is under way."""
        assert self.written >= self.really_spent + sum(self.calls)

    @invariant()
    def the_cap_holds(self) -> None:
        """Settled and held together are never above the limit, but for what backends reported beyond their holds."""
        assert self.really_spent + sum(self.calls) <= self.highest_limit + self.overshoot

    @invariant()
    def sums_are_exact(self) -> None:
        """Integers that add up."""
        account = self.account
        assert account.held == sum(self.calls)
        assert account.holds == len(self.calls)
        assert account.spent + account.held <= account.leased
        assert all(isinstance(value, int) for value in (account.spent, account.held, account.leased))


TestAccount = AccountMachine.TestCase


def leased(limit: int, amount: int | None = None) -> Account:
    """An account that has leased all of its limit, or an amount."""
    account = Account(limit, limit)
    account.set_alerts((50, 75, 100))
    account.leased_block(limit if amount is None else amount, 0, 0.0)
    return account


def test_nothing_is_spent_before_the_ledger_wrote_it_down() -> None:
    """A new account has no money, whatever its limit."""
    account = Account(DOLLAR, 100)

    assert not account.hold(1)
    assert account.block_wanted() == 100


def test_a_lowered_limit_stops_at_once() -> None:
    """What is leased already is no right to spend it."""
    account = leased(1000)
    assert account.hold(400)

    account.set_limit(500, 10)

    assert not account.hold(101)
    assert account.hold(100)


def test_after_an_overshoot_less_is_left() -> None:
    """What a backend reports beyond the hold is charged as well: the next holds shrink."""
    account = leased(1000)
    account.hold(100)
    assert account.settle(100, 600) == 0

    assert account.overshoot == 500
    assert account.left == 400
    assert not account.hold(401)


def test_an_overshoot_beyond_the_lease_is_written_down() -> None:
    """The ledger has to know of money that was spent without it."""
    account = leased(1000, 100)
    account.hold(100)

    assert account.settle(100, 350) == 250
    assert (account.leased, account.lease_left) == (350, 0)


def test_what_others_have_spent_is_not_spent_again() -> None:
    """Crashed leases and other processes with the same file count."""
    account = Account(1000, 1000)
    account.leased_block(100, 900, 0.0)

    assert account.left == 100
    assert account.block_wanted(100) == 0
    assert account.hold(100)
    assert not account.hold(1)
    assert account.block_wanted(1) == 0


def test_blocks_grow_where_money_is_spent_quickly() -> None:
    """A burst does not ask the ledger for every few calls; a crash costs little where hardly anything is spent."""
    account = Account(1_000_000, 1000)
    sizes = []
    for step in range(8):
        wanted = account.block_wanted(1)
        sizes.append(wanted)
        account.leased_block(wanted, 0, step * 0.1)
        account.hold(account.lease_left)

    assert sizes[0] == 1000
    assert sizes[-1] == 1_000_000 // 50
    assert sizes == sorted(sizes)


def test_what_a_burst_left_over_goes_back() -> None:
    """Money that is leased and not needed is lost in a crash, so little of it is kept."""
    account = Account(1_000_000, 1000)
    account.leased_block(account.block_wanted(50_000), 0, 0.0)
    account.hold(50_000)
    account.settle(50_000, 10)

    assert account.take_back() == 50_000 - 10 - 1000
    assert account.lease_left == 1000
    assert account.take_back(everything=True) == 1000


@pytest.mark.parametrize(
    ("charged", "told"),
    [(499, []), (500, [50]), (749, [50]), (750, [75]), (1000, [100])],
)
def test_each_percentage_is_told_once(charged: int, told: list[int]) -> None:
    """The highest that is reached, and not again."""
    account = leased(1000)
    account.hold(1000)
    account.settle(1000, charged)

    assert [due for due in (account.alert_due(), account.alert_due()) if due] == told


def test_a_raised_limit_has_its_own_percentages() -> None:
    """Half of the new limit may be all of the old one, of which was told; three quarters were not."""
    account = leased(1000)
    account.hold(1000)
    account.settle(1000, 1000)
    assert account.alert_due() == 100

    account.set_limit(2000, 10)
    account.leased_block(1000, 0, 0.0)
    assert account.alert_due() == 0
    account.hold(500)
    account.settle(500, 500)
    assert account.alert_due() == 75


def test_a_percentage_of_which_an_earlier_life_told_is_not_told_again() -> None:
    """A restart does not repeat alerts."""
    account = leased(1000)
    account.alerted_of(500)
    account.hold(600)
    account.settle(600, 600)

    assert account.alert_due() == 0


def test_the_last_rest_that_pays_for_nothing_is_told_as_spent() -> None:
    """A call is refused for lack of money, little is left, and nothing is under way that could come back."""
    account = leased(1000)
    account.hold(960)
    assert not account.alert_exhausted()
    account.settle(960, 960)

    assert account.alert_due() == 75
    assert account.alert_exhausted()
    assert not account.alert_exhausted()
