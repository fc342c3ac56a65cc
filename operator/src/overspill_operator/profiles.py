"""Hardware profiles from the chart's file; read again when the file changes, the last good ones kept when it is bad."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from overspill_api.profile import Profile

logger = logging.getLogger(__name__)

_PROFILES: TypeAdapter[dict[str, Profile]] = TypeAdapter(dict[str, Profile])
CHECK_EVERY_SECONDS = 5.0


class Profiles:
    """Profiles by name."""

    def __init__(self, path: Path, on_change: Callable[[], None]) -> None:
        """From the file at ``path``; ``on_change`` is called when they are others than before."""
        self._path = path
        self._on_change = on_change
        self._text: str | None = None
        self._profiles: Mapping[str, Profile] = {}

    def current(self) -> Mapping[str, Profile]:
        """The profiles as last read."""
        return self._profiles

    def read(self) -> None:
        """Read the file if it has changed; one that cannot be read is said in the log once, and changes nothing."""
        try:
            text = self._path.read_text()
        except OSError as error:
            if self._text is None:
                self._text = ""
                logger.error("no profiles: %s", error)  # noqa: TRY400 - a person needs no trace
            return
        if text == self._text:
            return
        self._text = text
        try:
            profiles = _PROFILES.validate_python(yaml.safe_load(text) or {})
        except (yaml.YAMLError, ValidationError) as error:
            text = str(error)
            logger.error("profiles not taken over, the last good ones stay: %s", text)  # noqa: TRY400 - as above
            return
        if profiles != self._profiles:
            self._profiles = profiles
            self._on_change()
