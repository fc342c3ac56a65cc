"""Rates that must not be exceeded: requests and tokens in any minute, and requests at a time.

Counting is exact over every span of a minute, not over minutes of the clock: no limit lets twice its rate through
around an edge. Tokens are reserved before they are used, since a burst is let in before the first answer has ended: of
a request that limits its answer, the longest one; of any other what such answers have had lately, and no less than an
eighth of the limit, so that no more than eight of them are on their way unseen. Not here: whose limits these are, and
what a refused client is told.
"""

from collections import deque
from typing import Final

from overspill_gateway.core.requests.ask import Ask

WINDOW_SECONDS: Final = 60.0
MERGE_SECONDS: Final = 0.25
"""What came this close together is counted as one, as late as its last: at most 241 entries a window."""
UNSEEN_REQUESTS_MAX: Final = 8
"""Of those that set no limit to their answers: so many at most are let in before one of them has ended."""
_PEAK_MEMORY: Final = 1 / 16
"""What one shorter answer weighs against the longest one lately."""
NEVER: Final = float("inf")
"""Waiting does not help: what is asked for is more than the whole limit."""


PARTS_KEPT: Final = 12
"""Of a minute, where what was counted is kept over a restart."""
Counts = tuple[list[tuple[float, int]], list[tuple[float, int]]]
"""Requests and tokens of the last minute: how many seconds ago, and how many; the oldest first."""


class Entry:
    """What was counted at about one time."""

    __slots__ = ("amount", "first", "last")

    def __init__(self, now: float, amount: int) -> None:
        self.first = now
        self.last = now
        self.amount = amount


class RateWindow:
    """An amount that no span of 60 seconds may exceed."""

    __slots__ = ("_newest", "entries", "limit", "total")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """May be changed at any time; what was counted stays."""
        self.total = 0
        """Counted in the last minute; above the limit where more was used than had been asked for."""
        self.entries: deque[Entry] = deque()
        """What was counted, oldest first."""
        self._newest: Entry | None = None

    def wait_seconds(self, now: float, amount: int) -> float:
        """How long until this amount fits; 0: it does now. NEVER: it is more than the limit."""
        if self.total + amount <= self.limit:  # what is older than a minute could only make more room
            return 0.0
        self._forget(now)
        surplus = self.total + amount - self.limit
        if surplus <= 0:
            return 0.0
        if amount > self.limit:
            return NEVER
        for entry in self.entries:
            surplus -= entry.amount
            if surplus <= 0:
                return min(max(entry.last + WINDOW_SECONDS - now, 0.001), WINDOW_SECONDS)
        return WINDOW_SECONDS

    def add(self, now: float, amount: int) -> Entry:
        """Count an amount, whether it fits or not; what is returned lets it be corrected."""
        self.total += amount
        newest = self._newest
        if newest is not None and now - newest.first < MERGE_SECONDS:
            newest.last = now
            newest.amount += amount
            return newest
        self._forget(now)
        entry = self._newest = Entry(now, amount)
        self.entries.append(entry)
        return entry

    def correct(self, now: float, entry: Entry, counted: int, actual: int) -> None:
        """It was another amount after all: a rest is given back where it was counted, a surplus counts from now on."""
        if actual > counted:
            self.add(now, actual - counted)
            return
        back = min(counted - actual, entry.amount)  # nothing, once the entry's minute is over
        entry.amount -= back
        self.total -= back

    def counted(self, now: float) -> int:
        """What was counted in the last minute."""
        self._forget(now)
        return self.total

    def counts(self, now: float) -> list[tuple[float, int]]:
        """What was counted in the last minute, in a few parts, each as late as its last."""
        self._forget(now)
        parts: dict[int, tuple[float, int]] = {}
        for entry in self.entries:
            part = int((now - entry.last) * PARTS_KEPT / WINDOW_SECONDS)
            _, amount = parts.get(part, (0.0, 0))
            parts[part] = now - entry.last, amount + entry.amount
        return [part for part in parts.values() if part[1] > 0]

    def restore(self, now: float, counts: list[tuple[float, int]]) -> None:
        """Count what was counted before this window began."""
        for age, amount in reversed(counts):
            first = self.entries[0].first if self.entries else now
            if age < WINDOW_SECONDS and amount > 0:
                self.entries.appendleft(Entry(min(now - age, first), amount))
                self.total += amount

    def _forget(self, now: float) -> None:
        entries = self.entries
        before = now - WINDOW_SECONDS
        while entries and entries[0].last <= before:
            entry = entries.popleft()
            self.total -= entry.amount
            entry.amount = 0


