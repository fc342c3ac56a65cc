"""What serving on one machine asks of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from overspill_box.core.process import ProcessFact, ProcessSpec


class Processes(Protocol):
    """Engines' processes. Whoever asked for it is told of each change by the callback that was given when made."""

    @property
    def facts(self) -> Mapping[str, ProcessFact]:
        """By name: what runs, and how what ran last under a name has ended."""

    async def adopt(self) -> None:
        """Take over engines that an earlier ``serve`` has left running, and end those that nobody can take over."""

    async def start(self, spec: ProcessSpec) -> None:
        """Start it, unless one of its name runs; where that fails, its fact has an ending that says why."""

    async def stop(self, name: str) -> None:
        """Tell it to end, by force after its ``stop_seconds``; returns at once. That there is none is no error."""

    def log_of(self, name: str) -> Path:
        """The file with what it has printed, of the process before as well."""

    async def close(self, *, keep: bool) -> None:
        """This ``serve`` ends: engines stay for the next one (which has a while to come), or are ended now."""
