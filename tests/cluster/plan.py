"""What the supervisor is to run, as data: components, what each waits for, and what is set up first.

The starter writes a plan, the supervisor makes the world match it. Pure: no process is touched here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

MARK = "LOCAL_CLUSTER"
"""Environment variable that all processes of a cluster carry; its value is the state folder."""


@dataclass(frozen=True)
class Wait:
    """A condition that must hold before a component is started for the first time."""

    kind: str
    """`tcp` (target ADDRESS:PORT), `unix` (a socket's path) or `https` (a URL that answers 200)."""
    target: str
    ca: str = ""
    """For `https`: the file of the authority that signed the server's certificate."""


@dataclass(frozen=True)
class Component:
    """One long-running process."""

    name: str
    arguments: list[str]
    """Command and arguments. A change of them restarts the component."""
    after: list[Wait] = field(default_factory=list)
    """All of these must hold first."""
    descriptors: list[int] = field(default_factory=list)
    """Inherited open files that the component takes over."""
    environment: dict[str, str] = field(default_factory=dict)
    """Added to the supervisor's."""


@dataclass(frozen=True)
class Plan:
    """Everything that one supervisor does."""

    state: str
    """The state folder, which marks the processes."""
    logs: str
    """Folder with one file per component."""
    status: str
    """File that the supervisor writes on each change."""
    components: list[Component]
    setup: list[list[str]] = field(default_factory=list)
    """Commands that run once, in order, before anything is started."""
    remove_at_end: str = ""
    """A folder to delete when the supervisor ends: for clusters of one test."""

    def to_json(self) -> str:
        """As the supervisor reads it."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> Plan:
        """The inverse of `to_json`."""
        raw = json.loads(text)
        components = [
            Component(**{**item, "after": [Wait(**wait) for wait in item["after"]]}) for item in raw.pop("components")
        ]
        return Plan(**raw, components=components)


def restart_delay_seconds(quick_failures: int) -> float:
    """Wait before a component is started again: 0.1 s at first, doubled for each quick failure, 5 s at most."""
    return float(min(0.1 * 2 ** min(quick_failures, 10), 5.0))
