"""More or less demand with the shape of a trace.

Less: each request is kept by chance, which leaves the shape over minutes and thins bursts. More: copies of the trace
are laid over each other, each but the first moved by a random time of at most ``SHIFT_SECONDS``, around the end to the
beginning. A burst of one copy keeps together, and bursts of several do not fall on the same second; over minutes the
shape is that of the trace, over seconds it is smoother than one service with so many more users would have by a common
cause. A part of a copy is thinned. Users of different copies share no prompts but those that all have in common: blocks
that at least one in ``COMMON_ONE_IN`` requests has.
"""

import heapq
from collections import Counter
from random import Random
from typing import Final

from overspill_planner.traces.arrival import Arrival

SHIFT_SECONDS: Final = 60.0
COMMON_ONE_IN: Final = 10
COPY_BLOCKS: Final = 2**40
"""Numbers that a copy's blocks are above those of the copy before."""


def scaled(requests: list[Arrival], scale: float, seed: int) -> list[Arrival]:
    """Requests with ``scale`` times the demand; the same seed makes the same ones."""
    if scale == 1.0 or not requests:
        return requests
    whole, part = int(scale), scale % 1.0
    copies = [requests] if whole else []
    common = _common(requests)
    for copy in range(len(copies), whole + (part > 0.0)):
        random = Random(f"{seed} copy {copy}")  # noqa: S311 - chance, no secret
        kept = requests if copy < whole else [request for request in requests if random.random() < part]
        if copy:
            own = [request._replace(blocks=_own(request.blocks, copy, common)) for request in kept]
            kept = _moved(own, requests[-1].seconds, random.uniform(0.0, SHIFT_SECONDS))
        copies.append(kept)
    return list(heapq.merge(*copies))


def _common(requests: list[Arrival]) -> set[int]:
    """Blocks that so many share that others would as well: instructions that go before every prompt."""
    counts = Counter(block for request in requests for block in request.blocks)
    return {block for block, count in counts.items() if count * COMMON_ONE_IN >= len(requests)}


def _own(blocks: tuple[int, ...], copy: int, common: set[int]) -> tuple[int, ...]:
    """The blocks of a copy."""
    return tuple([block if block in common else block + copy * COPY_BLOCKS for block in blocks])


def _moved(requests: list[Arrival], length: float, by: float) -> list[Arrival]:
    """Requests that come so much later, those that would come after the end at the beginning."""
    if by >= length:
        return requests
    later = [request._replace(seconds=request.seconds + by) for request in requests]
    first = next((place for place, request in enumerate(later) if request.seconds > length), len(later))
    around = [request._replace(seconds=request.seconds - length) for request in later[first:]]
    return around + later[:first]
