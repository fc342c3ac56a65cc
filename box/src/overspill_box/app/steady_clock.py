"""A clock whose seconds since 1970 never jump: for how long engines have waited, loaded, served and been idle.

A machine's clock is set: at boot where it has no battery, by a person, in a virtual machine that was asleep. Ages by it
would keep an engine that failed from being started for as long as the clock was set back, or end one that loads.
"""

from collections.abc import Callable

from overspill_operator.clock import Clock, Timer


class SteadyClock:
    """The time at which it was made, by ``clock``, and how long ago that is. See ``overspill_operator.clock.Clock``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made_unix, self._made = clock.unix(), clock.monotonic()

    def unix(self) -> float:
        """Seconds since 1970 as if nobody had set the clock since."""
        return self._made_unix + (self._clock.monotonic() - self._made)

    def monotonic(self) -> float:
        """See ``Clock``."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See ``Clock``."""
        await self._clock.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """See ``Clock``."""
        return self._clock.call_later(seconds, callback)

    def shown(self, unix: float) -> float:
        """A time of this clock as the system's clock has it now, for those who go by that; to the second where set."""
        behind = self._clock.unix() - self.unix()
        return unix + round(behind) if abs(behind) >= 1.0 else unix
