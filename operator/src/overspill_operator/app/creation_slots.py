"""How many engines may be on their way through Kubernetes' controllers at once.

Those controllers take up changes strictly in turn. A thousand Deployments made at once would keep a woken engine
waiting behind all of them; with a bound it waits behind a few.
"""

from collections import OrderedDict
from collections.abc import Callable

SLOTS = 8
"""Enough to keep the controllers busy, few enough to be overtaken. Measured with 300 engines on two cores: 8 and
16 take equally long (17.9 and 17.8 s), and a woken engine has its pod after 0.28 instead of 0.41 s."""

EXPIRES_AFTER_SECONDS = 5.0
"""A Deployment that its controller has not taken up by then does not hold the others back."""


class CreationSlots:
    """Slots, and the keys that wait for one in order."""

    def __init__(self, on_free: Callable[[str], None], *, slots: int = SLOTS) -> None:
        """``on_free`` gets the key whose turn it is."""
        self._on_free = on_free
        self._slots = slots
        self._taken: OrderedDict[str, float] = OrderedDict()
        self._waiting: OrderedDict[str, None] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """A slot for ``key``; False: none is free, and ``on_free`` will be called in its turn."""
        if key in self._taken:
            return True
        if len(self._taken) >= self._slots:
            self._waiting[key] = None
            return False
        self._waiting.pop(key, None)
        self._taken[key] = now
        return True

    def release(self, key: str) -> None:
        """``key`` needs its slot no longer, nor its place among those that wait."""
        self._waiting.pop(key, None)
        if self._taken.pop(key, None) is not None:
            self._call_next()

    def expire(self, now: float) -> None:
        """Free slots that were taken too long ago."""
        for key in [key for key, since in self._taken.items() if now - since > EXPIRES_AFTER_SECONDS]:
            self.release(key)

    def _call_next(self) -> None:
        if self._waiting:
            key, _ = self._waiting.popitem(last=False)
            self._on_free(key)
