"""Blocks of prompts that an engine need not read again: who finds which, who holds them, who has to go."""

from random import Random

import pytest

from overspill_planner.baselines.fixed import Static
from overspill_planner.optimum.fluid import Prices, fluid_of
from overspill_planner.simulator.clock import Clock
from overspill_planner.simulator.engine import Engine, Job, Speed
from overspill_planner.simulator.fleet import Loading
from overspill_planner.simulator.prefix_cache import PrefixCache
from overspill_planner.simulator.run import Setting, Simulation, conversation_of
from overspill_planner.simulator.scaling import PolicyScaler
from overspill_planner.traces.arrival import BLOCK_TOKENS, Arrival

SPEED = Speed(step_seconds=0.01, prompt_token_seconds=0.001, answer_seconds=0.0, batched_tokens_max=1000, running_max=4)


class Asked:
    """An engine with blocks of ten tokens, and when its requests began."""

    def __init__(self, kv_tokens: int | None = None) -> None:
        self.clock = Clock()
        speed = Speed(0.01, 0.001, 0.0, batched_tokens_max=1000, running_max=4, kv_tokens=kv_tokens)
        self.engine = Engine(self.clock, speed, PrefixCache(10))
        self.seconds: dict[str, float] = {}

    def ask(self, name: str, prompt: int, output: int, blocks: tuple[int, ...], at: float) -> None:
        """A request comes."""

        def began() -> None:
            self.seconds[name] = self.clock.now - at

        self.clock.at(at, lambda: self.engine.submit(Job(prompt, output, began, lambda: None, blocks=blocks)))

    def run(self) -> "Asked":
        """To the end."""
        self.clock.run(1_000.0)
        return self


def test_what_was_read_is_not_read_again() -> None:
    """45 tokens at a millisecond each; the second time only those after the four blocks, with 13 more of its own."""
    asked = Asked()
    asked.ask("first", 45, 2, (1, 2, 3, 4), at=0.0)
    asked.ask("next turn", 58, 2, (1, 2, 3, 4, 5), at=1.0)
    asked.ask("another", 45, 2, (1, 7, 8, 9), at=2.0)
    asked.run()

    assert asked.seconds["first"] == pytest.approx(0.01 + 0.045)
    assert asked.seconds["next turn"] == pytest.approx(0.01 + 0.018)
    assert asked.seconds["another"] == pytest.approx(0.01 + 0.035), "only the first block is the same"
    assert asked.engine.hit_tokens == 40 + 10
    assert asked.engine.kv_tokens == 0


def test_the_last_token_is_always_read() -> None:
    """The same prompt of whole blocks: its last block is read again, for the next token follows from it."""
    asked = Asked()
    for number in range(2):
        asked.ask(str(number), 40, 2, (1, 2, 3, 4), at=float(number))

    assert asked.run().seconds["1"] == pytest.approx(0.01 + 0.010)


def test_a_block_counts_once_however_many_use_it() -> None:
    """Two with the same 30 tokens and 5 of their own, 100 tokens of answer each: 35 + 5 of context beside answers."""
    asked = Asked()
    asked.ask("a", 35, 100, (1, 2, 3), at=0.0)
    asked.ask("b", 35, 100, (1, 2, 3), at=0.5)
    seen = []
    asked.clock.at(0.9, lambda: seen.append(len(asked.engine.writing)))
    asked.clock.at(0.9, lambda: seen.append(asked.engine.kv_tokens))
    asked.run()

    batch, tokens = seen
    assert batch == 2
    assert 40 <= tokens <= 40 + 2 * 100
    assert asked.engine.kv_tokens == 0, "whoever ends gives back what nobody else uses, once"


def test_room_is_taken_from_blocks_that_nobody_uses_those_of_longest_ago_first() -> None:
    """100 tokens of room: 1 to 4 and 5 to 8 fit, with 9 to 12 the first ones go, the last of them first."""
    asked = Asked(kv_tokens=100)
    asked.ask("a", 41, 1, (1, 2, 3, 4), at=0.0)
    asked.ask("b", 41, 1, (5, 6, 7, 8), at=1.0)
    asked.ask("c", 41, 1, (9, 10, 11, 12), at=2.0)
    asked.ask("b again", 41, 1, (5, 6, 7, 8), at=3.0)
    asked.ask("a again", 41, 1, (1, 2, 3, 4), at=4.0)
    asked.run()

    assert asked.seconds["b again"] == pytest.approx(0.011)
    assert asked.seconds["a again"] == pytest.approx(0.01 + 0.031), "there was room for the first of them"


def test_blocks_in_use_stay_whatever_comes() -> None:
    """A long answer holds its prompt while others fill the rest of the room."""
    asked = Asked(kv_tokens=160)
    asked.ask("long", 41, 60, (1, 2, 3, 4), at=0.0)
    asked.ask("other", 41, 1, (5, 6, 7, 8), at=0.2)
    asked.ask("again", 41, 1, (1, 2, 3, 4), at=0.4)
    asked.run()

    assert asked.seconds["again"] < 0.03
    assert asked.engine.preemptions == 0


