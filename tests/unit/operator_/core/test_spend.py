"""Spend: counters of processes that come and go, counted once."""

from hypothesis import given
from hypothesis import strategies as st

from overspill_api.status import Spend
from overspill_operator.core.spend import GATEWAYS_MAX, add_reports, read_spend


def total(spend: Spend) -> int:
    """Nano-dollars altogether."""
    return spend.settled_nano_usd + sum(entry.nano_usd for entry in spend.gateways)


def test_a_restarted_operator_counts_nothing_twice() -> None:
    """The same counters, reported again to a process that has read status, add nothing."""
    first = add_reports(Spend(), {"g1": 2_500_000_000}, frozenset())
    again = read_spend({"spend": first.model_dump(by_alias=True)})
    assert add_reports(again, {"g1": 2_500_000_000}, frozenset()) == first
    assert first.usd == "2.50"


def test_what_a_gone_gateway_spent_is_kept() -> None:
    """Its counter is settled; its successor starts at nothing."""
    before = add_reports(Spend(), {"g1": 5}, frozenset())
    after = add_reports(before, {"g2": 1}, frozenset({"g1"}))
    assert (after.settled_nano_usd, total(after)) == (5, 6)


def test_a_silent_gateway_keeps_its_entry() -> None:
    """It may speak again, and its counter is the same one."""
    before = add_reports(Spend(), {"g1": 5}, frozenset())
    assert add_reports(before, {}, frozenset()) == before


def test_unreadable_status_is_nothing_spent() -> None:
    """Rather than a route that is never reconciled."""
    assert read_spend({"spend": {"gateways": "?"}}) == Spend()


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from([f"g{i}" for i in range(100)]), st.integers(0, 10**9), max_size=100),
            st.frozensets(st.sampled_from([f"g{i}" for i in range(100)])),
        ),
        max_size=6,
    )
)
def test_spend_never_falls_and_always_fits(history: list[tuple[dict[str, int], frozenset[str]]]) -> None:
    """Whatever is reported and whoever goes."""
    spend = Spend()
    for reports, gone in history:
        after = add_reports(spend, reports, gone - reports.keys())
        assert total(after) >= total(spend)
        assert len(after.gateways) <= GATEWAYS_MAX
        spend = after
