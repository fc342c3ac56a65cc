"""An engine's process: what it is started as, and what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

LAST_WORDS_MAX: Final = 400
"""Lines of an ended engine's log that are looked at: vLLM 0.32 prints some 120 more after the one that says why."""


class Listener(Enum):
    """Who would get a connection to an engine's port."""

    NOBODY = "nobody"
    """Nothing listens there."""
    OURS = "ours"
    """A program of this user, or of root for it."""
    STRANGER = "stranger"
    """A program of another user: it must hear neither requests nor keys."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One engine's process as it shall be started."""

    name: str
    """Which replica it is: ``<namespace>/<route>#<ordinal>``; one runs at a time."""
    command: tuple[str, ...]
    """Program and arguments; no shell reads them."""
    port: int
    """The port on 127.0.0.1 that it serves on."""
    made_from: str
    """Hash of all that shapes it but its port: a process of another one is another engine."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables beside those that every engine gets. May hold secrets."""
    stop_seconds: float = 60.0
    """The longest from SIGTERM to SIGKILL: answers may be finished in it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended."""

    unix: float
    """When."""
    code: int | None
    """Its exit code; None: a signal ended it, or it could not even be started."""
    signal: int | None = None
    """The signal that ended it."""
    was_asked: bool = False
    """Whether it had been told to."""
    last_words: tuple[str, ...] = ()
    """The last lines of its log, at most ``LAST_WORDS_MAX``."""


@dataclass(frozen=True, slots=True)
class ProcessFact:
    """What is known of one process."""

    name: str
    """See ``ProcessSpec.name``."""
    port: int
    """See ``ProcessSpec.port``."""
    made_from: str
    """See ``ProcessSpec.made_from``."""
    started_unix: float
    """When it was started."""
    pid: int | None = None
    """Its process group; None: it could not be started."""
    stopping: bool = False
    """Whether it has been told to end."""
    ending: Ending | None = None
    """How it ended; None: it runs."""

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.ending is None
