"""Turns of one conversation go to one replica, so that vLLM finds what it has already computed."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from real_engine.processes import Engine
from real_engine.world import World

pytestmark = pytest.mark.timeout(180)
CONVERSATIONS = 7
"""Odd, so that taking turns between two replicas would not look like affinity."""
TURNS = 4
WORDS = ("sea", "sun", "tree", "school", "farm", "mountain", "world")


def question(conversation: int, turn: int) -> str:
    """Some 600 tokens of the tiny model's that no other conversation begins with."""
    return f"{turn} {' '.join([WORDS[conversation]] * 200)} of the sea"


def test_a_conversation_stays_where_its_prefix_is(world: World, engine: Engine, client: openai.OpenAI) -> None:
    """Two replicas share the conversations, none of which moves; most prompt tokens come from vLLM's prefix cache."""
    engines = [engine, world.lend()]
    model = world.route("conversations", engines)
    before = [
        (one.metric("vllm:prefix_cache_queries_total"), one.metric("vllm:prefix_cache_hits_total")) for one in engines
    ]
    histories: list[list[Any]] = [[] for _ in range(CONVERSATIONS)]
    served_by: list[list[str]] = [[] for _ in range(CONVERSATIONS)]
    for turn in range(TURNS):
        for number, history in enumerate(histories):
            history.append({"role": "user", "content": question(number, turn)})
            raw = client.chat.completions.with_raw_response.create(model=model, messages=history, max_tokens=8)
            served_by[number].append(raw.headers["x-overspill-served-by"])
            history.append({"role": "assistant", "content": raw.parse().choices[0].message.content})

    assert [len(set(replicas)) for replicas in served_by] == [1] * CONVERSATIONS
    assert len({replicas[0] for replicas in served_by}) == 2
    queries = sum(one.metric("vllm:prefix_cache_queries_total") for one in engines) - sum(then[0] for then in before)
    hits = sum(one.metric("vllm:prefix_cache_hits_total") for one in engines) - sum(then[1] for then in before)
    print(f"{hits / queries:.0%} of the prompt tokens came from the prefix cache")
    # Of 1 + 2 + 3 + 4 questions a conversation sends, 1 + 2 + 3 were there before; whole blocks count.
    assert hits / queries > 0.45
