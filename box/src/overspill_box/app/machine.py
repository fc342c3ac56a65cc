"""Profiles of a machine's routes: of a file, or any."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml
from pydantic import TypeAdapter, ValidationError

from overspill_api.mistakes import sentences
from overspill_api.profile import Profile

logger = logging.getLogger(__name__)

_PROFILES: Final[TypeAdapter[dict[str, Profile | None]]] = TypeAdapter(dict[str, Profile | None])


class ProfilesError(Exception):
    """A file with profiles can't be used; the message says why."""


class AnyProfile(Mapping[str, Profile]):
    """Whatever a route names: vLLM of this machine, with what the route itself says."""

    def __init__(self) -> None:
        self._profile = Profile()

    def __getitem__(self, name: str) -> Profile:
        return self._profile

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204 - there is no list of all names
        return iter(())

    def __len__(self) -> int:
        return 0


def read_profiles(path: Path | None) -> Mapping[str, Profile]:
    """Profiles by name, from a file with the chart's ``profiles``, with that line above them or without.

    Raises ProfilesError.
    """
    if path is None:
        return AnyProfile()
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ProfilesError(f"--profiles {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ProfilesError(f"--profiles {path}: this is no YAML: {' '.join(str(error).split())}") from error
    if isinstance(content, dict) and set(content) == {"profiles"}:
        content = content["profiles"]
    try:
        profiles = _PROFILES.validate_python(content or {})
    except ValidationError as error:
        raise ProfilesError(f"--profiles {path}: {'; '.join(sentences(error, Profile))}") from error
    return {name: profile for name, profile in profiles.items() if profile is not None}


class Profiles:
    """Profiles as they are now; read again when their file changes, the last good ones kept where it is wrong."""

    def __init__(self, path: Path | None) -> None:
        """Raises ProfilesError."""
        self._path = path
        self._stamp = self._look()
        self._doubted: tuple[int, int, int] | None = None
        self.current = read_profiles(path)
        """By name."""

    def look(self) -> bool:
        """Read the file if it has changed; whether there are other profiles now."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        is_in_place = stamp is None or (self._stamp is not None and stamp[2] == self._stamp[2])
        if is_in_place and self._doubted != stamp:  # it may be half-written: engines would be made from half of it
            self._doubted = stamp
            return False
        self._stamp, self._doubted = stamp, None
        try:
            profiles = read_profiles(self._path)
        except ProfilesError as error:
            logger.warning("profiles are not taken over, what was in force stays: %s", error)
            return False
        changed = profiles != self.current
        self.current = profiles
        return changed

    def _look(self) -> tuple[int, int, int] | None:
        """Change time, length and inode of the file; None: there is none."""
        try:
            found = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found is not None else None
