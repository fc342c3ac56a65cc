"""Slots: a bound on engines that are on their way, in turn, and nobody waits for ever."""

from overspill_operator.app.creation_slots import EXPIRES_AFTER_SECONDS, CreationSlots


def test_the_bound_holds_and_the_next_is_called_in_turn() -> None:
    """First come, first served."""
    called: list[str] = []
    slots = CreationSlots(called.append, slots=2)
    assert [slots.take(key, 0.0) for key in "abcd"] == [True, True, False, False]
    slots.release("a")
    assert called == ["c"]
    slots.release("b")
    assert called == ["c", "d"]


def test_one_that_has_a_slot_keeps_it() -> None:
    """Asking again costs none."""
    slots = CreationSlots(lambda _key: None, slots=1)
    assert slots.take("a", 0.0)
    assert slots.take("a", 1.0)


def test_one_that_gives_up_is_not_called() -> None:
    """A deleted route loses its place in the queue."""
    called: list[str] = []
    slots = CreationSlots(called.append, slots=1)
    slots.take("a", 0.0)
    slots.take("b", 0.0)
    slots.take("c", 0.0)
    slots.release("b")
    assert called == []
    slots.release("a")
    assert called == ["c"]


def test_a_stuck_engine_does_not_hold_the_others_back() -> None:
    """A slot that was taken too long ago is free."""
    called: list[str] = []
    slots = CreationSlots(called.append, slots=1)
    slots.take("a", 0.0)
    slots.take("b", 1.0)
    slots.expire(EXPIRES_AFTER_SECONDS)
    assert called == []
    slots.expire(EXPIRES_AFTER_SECONDS + 0.1)
    assert called == ["b"]
    assert slots.take("b", EXPIRES_AFTER_SECONDS + 0.1)