def test_who_is_put_back_finds_what_it_had_read() -> None:
    """Its blocks are there unless the room was wanted; all is given back in the end."""
    asked = Asked(kv_tokens=100)
    asked.ask("a", 40, 40, (1, 2, 3, 4), at=0.0)
    asked.ask("b", 40, 40, (5, 6, 7, 8), at=0.001)
    asked.run()

    assert asked.engine.preemptions >= 1
    assert asked.engine.hit_tokens > 0
    assert asked.engine.kv_tokens == 0


def test_two_that_read_the_same_at_once_each_have_their_own() -> None:
    """Both are read whole when neither is there; a third finds it."""
    asked = Asked()
    for name in ("a", "b"):
        asked.ask(name, 41, 2, (1, 2, 3, 4), at=0.0)
    asked.ask("c", 41, 2, (1, 2, 3, 4), at=1.0)
    asked.run()

    assert asked.engine.prefixes is not None
    assert asked.engine.hit_tokens in (40, 80), "the second comes in a step later, and may find it"
    assert len(asked.engine.prefixes) == 4
    assert asked.engine.kv_tokens == 0


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_tokens_and_blocks_add_up(seed: int) -> None:
    """Conversations of random lengths in a small cache: it never has more than its room, and is empty in the end."""
    random = Random(seed)
    asked = Asked(kv_tokens=600)
    engine, prefixes = asked.engine, asked.engine.prefixes
    assert prefixes is not None
    for number in range(150):
        turns = random.randint(1, 12)
        blocks = tuple(100 * random.randint(0, 6) + turn for turn in range(turns))
        at = random.uniform(0.0, 20.0)
        asked.ask(str(number), 10 * turns + random.randint(0, 9), random.randint(1, 80), blocks, at)

    def look() -> None:
        assert engine.kv_tokens >= 0
        assert len(prefixes) * prefixes.block_tokens <= 600 + 10 * engine.running
        if asked.clock.now < 60.0:
            asked.clock.at(asked.clock.now + 0.05, look)

    asked.clock.at(0.0, look)
    asked.run()

    assert len(asked.seconds) == 150
    assert engine.kv_tokens == 0
    assert engine.hit_tokens > 0


def trace() -> list[Arrival]:
    """Twenty conversations of five turns, one every second, each with instructions that all share."""
    arrivals = []
    for turn in range(5):
        for who in range(20):
            blocks = (0, *(1 + 100 * who + block for block in range(2 + turn)))
            tokens = len(blocks) * BLOCK_TOKENS + 40
            arrivals.append(Arrival(40.0 + 20.0 * turn + who, tokens, 50, blocks))
    return arrivals


def test_a_trace_with_blocks_is_read_once_by_turn() -> None:
    """Of two replicas the gateway sends each conversation to its own, which has all of it but the last turn."""
    setting = Setting(loading=Loading(0.0, 10.0))
    plain = [arrival._replace(blocks=()) for arrival in trace()]

    with_blocks = Simulation(setting, trace(), PolicyScaler(Static(2))).run()
    without = Simulation(setting, plain, PolicyScaler(Static(2))).run()

    prompt_tokens = sum(arrival.prompt_tokens for arrival in plain)
    assert without.reused_tokens == 0
    assert 0.6 * prompt_tokens < with_blocks.reused_tokens < 0.8 * prompt_tokens
    assert with_blocks.first_token.p50 is not None
    assert without.first_token.p50 is not None
    assert with_blocks.first_token.p50 < 0.7 * without.first_token.p50
    assert with_blocks == Simulation(setting, trace(), PolicyScaler(Static(2))).run()


def test_requests_of_a_conversation_are_known_by_its_beginning() -> None:
    """Its first two blocks; without blocks nothing is known."""
    assert conversation_of((0, 1)) == conversation_of((0, 1, 2, 3)) != conversation_of((0, 4, 5))
    assert conversation_of(()) == 0 != conversation_of((0,))


def test_for_a_clairvoyant_nothing_is_read_twice() -> None:
    """Its bound takes each block once, however many share it, so that it stays below what engines do."""
    prices = Prices(1.0, 1.0, 1.0)
    rates = SPEED.rates
    one = Arrival(0.0, 2 * BLOCK_TOKENS + 1, 1, (1, 2))
    again = one._replace(seconds=1.0)

    fluid = fluid_of([one, again], rates, prices)

    assert fluid.work_seconds == pytest.approx(rates.work(one) + rates.work(again, 2 * BLOCK_TOKENS))
    assert fluid.hosted_usd == pytest.approx(2 * prices.hosted(one.prompt_tokens, 1)), "hosted APIs charge it in full"
