"""How a collection of an API server is followed: listed once, then watched, and listed anew when the server forgets.

The rule that operator and gateway share, without the calls and the clock, which each has of its own. Source:
Kubernetes' API concepts, "Efficient detection of changes".
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from overspill_api.pauses import pause_seconds

FORGOTTEN: Final = 410
"""Status of a watch from a version that the server no longer knows."""


class Change(Enum):
    """What an event of a watch means."""

    PUT = auto()
    """An object is new or has changed."""
    GONE = auto()
    """An object is there no longer."""
    NOTHING = auto()
    """Only time has passed: a bookmark."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long to wait after failures in a row."""

    first_seconds: float
    """After the first one; twice that after each further one."""
    most_seconds: float
    """Never longer."""
    healthy_seconds: float
    """A watch that lasted for so long was in order, whether or not it brought anything."""


class ListWatch:
    """Where the following of one collection stands."""

    def __init__(self, pauses: Pauses) -> None:
        self.version = ""
        """From where to watch on; empty: a list is due."""
        self.failures = 0
        """Calls in a row that failed, or ended at once."""
        self._pauses = pauses
        self._began_at = 0.0
        self._brought_news = False

    def begin(self, now: float) -> None:
        """A call begins: a list where ``version`` is empty, else a watch from there."""
        self._began_at = now
        self._brought_news = False

    def listed(self, version: str) -> None:
        """A list has been read whole, as of this version."""
        self.version = version

    def happened(self, kind: str, version: str) -> Change:
        """An event of the watch. ``kind``: ADDED, MODIFIED, DELETED or BOOKMARK."""
        moves_on = version not in ("", self.version)
        self.version = version or self.version
        if kind == "BOOKMARK":
            return Change.NOTHING
        self._brought_news |= moves_on
        return Change.GONE if kind == "DELETED" else Change.PUT

    def ended(self, now: float, draw: float) -> float:
        """The server has ended the watch in order; seconds to wait before the next one, which goes on from there.

        None after one that was in order: servers end every watch after some minutes. One that ends at once would else
        be asked without a pause: the shortest one where it has told something that was new, else ever longer ones.
        ``draw``: 0 to 1, random.
        """
        lasted = now - self._began_at >= self._pauses.healthy_seconds
        if lasted or self._brought_news:
            self.failures = 0
        return 0.0 if lasted else self._fail(draw)

    def failed(self, now: float, draw: float, *, status: int = 0, lists_anew: bool = False) -> float:
        """A list or a watch has failed; seconds to wait before the next call, never in step with others.

        ``status``: the server's, 0 where there was none. Where it has forgotten the version, a list is due, which is
        dear for it; ``lists_anew``: one is due in any case. Before a list news do not shorten the pause: a server that
        tells something and then forgets, again and again, would else be listed without end.
        """
        is_list_due = status == FORGOTTEN or lists_anew
        lasted = now - self._began_at >= self._pauses.healthy_seconds
        if self.version and (lasted or (self._brought_news and not is_list_due)):
            self.failures = 0
        if is_list_due:
            self.version = ""
        return self._fail(draw)

    def _fail(self, draw: float) -> float:
        self.failures += 1
        pauses = self._pauses
        return pause_seconds(self.failures, first=pauses.first_seconds, most=pauses.most_seconds, draw=draw)
