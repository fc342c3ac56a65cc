"""Blocks of prompts that an engine has read and need not read again: vLLM's automatic prefix caching, by whole blocks.

A block is known by a hash of its tokens and of all before them, so that whoever shares a block shares all before it.
Blocks of requests in the batch are in use, by one or by several. Let go, a block stays where it is until its room is
wanted; those that were let go first go first, and of one request the last ones before the first ones, since more share
these. A request finds the longest beginning of its prompt that is there; the last token is always read, for the next
one follows from it. Two that read the same block at the same time each have their own, as in vLLM.

Not here: how many tokens are in use (``engine``). Not modelled: blocks of answers, of which traces know nothing.
"""

from collections.abc import Sequence


class PrefixCache:
    """The blocks of one engine."""

    def __init__(self, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self.hit_tokens = 0
        """Tokens that requests needed not read so far."""
        self._used: dict[int, int] = {}
        """Blocks in use, and by how many requests."""
        self._free: dict[int, None] = {}
        """Blocks that nobody uses, those that were let go first at the head."""

    def __len__(self) -> int:
        """Blocks that are there."""
        return len(self._used) + len(self._free)

    def twin(self) -> "PrefixCache":
        """One with the same in it, that goes its own way."""
        twin = PrefixCache(self.block_tokens)
        twin.take(self._used, self._free)
        return twin

    def take(self, used: dict[int, int], free: dict[int, None]) -> None:
        """Begin with these."""
        self._used, self._free = used.copy(), free.copy()

    def found(self, blocks: Sequence[int], tokens: int) -> int:
        """How many of a request's first blocks are there, of which it can use that many; ``tokens``: of all of it."""
        most = min((tokens - 1) // self.block_tokens, len(blocks))
        for place in range(most):
            block = blocks[place]
            if block not in self._used and block not in self._free:
                return place
        return most

    def unused(self, blocks: Sequence[int], count: int) -> int:
        """How many of its first blocks nobody uses: with it they take room again."""
        free = self._free
        return sum([blocks[place] in free for place in range(count)]) if free else 0

    def use(self, blocks: Sequence[int], count: int) -> None:
        """A request uses its first blocks, which are there."""
        used, free = self._used, self._free
        for place in range(count):
            block = blocks[place]
            if block in free:
                del free[block]
                used[block] = 1
            else:
                used[block] += 1
        self.hit_tokens += count * self.block_tokens

    def read(self, block: int) -> bool:
        """A request has read a block; whether it is the one that others will find, else it is a copy of its own."""
        if block in self._used or block in self._free:
            return False
        self._used[block] = 1
        return True

    def let_go(self, blocks: Sequence[int]) -> int:
        """A request uses these no more, in the order of its prompt; how many of them nobody uses now."""
        used, free = self._used, self._free
        unused = 0
        for block in reversed(blocks):
            users = used[block] - 1
            if users:
                used[block] = users
            else:
                del used[block]
                free[block] = None
                unused += 1
        return unused

    def leave(self, tokens: int) -> None:
        """So many tokens of room are left for blocks that nobody uses."""
        free = self._free
        while free and len(free) * self.block_tokens > tokens:
            del free[next(iter(free))]
