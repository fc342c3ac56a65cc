"""The folder where ``serve`` keeps what outlives it: the pepper, budgets, engines' keys and logs, local Consumers.

One process at a time has it: a lock says so. Nobody else may read it.
"""

import contextlib
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from overspill_api.keys import ALPHANUMERIC

RUNNING: Final = "serve"
"""Name under which the running process says where it is."""
PEPPER_LENGTH: Final = 48
ENGINE_KEY_LENGTH: Final = 48


class StateError(Exception):
    """The folder can't be used; the message says why and what mends it."""


def default_folder(environment: Mapping[str, str]) -> Path:
    """Where the state is when nobody says: systemd's folder of a service, else the user's."""
    given = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    if home := environment.get("XDG_STATE_HOME"):
        return Path(home) / "overspill"
    try:
        return Path(environment.get("HOME") or "~").expanduser() / ".local/state/overspill"
    except RuntimeError:  # a user whom the system does not know, as in containers
        return Path(f"/tmp/overspill-{os.geteuid()}")  # noqa: S108 - `make` looks whose it is


class StateDirectory:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._lock: int | None = None

    @property
    def consumers(self) -> Path:
        """Consumers that ``overspill keys --local`` has made."""
        return self.folder / "consumers"

    @property
    def keys(self) -> Path:
        """Keys that engines ask for."""
        return self.folder / "keys"

    @property
    def ledger(self) -> Path:
        """What was charged."""
        return self.folder / "ledger.sqlite"

    def make(self) -> None:
        """Make it where it is not there. Raises StateError."""
        try:
            for folder in (self.folder, self.consumers, self.keys):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _need_own(folder)
            # SQLite gives its own files the mode of this one.
            os.close(os.open(self.ledger, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StateError(
                f"the state directory {self.folder} can't be made: {error.strerror}; name another one with --state"
            ) from error

    def lock(self) -> None:
        """Take it for this process, until it ends. Raises StateError where another one has it."""
        path = self.folder / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(
                f"the state directory {self.folder} can't be written to: {error.strerror}; name another one with "
                "--state"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StateError(
                f"another overspill serve (pid {holder or 'unknown'}) uses the state directory {self.folder}: end it, "
                "or name another directory with --state"
            ) from None
        with contextlib.suppress(OSError):  # the disk is full: the lock holds, who has it is for people
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        self._lock = descriptor

    def unlock(self) -> None:
        """Let go of it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def pepper(self) -> bytes:
        """Key of the API keys' hashes: made once, and never changed."""
        return self._secret(self.folder / "pepper", PEPPER_LENGTH).encode()

    def engine_key(self, route: str) -> str:
        """The key that a route's engine asks for; ``route``: ``namespace/name``."""
        return self._secret(self.keys / f"{route.replace('/', '.')}.key", ENGINE_KEY_LENGTH)

    def read_json(self, name: str) -> dict[str, Any]:
        """What was kept under a name; what can't be read is nothing."""
        try:
            content = json.loads((self.folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Keep it, whole or not at all. Raises OSError."""
        write_whole(self.folder / f"{name}.json", json.dumps(content, indent=1, sort_keys=True) + "\n")

    def remove_json(self, name: str) -> None:
        """Keep nothing under a name any more."""
        (self.folder / f"{name}.json").unlink(missing_ok=True)

    def _secret(self, path: Path, length: int) -> str:
        """A text that is made where there is none. Raises StateError."""
        try:
            text = path.read_text().strip() if path.exists() else ""
            if not text:
                made = "".join(secrets.choice(ALPHANUMERIC) for _ in range(length))
                text = _first_to_write(path, made + "\n").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(
                f"{path} can't be read or made: {error}; it must belong to the user of serve, on a disk with room"
            ) from error
        return text


def write_whole(path: Path, text: str) -> None:
    """Write a file that only this user may read, whole or not at all. Raises OSError."""
    other = written_beside(path, text)
    other.replace(path)


def _first_to_write(path: Path, text: str) -> str:
    """Write a file unless another process has meanwhile (an empty one is none); what is in it. Raises OSError."""
    other = written_beside(path, text)
    if path.exists() and not path.read_text().strip():
        other.replace(path)
        return text
    try:
        os.link(other, path)
    except FileExistsError:
        return path.read_text()
    finally:
        other.unlink()
    return text


def written_beside(path: Path, text: str) -> Path:
    """A file of this process's own beside the one that it is to become. Raises OSError."""
    other = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(other, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        other.unlink(missing_ok=True)
        raise
    return other


def _need_own(folder: Path) -> None:
    """Raise StateError where any user, or another one, may put files into a folder."""
    found, user = folder.stat(), os.geteuid()
    # Who has made a link may let it lead elsewhere later.
    is_anothers_link = folder.is_symlink() and folder.lstat().st_uid not in (user, 0)
    if is_anothers_link or user not in (found.st_uid, 0):
        raise StateError(
            f"the state directory {folder} belongs to another user, who could read keys and change budgets there: "
            "name one of your own with --state"
        )
    if found.st_mode & stat.S_IWOTH:
        raise StateError(
            f"every user may write into the state directory {folder}, and so make keys and change budgets: "
            f"chmod o-w {folder}, or name another one with --state"
        )
