"""One holder's money: what it may spend, what it leases, gives back and tells, and when."""

import pytest

from overspill_gateway.core.money.account import (
    ANSWER_SECONDS,
    FAILED_PAUSE_SECONDS,
    IDLE_SECONDS,
    REFRESH_SECONDS,
    Account,
    Alert,
    Money,
)
from overspill_gateway.core.money.ledger_rules import Claim, Failed, Granted

DOLLAR = 10**9


class Desk:
    """An account, and a ledger that answers when it is told to."""

    def __init__(self, limit: int, block: int, *, is_shared: bool = False, others: int = 0) -> None:
        self.account = Account(limit, block, is_shared=is_shared)
        self.account.set_alerts((50, 75, 100))
        self.others = others
        self.now = 0.0
        self.is_first = True
        """Whether nobody else has seen a percentage reached before."""
        self.told: list[int] = []
        """Percentages of which people were told."""
        self.claims: list[Claim] = []

    def wishes(self) -> list[Claim | Alert]:
        """What the account wants of the ledger now."""
        wishes, self.account.outbox = self.account.outbox, []
        return wishes

    def answer(self) -> None:
        """Grant what there is room for, until nothing more is wanted."""
        while wishes := self.wishes():
            for wish in wishes:
                if isinstance(wish, Alert):
                    self.account.alert_answered(wish, is_first=self.is_first)
                    self.told += [wish.percent] if self.is_first else []
                    continue
                self.claims.append(wish)
                charged = max(min(wish.most, wish.cap - self.others), wish.least)
                self.account.answered(Granted(wish.number, charged, self.others, 0), self.now)

    def fail(self) -> None:
        """The ledger can't be written."""
        for wish in self.wishes():
            if isinstance(wish, Alert):
                self.account.alert_answered(wish, is_first=None)
            else:
                self.account.failed(Failed(wish.number, "no room"))

    def held(self, amount: int) -> Money:
        """Hold an amount, waiting for the ledger if need be."""
        answer = self.account.hold(amount, self.now)
        if answer is Money.WAIT:
            self.answer()
            answer = self.account.hold(amount, self.now)
        self.answer()
        return answer

    def spend(self, held: int, charged: int) -> None:
        """A whole call."""
        assert self.held(held) is Money.HELD
        self.account.settle(held, charged, self.now)
        self.answer()

    def tick(self, seconds: float, *, works: bool = True) -> None:
        """Time passes."""
        self.now += seconds
        self.account.tick(self.now, ledger_works=works)


def leased(limit: int) -> Desk:
    """An account that has leased all of its limit."""
    desk = Desk(limit, limit)
    desk.account.prepare(0.0, limit)
    desk.answer()
    return desk


def test_nothing_is_spent_before_the_ledger_wrote_it_down() -> None:
    """A new account has no money, whatever its limit."""
    account = Account(DOLLAR, 100)

    assert account.hold(1, 0.0) is Money.WAIT
    assert account.held == 0
    assert account.outbox == [Claim(1, 0, 100, DOLLAR)]


def test_what_is_leased_is_held_without_asking() -> None:
    """The next block is asked for when half of this one is left, and not twice."""
    desk = Desk(100_000, 1000)
    desk.account.prepare(0.0)
    desk.answer()
    assert [desk.account.hold(100, 0.0) for _ in range(4)] == [Money.HELD] * 4
    assert desk.wishes() == []

    assert [desk.account.hold(100, 0.0) for _ in range(3)] == [Money.HELD] * 3

    assert desk.wishes() == [Claim(2, 1000, 1500, 100_000)]


def test_a_lowered_limit_stops_at_once() -> None:
    """What is leased already is no right to spend it."""
    account = leased(1000).account
    assert account.hold(400, 0.0) is Money.HELD

    account.set_limit(500, 10)

    assert account.hold(101, 0.0) is Money.NO
    assert account.hold(100, 0.0) is Money.HELD


def test_after_an_overshoot_less_is_left() -> None:
    """What a backend reports beyond the hold is charged as well: the next holds shrink."""
    desk = leased(1000)
    desk.spend(100, 600)

    assert desk.account.overshoot == 500
    assert desk.account.left == 400
    assert desk.held(401) is Money.NO
    assert desk.held(400) is Money.HELD


def test_an_overshoot_beyond_the_lease_is_written_down() -> None:
    """The ledger has to know of money that was spent without it."""
    desk = leased(100)
    desk.account.hold(100, 0.0)

    desk.account.settle(100, 350, 0.0)

    assert [wish for wish in desk.wishes() if isinstance(wish, Claim)] == [Claim(2, 350, 350, 100)]
    assert desk.account.lease_left == 0


def test_an_overshoot_while_the_ledger_is_asked_is_in_the_next_claim() -> None:
    """There is one claim at a time, and its answer adds to what came meanwhile."""
    desk = Desk(1_000_000, 1000)
    desk.account.prepare(0.0)
    desk.answer()
    desk.account.hold(600, 0.0)
    (asked,) = desk.wishes()
    assert isinstance(asked, Claim)
    desk.account.settle(600, 1600, 0.0)
    assert desk.wishes() == []

    desk.account.answered(Granted(asked.number, asked.most, 0, 0), 0.0)

    (claim,) = desk.wishes()
    assert isinstance(claim, Claim)
    assert claim.least == asked.most + 600 == desk.account.leased
    assert desk.account.lease_left == asked.most - 1000


