"""Memory for the bodies of requests, of all connections of a port together: what one sender takes, others can't have.

Taken as bodies come in, in steps, and given back when nobody needs them any more. Small bodies are not counted.
"""

from typing import Final

STEP_BYTES: Final = 256 * 1024
"""Bodies up to this long are not counted; longer ones in multiples of it."""
_OWNERS_SHARE: Final = 2
"""One sender may have a half: the rest is there for all others."""


class BodyRoom:
    """Room for bodies, and who has how much of it."""

    __slots__ = ("_by_owner", "_bytes_max", "taken_bytes")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._by_owner: dict[str, int] = {}
        self.taken_bytes = 0
        """All that is taken now."""

    @property
    def senders(self) -> int:
        """Those that have something of it now."""
        return len(self._by_owner)

    def take(self, owner: str) -> bool:
        """One more step for a body of this sender; False: there is no room for it."""
        taken = self._by_owner.get(owner, 0) + STEP_BYTES
        if self.taken_bytes + STEP_BYTES > self._bytes_max or taken > self._bytes_max // _OWNERS_SHARE:
            return False
        self._by_owner[owner] = taken
        self.taken_bytes += STEP_BYTES
        return True

    def give_back(self, owner: str, count: int) -> None:
        """This many bytes are free again."""
        left = self._by_owner.get(owner, 0) - count
        if left > 0:
            self._by_owner[owner] = left
        else:
            self._by_owner.pop(owner, None)
        self.taken_bytes -= count
