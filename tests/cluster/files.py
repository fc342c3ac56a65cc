"""Writing files so that neither a second process nor a power cut leaves half of one. No cluster knowledge."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file by its new content in one step; readers see the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def link_whole(link: Path, target: Path) -> None:
    """Point a symbolic link at a target in one step, also when it exists."""
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(target)
    temporary.replace(link)


BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def surviving_power_cuts(folder: Path) -> Iterator[None]:
    """Change a folder of many large files that is kept over restarts of the machine.

    Its programs do not wait until what they write is on the disk. So the folder is marked while it is changed, and
    the mark is taken away when all of it is on the disk; `discard_if_cut_off` looks for a mark of an earlier boot.
    """
    mark = _mark(folder)
    write_whole(mark, BOOT_ID.read_text())
    os.sync()
    try:
        yield
    finally:
        os.sync()
        mark.unlink(missing_ok=True)


def discard_if_cut_off(folder: Path) -> None:
    """Remove a folder that the machine stopped in the middle of changing."""
    mark = _mark(folder)
    if mark.exists() and mark.read_text() != BOOT_ID.read_text():
        print(f"{folder} was being changed when the machine stopped: making it anew", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        mark.unlink()


def _mark(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.changing")


@contextlib.contextmanager
def exclusive(path: Path, waiting: str = "") -> Iterator[None]:
    """Hold a lock file; a second process waits, and says why if `waiting` is given.

    The kernel lets go of the lock when its holder ends, however that ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Python opens files close-on-exec, so no daemon started under the lock inherits it.
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                print(waiting, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
