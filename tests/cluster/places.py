"""Where the cluster keeps its things. Names and paths only: nothing here touches the disk.

Everything lies under one cache folder outside the checkout, so that a second clone starts at once:

    bin/                  links to the newest binaries: put it on PATH
    binaries/NAME-HASH/   one build of one pinned Go module
    images/               what image builds keep between runs
    clusters/NAME/        one running cluster; `down` removes it but for its logs
    containerd/NAME/      that cluster's image store: survives `down`, so images load once
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_NAME = "overspill"
SOURCES = Path(__file__).resolve().parent
"""This package's own folder."""
CHECKOUT = SOURCES.parent.parent
"""The project that the images are built from."""


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/overspill`, by default `~/.cache/overspill`."""
    chosen = environment.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is invalid and to be ignored.
    root = Path(chosen) if chosen.startswith("/") else Path(environment.get("HOME", "/root")) / ".cache"
    return root / "overspill"


@dataclass(frozen=True)
class Places:
    """The paths of one named cluster."""

    name: str
    """Names a cluster on this machine; several may run side by side."""
    cache: Path
    """The folder that all clusters and clones of one user share."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", self.name):
            raise ValueError(f"cluster name {self.name!r}: use up to 32 lower-case letters, digits and inner hyphens")

    @property
    def state(self) -> Path:
        """All that the running cluster writes; its path also marks the cluster's processes."""
        return self.cache / "clusters" / self.name

    @property
    def lock(self) -> Path:
        """Held while the cluster is started or ended."""
        return self.cache / "clusters" / f"{self.name}.lock"

    @property
    def kubeconfig(self) -> Path:
        """An administrator's access from the host. The path stays the same over restarts."""
        return self.state / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Keys and certificates, new with each start."""
        return self.state / "pki"

    @property
    def plan(self) -> Path:
        """What the supervisor runs."""
        return self.state / "plan.json"

    @property
    def status(self) -> Path:
        """What the supervisor says of the components."""
        return self.state / "status.json"

    @property
    def logs(self) -> Path:
        """One file per component. Kept by `down`, replaced by the next start."""
        return self.state / "log"

    @property
    def runtime_socket(self) -> Path:
        """Where containerd listens."""
        return self.state / "containerd.sock"

    @property
    def image_store(self) -> Path:
        """The root of containerd: images survive `down`."""
        return self.cache / "containerd" / self.name

    @property
    def cgroup(self) -> str:
        """The parent of all the cluster's cgroups. The hash keeps two users' clusters of one name apart."""
        return f"overspill-{self.name}-{hashlib.sha256(str(self.state).encode()).hexdigest()[:8]}"
