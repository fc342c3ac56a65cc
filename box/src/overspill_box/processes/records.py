"""What the next ``serve`` finds of this one's engines: one JSON file for each, without secrets.

A file may be half written, or by somebody else: what is not a whole record is none.
"""

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

RECORD_BYTES_MAX = 65536
Pid = Annotated[int, Field(gt=1, le=2**31 - 1)]


class Record(BaseModel):
    """One engine that runs, and its guard."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Annotated[int, Field(ge=1, le=1)] = 1
    """Of this format."""
    name: str
    """See ``ProcessSpec.name``."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """See ``ProcessSpec.port``."""
    made_from: str
    """See ``ProcessSpec.made_from``."""
    stop_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """See ``ProcessSpec.stop_seconds``."""
    started_unix: Annotated[float, Field(allow_inf_nan=False)]
    """When it was started."""
    boot: str
    """Which boot of the machine the ticks count from; empty where the system does not say."""
    guard_pid: Pid
    """The guard's."""
    guard_ticks: int | None
    """When the guard was started, in clock ticks since boot: with the pid this is one process only. None: unknown."""
    engine_pid: Pid
    """The engine's, which is its process group's and its session's as well."""
    engine_ticks: int | None
    """When the engine was started."""
    token: Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{16}$")]
    """In the environment of the engine and all that descend from it; the guard's socket is named by it."""


def file_name(name: str) -> str:
    """Of a process's files: readable, safe in a folder, another one for each name."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:80] or "engine"
    return f"{readable}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"


def write_record(folder: Path, record: Record) -> None:
    """The record is there whole, or the one before is. Raises ``OSError``."""
    path = folder / f"{file_name(record.name)}.json"
    part = path.with_suffix(".part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        stream.write(record.model_dump_json())
    part.replace(path)


def forget_record(folder: Path, name: str) -> None:
    """There shall be none of it."""
    with contextlib.suppress(OSError):
        (folder / f"{file_name(name)}.json").unlink()


def read_records(folder: Path) -> list[Record]:
    """All whole ones; files that are none are removed."""
    found = []
    for path in sorted(folder.glob("*.json")):
        record = _read(path)
        if record is not None and path.stem == file_name(record.name):
            found.append(record)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return found


def _read(path: Path) -> Record | None:
    try:
        # Not to follow or to wait: a link or a pipe is no record.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as stream:
            return Record.model_validate_json(stream.read(RECORD_BYTES_MAX))
    except (OSError, ValidationError):
        return None