class RateLimiter:
    """Requests and tokens a minute of one consumer, one consumer at one route, or one hosted API; None: no limit."""

    __slots__ = ("_peak_output", "changed", "name", "requests", "tokens")

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self._peak_output = 0.0
        """Tokens of the longest answers lately."""
        self.name = ""
        self.changed: dict[str, RateLimiter] | None = None
        """Where it enters itself by its name once it has counted something; None: nobody wants to know."""
        self.requests: RateWindow | None = None
        self.tokens: RateWindow | None = None
        self.update(requests_per_minute, tokens_per_minute)

    def update(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        """Other limits; what was counted stays."""
        self.requests = _with_limit(self.requests, requests_per_minute)
        self.tokens = _with_limit(self.tokens, tokens_per_minute)

    def reservation(self, ask: Ask) -> int:
        """Tokens to be counted for a request until it is known how many it took."""
        window = self.tokens
        if window is None:
            return 0
        if ask.output_tokens_max is not None:
            return ask.prompt_tokens + ask.output_tokens_max * ask.answers
        if not ask.output_tokens:
            return ask.prompt_tokens
        output = max(ask.output_tokens, int(self._peak_output) + 1, window.limit // UNSEEN_REQUESTS_MAX)
        least = ask.prompt_tokens + min(ask.output_tokens, output)
        return max(min(ask.prompt_tokens + output, window.limit), least)

    def observed(self, output_tokens: int) -> None:
        """An answer had so many tokens."""
        peak = self._peak_output
        self._peak_output = max(float(output_tokens), peak + (output_tokens - peak) * _PEAK_MEMORY)

    def wait_seconds(self, now: float, tokens: int) -> float:
        """How long until one more request of so many tokens fits; 0: now, NEVER: it is too large."""
        wait = self.requests.wait_seconds(now, 1) if self.requests is not None else 0.0
        if self.tokens is not None:
            tokens_wait = self.tokens.wait_seconds(now, tokens)
            if tokens_wait > wait:
                return tokens_wait
        return wait

    def add(self, now: float, tokens: int) -> Entry | None:
        """Count a request; what is returned lets its tokens be corrected."""
        if self.changed is not None:
            self.changed[self.name] = self
        if self.requests is not None:
            self.requests.add(now, 1)
        return self.tokens.add(now, tokens) if self.tokens is not None else None

    def correct(self, now: float, entry: Entry | None, counted: int, actual: int) -> None:
        """The request had other tokens than were counted."""
        if entry is not None and self.tokens is not None:
            if self.changed is not None:
                self.changed[self.name] = self
            self.tokens.correct(now, entry, counted, actual)

    def counts(self, now: float) -> Counts:
        """What was counted in the last minute."""
        requests = self.requests.counts(now) if self.requests is not None else []
        return requests, self.tokens.counts(now) if self.tokens is not None else []

    def restore(self, now: float, counts: Counts) -> None:
        """Count what an earlier life has counted."""
        if self.requests is not None:
            self.requests.restore(now, counts[0])
        if self.tokens is not None:
            self.tokens.restore(now, counts[1])

    def is_idle(self, now: float) -> bool:
        """Whether nothing is counted, so that a new limiter would do as well."""
        return _is_empty(self.requests, now) and _is_empty(self.tokens, now)


class HostedLimiter:
    """What a provider allows: requests and tokens a minute, and requests at a time."""

    __slots__ = ("concurrency", "in_flight", "rates")

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None, concurrency: int | None) -> None:
        self.rates = RateLimiter(requests_per_minute, tokens_per_minute)
        self.concurrency = concurrency
        self.in_flight = 0
        """Requests that were begun and have not ended."""

    def update(self, requests_per_minute: int | None, tokens_per_minute: int | None, concurrency: int | None) -> None:
        """Other limits; what was counted stays."""
        self.rates.update(requests_per_minute, tokens_per_minute)
        self.concurrency = concurrency

    def reservation(self, ask: Ask) -> int:
        """Tokens to be counted for a request; one that may take more than the limit has it for itself."""
        tokens = self.rates.reservation(ask)
        window = self.rates.tokens
        return tokens if window is None or ask.prompt_tokens > window.limit else min(tokens, window.limit)

    def may_take(self, now: float, tokens: int) -> bool:
        """Whether one more request of so many tokens fits now."""
        if self.concurrency is not None and self.in_flight >= self.concurrency:
            return False
        return self.rates.wait_seconds(now, tokens) == 0.0

    def wait_seconds(self, now: float, tokens: int) -> float:
        """How long until the rates let one more request through; not until a place is free, which nobody knows."""
        return self.rates.wait_seconds(now, tokens)

    def began(self, now: float, tokens: int) -> Entry | None:
        """A request is sent."""
        self.in_flight += 1
        return self.rates.add(now, tokens)

    def ended(self, now: float, entry: Entry | None, counted: int, actual: int) -> None:
        """It is over; ``actual``: its tokens as far as they are known, else as counted."""
        self.in_flight -= 1
        self.rates.correct(now, entry, counted, actual)


def _is_empty(window: RateWindow | None, now: float) -> bool:
    return window is None or window.counted(now) == 0


def _with_limit(window: RateWindow | None, limit: int | None) -> RateWindow | None:
    if limit is None:
        return None
    if window is None:
        return RateWindow(limit)
    window.limit = limit
    return window