def test_what_others_have_spent_is_not_spent_again() -> None:
    """Crashed leases and other processes with the same file count."""
    desk = Desk(1000, 1000, others=900)
    desk.account.prepare(0.0)
    desk.answer()

    assert desk.account.left == 100
    assert desk.held(100) is Money.HELD
    assert desk.held(1) is Money.NO
    assert desk.account.charged == 900


def test_blocks_grow_where_money_is_spent_quickly() -> None:
    """A burst does not ask the ledger for every few calls; a crash costs little where hardly anything is spent."""
    desk = Desk(1_000_000, 1000)
    for step in range(8):
        desk.now = step * 0.1
        desk.account.prepare(desk.now, 1)
        desk.answer()
        desk.account.hold(desk.account.lease_left, desk.now)
        desk.answer()
    sizes = [claim.most - claim.least for claim in desk.claims]

    assert sizes[0] == 1000
    assert sizes[-1] == 1_000_000 // 50
    assert sizes == sorted(sizes)


def test_what_a_burst_left_over_goes_back() -> None:
    """Money that is leased and not needed is lost in a crash, so little of it is kept."""
    desk = Desk(1_000_000, 1000)
    assert desk.held(50_000) is Money.HELD
    desk.account.settle(50_000, 10, 0.0)

    (claim,) = desk.wishes()
    assert isinstance(claim, Claim)
    assert claim.least == claim.most == desk.account.leased < 5000


def test_the_end_of_an_account_gives_back_all_that_is_not_held() -> None:
    """Whatever is being asked for; and each call that ends later gives back the rest of its hold."""
    desk = Desk(100_000, 1000)
    desk.held(700)
    desk.account.prepare(0.0, 5000)
    (asked,) = desk.wishes()
    desk.account.retire(0.0)
    (last,) = desk.wishes()

    assert isinstance(asked, Claim)
    assert isinstance(last, Claim)
    assert (last.number, last.least, last.most, last.is_last) == (asked.number + 1, 700, 700, False)
    assert not desk.account.answered(Granted(asked.number, asked.most, 0, 0), 0.0), "overtaken"
    desk.account.settle(700, 30, 0.0)
    assert desk.wishes() == [Claim(last.number + 1, 30, 30, 100_000, is_last=True)]


# -- a ledger that does not answer, or fails -----------------------------------------------------------------------


def test_after_a_failure_all_is_said_again_a_second_later() -> None:
    """Nobody knows whether it was written: the next claim says what is so, also where nothing more is needed."""
    desk = Desk(100_000, 1000)
    desk.account.prepare(0.0)
    desk.answer()
    desk.account.hold(600, 0.0)
    desk.fail()
    desk.account.settle(600, 1, 0.0)

    desk.tick(FAILED_PAUSE_SECONDS / 2, works=False)
    assert desk.wishes() == []
    desk.tick(FAILED_PAUSE_SECONDS / 2)

    (claim,) = desk.wishes()
    assert isinstance(claim, Claim)
    assert claim.least == claim.most == 1000


def test_while_the_ledger_fails_no_more_is_spent_than_is_leased() -> None:
    """And no call waits for it."""
    desk = Desk(100_000, 1000)
    desk.account.prepare(0.0)
    desk.answer()
    desk.account.hold(600, 0.0)
    desk.fail()

    assert desk.account.money(ledger_works=False) == 400
    assert desk.account.hold(401, 0.1) is Money.NO
    assert desk.account.hold(400, 0.1) is Money.HELD


def test_who_has_waited_in_vain_keeps_others_from_waiting() -> None:
    """Until the ledger answers, whatever it says."""
    desk = Desk(100_000, 1000)
    assert desk.account.hold(100, 0.0) is Money.WAIT
    desk.account.waited_in_vain()
    assert desk.account.hold(100, 1.0) is Money.NO
    assert desk.account.money(ledger_works=True) == 0

    desk.answer()

    assert desk.account.hold(100, 2.0) is Money.HELD


def test_an_answer_that_was_lost_is_asked_for_anew_ever_more_rarely() -> None:
    """A ledger that hangs must not find a day's claims when it comes to itself."""
    desk = Desk(100_000, 1000)
    desk.account.prepare(0.0)
    (first,) = desk.wishes()
    asked = []
    for _ in range(3600):
        desk.tick(1.0)
        asked += [(desk.now, wish) for wish in desk.wishes()]

    assert [at for at, _ in asked][:2] == [ANSWER_SECONDS, 3 * ANSWER_SECONDS]
    assert len(asked) < 8
    assert isinstance(first, Claim)
    assert not desk.account.answered(Granted(first.number, 1000, 0, 0), desk.now)
    newest = asked[-1][1]
    assert isinstance(newest, Claim)
    assert (newest.least, newest.most) == (0, 1000)
    assert desk.account.answered(Granted(newest.number, 1000, 0, 0), desk.now)
    assert not desk.account.answered(Granted(newest.number, 1000, 0, 0), desk.now), "once"
    assert desk.account.leased == 1000


