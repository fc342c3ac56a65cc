"""How long to wait after failures in a row before the next try: the rule of all that both sides repeat for ever.

Not here: the pauses of a client's request (the gateway's ``core.retry_budget``), and who rests for how long.
"""

from typing import Final

_DOUBLINGS_MAX: Final = 20
"""More would only make a number too large to calculate with."""


def pause_seconds(failures: int, *, first: float, most: float, draw: float) -> float:
    """Up to ``first`` seconds after the first failure, twice that after each further one, never above ``most``.

    At least half of it, the rest by ``draw`` (0 to 1, random), so that many who failed together do not return together.
    """
    return min(first * 2.0 ** min(failures - 1, _DOUBLINGS_MAX), most) * (0.5 + 0.5 * draw)
