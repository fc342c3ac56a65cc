"""The folder where ``serve`` keeps what outlives it: the pepper, budgets, engines' keys and logs, local Consumers.

One process at a time has it: a lock says so. Nobody else may read it.
"""

import fcntl
import json
import os
import secrets
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
    home = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".local/state")
    return Path(home) / "overspill"


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
                text = "".join(secrets.choice(ALPHANUMERIC) for _ in range(length))
                write_whole(path, text + "\n")
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(f"{path} can't be read or made: {error}; it must belong to the user of serve") from error
        return text


def write_whole(path: Path, text: str) -> None:
    """Write a file that only this user may read, whole or not at all. Raises OSError."""
    other = path.with_name(f".{path.name}.new")
    descriptor = os.open(other, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    other.replace(path)