# -- with others under one cap -------------------------------------------------------------------------------------


def test_at_its_limit_it_looks_whether_others_have_given_back() -> None:
    """Every few seconds, without a call that is refused first."""
    desk = Desk(1000, 1000, others=1000)
    desk.account.prepare(0.0)
    desk.answer()
    desk.others = 0
    desk.tick(REFRESH_SECONDS - 1)
    assert desk.wishes() == []
    desk.tick(1.0)
    desk.answer()

    assert desk.account.left == 1000


def test_under_a_shared_cap_the_last_of_it_is_leased_in_small_parts() -> None:
    """Not by who asks first: others may need it as well."""
    alone, shared = Desk(100_000, 5000, others=90_000), Desk(100_000, 5000, is_shared=True, others=90_000)
    sizes = []
    for desk in (alone, shared):
        desk.account.prepare(0.0)
        desk.answer()  # it learns of the others
        desk.account.hold(desk.account.lease_left, 0.0)
        desk.claims.clear()
        desk.answer()
        sizes.append(desk.claims[0].most - desk.claims[0].least)

    assert sizes == [5000, 5000 // 8]


def test_what_is_leased_and_not_used_goes_back_where_others_may_need_it() -> None:
    """A gateway without a call for half a minute keeps nothing; where nobody else spends it would help nobody."""
    alone, shared = Desk(100_000, 1000), Desk(100_000, 1000, is_shared=True)
    for desk in (alone, shared):
        desk.held(100)
        for _ in range(int(IDLE_SECONDS) + 2):
            desk.tick(1.0)
            desk.answer()

    assert (alone.account.lease_left, shared.account.lease_left) == (900, 0)
    assert shared.account.leased == 100, "a call under way keeps its money"


def test_a_rest_that_pays_for_no_call_goes_back_to_where_it_may() -> None:
    """Several gateways may each have less than a call costs, and together enough."""
    desk = Desk(1000, 50, is_shared=True, others=940)
    desk.held(10)
    desk.account.settle(10, 10, 0.0)
    desk.answer()
    assert desk.account.lease_left > 0
    desk.account.refused(desk.now)
    desk.tick(REFRESH_SECONDS)
    desk.answer()
    assert desk.account.lease_left == 0

    desk.others = 0
    desk.tick(REFRESH_SECONDS)
    desk.answer()

    assert desk.account.left == 990
    assert desk.held(500) is Money.HELD


# -- alerts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charged", "told"),
    [(499, []), (500, [50]), (749, [50]), (750, [75]), (1000, [100])],
)
def test_each_percentage_is_told_once(charged: int, told: list[int]) -> None:
    """The highest that is reached, and not again."""
    desk = leased(1000)
    desk.spend(1000, charged)
    desk.tick(1.0)
    desk.answer()

    assert desk.told == told


def test_a_raised_limit_has_its_own_percentages() -> None:
    """Half of the new limit may be all of the old one, of which was told; three quarters were not."""
    desk = leased(1000)
    desk.spend(1000, 1000)
    assert desk.told == [100]

    desk.account.set_limit(2000, 10)
    desk.tick(1.0)
    desk.answer()
    assert desk.told == [100]
    desk.spend(500, 500)
    assert desk.told == [100, 75]


def test_a_percentage_of_which_somebody_was_told_is_not_told_again() -> None:
    """A restart does not repeat alerts, nor does a second gateway that sees the same."""
    desk = Desk(1000, 1000)
    desk.account.prepare(0.0, 1000)
    (claim,) = desk.wishes()
    assert isinstance(claim, Claim)
    desk.account.answered(Granted(claim.number, 1000, 0, 500), 0.0)
    desk.spend(600, 600)
    assert desk.told == []
    desk.is_first = False
    desk.spend(200, 200)
    desk.is_first = True
    desk.spend(100, 100)

    assert desk.told == []


def test_an_alert_that_the_ledger_could_not_take_is_asked_about_again() -> None:
    """Nobody knows whether somebody else has told of it."""
    desk = leased(1000)
    desk.account.hold(600, 0.0)
    desk.account.settle(600, 600, 0.0)
    desk.fail()
    desk.tick(FAILED_PAUSE_SECONDS)
    desk.answer()

    assert desk.told == [50]


def test_the_last_rest_that_pays_for_nothing_is_told_as_spent() -> None:
    """A call is refused for lack of money, little is left, and nothing is under way that could come back."""
    desk = leased(1000)
    desk.held(960)
    desk.account.refused(0.0)
    assert desk.wishes() == []
    desk.account.settle(960, 960, 0.0)
    desk.answer()
    for _ in range(2):
        desk.account.refused(0.0)
        desk.answer()

    assert desk.told == [75, 100]
