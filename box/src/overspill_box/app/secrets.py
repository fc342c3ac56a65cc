"""Secrets that routes name: documents in the given files, else files in a folder: ``<folder>/<name>/<key>``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from overspill_box.core.secrets import Secret, SecretError
from overspill_operator.core.credentials import read_api_key

BYTES_MAX: Final = 1 << 20
"""As the API server's limit of a Secret."""


class Secrets:
    """Where routes' secrets are found."""

    def __init__(self, folder: Path | None) -> None:
        """``folder``: with Secrets as files, as a pod has them mounted; None: there is none."""
        self._folder = folder
        self.written: Mapping[str, Secret] = {}
        """Those of the given files, by ``namespace/name``."""

    def get(self, namespace: str, name: str) -> Secret | None:
        """The Secret of a name; None: there is none."""
        written = self.written.get(f"{namespace}/{name}")
        if written is not None or self._folder is None or name in ("", ".", "..") or "/" in name or "\0" in name:
            return written
        try:
            files = [path for path in (self._folder / name).iterdir() if path.is_file() and path.name[0] != "."]
            return Secret(namespace, name, {path.name: _content(path) for path in files})
        except OSError:
            return None

    def api_key(self, namespace: str, name: str, key: str) -> tuple[str | None, str]:
        """The API key that lies there, or None and what is missing, with the way out."""
        secret = self.get(namespace, name)
        stored = read_api_key(secret.encoded if secret else {}, key)
        if stored.text is not None:
            return stored.text, ""
        if stored.problem:
            return None, f"key {key!r} of Secret {name!r} {stored.problem}"
        return None, f"{self._absent(name)} with a key {key!r}: {self._way_out(f'{name}/{key}')}"

    def environment(self, namespace: str, name: str) -> tuple[Mapping[str, str], str]:
        """The Secret as variables of an engine, or none and what is wrong."""
        secret = self.get(namespace, name)
        if secret is None:
            return {}, f"{self._absent(name)}: {self._way_out(f'{name}/<variable>')}, or remove the field"
        try:
            return secret.environment(), ""
        except SecretError as error:
            return {}, str(error)

    def _absent(self, name: str) -> str:
        return f"there is no Secret {name!r}"

    def _way_out(self, place: str) -> str:
        where = f"{self._folder}/{place}" if self._folder else f"<folder>/{place}, with --secrets <folder>"
        return f"put it into one of the files as a Secret, or into the file {where}"


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(BYTES_MAX)
