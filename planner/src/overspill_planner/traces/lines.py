"""The lines of a file that may be compressed, with their numbers. Not here: what they mean."""

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overspill_planner.traces.arrival import TraceError

GZIP_MAGIC: Final = b"\x1f\x8b"
LINE_LENGTH_MAX: Final = 4 << 20
"""Characters: a request of a million tokens has some 2,000 block hashes of ten digits; a binary file has no lines."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file that is no empty one."""

    file: str
    """The file's name as it was given."""
    number: int
    """From 1."""
    text: str
    """Without its end."""

    def error(self, message: str) -> TraceError:
        """What to raise where it can't be used; ``message`` says what is wrong, and what mends it."""
        return TraceError(f"{self.file}:{self.number}: {message}")


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of a text file, of a gzip file's text where it is one. Raises TraceError where it can't be read."""
    number = 0
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            plain = gzip.open(file) if packed else file  # noqa: SIM115 - closed with the file that it reads
            text = io.TextIOWrapper(plain, encoding="utf-8-sig", newline=None)
            while line := text.readline(LINE_LENGTH_MAX):
                number += 1
                if line.strip():
                    yield Line(str(path), number, line.rstrip("\r\n"))
    except UnicodeDecodeError as error:
        raise TraceError(
            f"{path}:{number + 1}: this is no text in UTF-8; give a CSV or JSONL file, or one in gzip"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(
            f"{path}:{number + 1}: the gzip file is cut off or damaged: {error}; fetch it again"
        ) from error
    except OSError as error:
        raise TraceError(f"{path}: it can't be read: {error.strerror}; check its name and who may read it") from error
