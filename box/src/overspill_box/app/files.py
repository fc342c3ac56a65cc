"""Files with ModelRoutes, Consumers and Secrets: read at the start, and again when they change.

At the start everything must be right, as ``overspill check`` has it. Later a file that is half-written or wrong leaves
its last good content in force. One that is written in place, holds less than before, or is gone, is believed once it is
the same at two looks: a copy that is under way, and editors that empty and rename files for a moment when they save
them, would leave a route without its budget.
"""

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overspill_api.names import API_VERSION
from overspill_api.yaml_documents import BYTES_MAX
from overspill_box.core.written_files import WrittenFile, duplicates, loses, merged, read_file

logger = logging.getLogger(__name__)

ENDINGS: Final = {".yaml", ".yml", ".json"}
"""Of the files of a folder that are read."""

Stamp = tuple[int, int, int]
"""Change time, length and inode of a file: another of any of them means another content."""


class FilesError(Exception):
    """The files can't be served; the message says what is wrong, a line for each mistake."""


@dataclass(slots=True)
class _Known:
    """One file as it is in force."""

    stamp: Stamp
    content: WrittenFile
    doubted: Stamp | None = None
    """The stamp with which it may have been half-written, or was gone, at the last look; None: it is as it was."""
    told: str = ""
    """What the log said last of why it is not taken over."""


_GONE: Final[Stamp] = (0, 0, 0)


class Files:
    """All files that are served."""

    def __init__(self, given: Iterable[Path], also: Iterable[Path] = ()) -> None:
        """``given``: files, and folders of files; ``also``: folders that need not be there or hold anything."""
        self._given = tuple(given)
        self._also = tuple(also)
        self._known: dict[Path, _Known] = {}
        self._told_duplicates: set[str] = set()

    @property
    def content(self) -> WrittenFile:
        """What all of them hold."""
        return merged({str(path): known.content for path, known in self._known.items()})

    def read(self) -> None:
        """Read all of them. Raises FilesError where one is not there, or anything is wrong, or there is no route."""
        names: dict[str, str] = {}
        wrong = [
            f"{path}: there is no such file; name a file with a ModelRoute, or a folder of such files"
            for path in self._given
            if not path.exists()
        ]
        for path in self._paths():
            try:
                stamp, text = _read(path)
            except OSError as error:
                wrong.append(f"{path}: {error.strerror or error}")
                continue
            except ValueError as error:
                wrong.append(f"{path}: {error}")
                continue
            content = read_file(str(path), text, names)
            wrong += [str(mistake) for mistake in content.mistakes]
            self._known[path] = _Known(stamp, content)
        wrong += duplicates({str(path): known.content for path, known in self._known.items()})
        if not wrong and not any(written.kind == "ModelRoute" for written in self.content.objects):
            wrong.append(f"no ModelRoute ({API_VERSION}) in {', '.join(map(str, self._given))}")
        if wrong:
            raise FilesError("\n".join(wrong))

    def look(self) -> bool:
        """Read what has changed since; whether anything other is in force now. Nothing that is wrong is raised."""
        changed = False
        paths = list(self._paths())
        for path in paths:
            changed |= self._look_at(path)
        for path in self._known.keys() - set(paths):
            known = self._known[path]
            if known.doubted == _GONE:
                del self._known[path]
                logger.info("file is gone", extra={"file": str(path)})
                changed = True
            known.doubted = _GONE
        if changed:
            self._tell_duplicates()
        return changed

    def _look_at(self, path: Path) -> bool:
        known = self._known.get(path)
        try:
            stamp = _stamp(path)
            if known is not None and known.stamp == stamp and known.doubted is None:
                return False
            if known is not None and _may_be_half_written(stamp, known.stamp) and known.doubted != stamp:
                known.doubted = stamp
                return False
            stamp, text = _read(path)
        except (OSError, ValueError) as error:
            self._refuse(path, (getattr(error, "strerror", None) or str(error)))
            return False
        content = read_file(str(path), text)
        if content.mistakes:
            self._refuse(path, "; ".join(str(mistake) for mistake in content.mistakes), stamp)
            return False
        if known is not None and known.doubted != stamp and loses(known.content, content):
            known.doubted = stamp
            return False
        self._known[path] = _Known(stamp, content)
        is_news = known is None or known.content != content
        if is_news:
            logger.info("file is read", extra={"file": str(path), "objects": len(content.objects)})
        return is_news

    def _refuse(self, path: Path, why: str, stamp: Stamp | None = None) -> None:
        """Leave what was in force; the log says why, once."""
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = _Known(_GONE, WrittenFile())
        if stamp is not None:
            known.stamp, known.doubted = stamp, None  # not to be read again before it changes
        if known.told != why:
            known.told = why
            logger.warning("file is not taken over, what was in force stays: %s", why, extra={"file": str(path)})

    def _tell_duplicates(self) -> None:
        told = set(duplicates({str(path): known.content for path, known in self._known.items()}))
        for sentence in sorted(told - self._told_duplicates):
            logger.warning("%s", sentence)
        self._told_duplicates = told

    def _paths(self) -> Iterator[Path]:
        """All files there are now, in their order, each once."""
        seen: set[Path] = set()
        for path in (*self._given, *self._also):
            for file in _files_in(path) if path.is_dir() else ([path] if path.is_file() else []):
                if file not in seen:
                    seen.add(file)
                    yield file


def _may_be_half_written(now: Stamp, before: Stamp) -> bool:
    """Whether a file has been written in place; one that another one has replaced is whole."""
    return now != before and now[2] == before[2]


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in ENDINGS and not path.name.startswith("."))
    except OSError:
        return []


def _stamp(path: Path) -> Stamp:
    return _stamp_of(path.stat())


def _stamp_of(found: os.stat_result) -> Stamp:
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no plain file: a pipe or a device can't be looked at again")
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> tuple[Stamp, str]:
    """A file's stamp from before it was read, and its text. Raises OSError, and ValueError for what is no text."""
    # Not to wait: a pipe may have come in its place.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        stamp = _stamp_of(os.fstat(file.fileno()))
        content = file.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise ValueError(f"it is over {BYTES_MAX >> 20} MiB: that is no file of objects")
    try:
        return stamp, content.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8: save it as that") from None
