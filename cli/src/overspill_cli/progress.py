"""A bar on a terminal for a person who waits for simulations; nothing where standard error is no terminal."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

WIDTH: Final = 30
"""Characters of the bar."""
PERIOD_SECONDS: Final = 0.1
"""Between two drawings: a terminal far away is slow."""


class Progress:
    """So much is done. A context manager, which leaves an empty line behind."""

    def __init__(self, steps: Sequence[str] = ()) -> None:
        self.steps = steps
        """What is to be done, by name, in order."""
        self._done = 0
        self._share = 0.0
        self._began = self._drawn = time.monotonic()
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def goes_on(self, share: float) -> None:
        """So much of the present step is done, 0 to 1; of one that begins again the bar stays where it was."""
        self._share = max(self._share, share)
        now = time.monotonic()
        if self._shown and now - self._drawn >= PERIOD_SECONDS:
            self._drawn = now
            print(f"\r{self.line(now)}\x1b[K", end="", file=sys.stderr, flush=True)

    def has_done(self, step: str) -> None:
        """A step is over, and those before it."""
        self._done = self.steps.index(step) + 1
        self._share = 0.0

    def line(self, now: float) -> str:
        """The bar, what is being done, and how long the rest will take if it goes on so; ``now``: monotonic seconds."""
        share = min((self._done + self._share) / len(self.steps), 1.0) if self.steps else 1.0
        name = self.steps[self._done] if self._done < len(self.steps) else ""
        bar = "#" * int(WIDTH * share)
        left = (now - self._began) * (1.0 - share) / share if share > 0.02 else None
        waits = f"  {left:.0f} s left" if left is not None else ""
        return f"[{bar:<{WIDTH}}] {share:4.0%}  {name}{waits}"
