"""One cgroup of its own per cluster, parent of all pods', in every hierarchy the machine has (v1 or v2).

Having a parent of our own, `down` never touches another kubelet's `kubepods`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def hierarchies(mountinfo: str) -> list[tuple[Path, bool]]:
    """Mount points of the cgroup hierarchies in a mountinfo file, and whether each is version 2."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, mount_point = right.split()[0], left.split()[4]
        if kind in ("cgroup", "cgroup2"):
            found.append((Path(mount_point), kind == "cgroup2"))
    return found


def _mounted() -> list[tuple[Path, bool]]:
    return hierarchies(Path("/proc/self/mountinfo").read_text())


def create(name: str) -> None:
    """Make the parent; kubelet refuses to start without it."""
    for root, is_version_2 in _mounted():
        folder = root / name
        folder.mkdir(exist_ok=True)
        if is_version_2:
            _pass_on_controllers(root)
            _pass_on_controllers(folder)
        for file in ("cpuset.cpus", "cpuset.mems"):
            # Version 1 starts a cpuset empty, and nothing can run in an empty one.
            if not is_version_2 and (folder / file).exists() and not (folder / file).read_text().strip():
                (folder / file).write_text((root / file).read_text())


def _pass_on_controllers(folder: Path) -> None:
    for controller in (folder / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):  # one that cannot be passed on here is not needed either
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def existing(name: str) -> list[Path]:
    """The parent's folders, as far as they are there."""
    return [root / name for root, _ in _mounted() if (root / name).is_dir()]


def remove(name: str) -> None:
    """Remove the parent and all below it. Their processes must have ended."""
    for top in existing(name):
        for folder, _, _ in os.walk(top, topdown=False):
            Path(folder).rmdir()
