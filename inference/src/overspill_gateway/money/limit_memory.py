"""What limits of rates have counted, kept over a restart of the process where a ledger is kept.

Once a second what has changed is handed to the ledger, in twelve parts of a minute: a process that is killed
has forgotten a second of it. Not here: counting.
"""

from typing import Final

import msgspec

from overspill_gateway.clock import Clock
from overspill_gateway.core.money.ledger_rules import CapKey, cap_key
from overspill_gateway.core.money.limits import Counts, RateLimiter
from overspill_gateway.money.ledger_store import LedgerStore

SAVED_AT_ONCE_MAX: Final = 100
"""Limiters a second: so much may be done at once on the event loop's thread; others have their turn a second later."""

_decode: Final = msgspec.json.Decoder(tuple[list[tuple[int, int]], list[tuple[int, int]]]).decode


class LimitMemory:
    """The limiters of one process that are worth remembering."""

    def __init__(self, ledger: LedgerStore, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._changed: dict[str, RateLimiter] = {}
        """By the text of their keys, which is cheap to look up with each request."""
        self._by_key: dict[CapKey, RateLimiter] = {}
        self._recalled: dict[CapKey, str] = {}
        """Of an earlier life, not asked for yet."""
        self._is_recalling = False

    def begin(self) -> None:
        """Ask what an earlier life of the process has counted."""
        if self._ledger.durable:
            self._is_recalling = True
            self._ledger.recall(self._clock.unix(), self._recall)

    def keep(self, key: CapKey, limiter: RateLimiter) -> RateLimiter:
        """A limiter that begins: what was counted under its key before counts, and what it counts is kept."""
        if not self._ledger.durable:
            return limiter
        limiter.name, limiter.changed = key.text, self._changed
        counted = self._recalled.pop(key, None)
        if counted is not None:
            self._restore(limiter, counted)
        elif self._is_recalling:
            self._by_key[key] = limiter
        return limiter

    def save(self, *, everything: bool = False) -> None:
        """Hand over what has changed."""
        changed = self._changed
        if not changed:
            return
        now, unix_now = self._clock.monotonic(), self._clock.unix()
        counted: dict[CapKey, str] = {}
        for name in list(changed)[: None if everything else SAVED_AT_ONCE_MAX]:
            counts = changed.pop(name).counts(now)
            parts = tuple([(round(unix_now - age), amount) for age, amount in part] for part in counts)
            counted[cap_key(name)] = msgspec.json.encode(parts).decode()
        self._ledger.remember(counted, unix_now)

    def _recall(self, recalled: dict[CapKey, str]) -> None:
        self._is_recalling = False
        waiting, self._by_key = self._by_key, {}
        for key, limiter in waiting.items():
            counted = recalled.pop(key, None)
            if counted is not None:
                self._restore(limiter, counted)
        self._recalled = recalled

    def _restore(self, limiter: RateLimiter, counted: str) -> None:
        unix_now = self._clock.unix()
        try:
            requests, tokens = _decode(counted)
        except msgspec.MsgspecError:
            return
        counts: Counts = (
            [(unix_now - at, amount) for at, amount in requests], [(unix_now - at, amount) for at, amount in tokens],
        )  # fmt: skip
        limiter.restore(self._clock.monotonic(), counts)
