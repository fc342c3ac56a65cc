"""Secrets on one machine: documents in YAML files and files in a folder, read as the API server reads them. No I/O."""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class SecretError(ValueError):
    """A Secret that can't be read; says what is wrong and what mends it, and nothing of what it holds."""


@dataclass(frozen=True, slots=True)
class Secret:
    """One Secret."""

    namespace: str
    """Its namespace."""
    name: str
    """Its name."""
    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Contents by key."""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def encoded(self) -> dict[str, str]:
        """Base64 by key, as the API server has it and ``core.credentials.read_api_key`` takes it."""
        return {key: b64encode(content).decode() for key, content in self.data.items()}

    def environment(self) -> dict[str, str]:
        """As variables of an engine. Raises SecretError for what can't be one."""
        variables = {}
        for key, content in self.data.items():
            try:
                text = content.decode()
            except UnicodeDecodeError:
                raise SecretError(f"Secret {self.key}: {key} is not text in UTF-8, which a variable must be") from None
            if "\0" in text:
                raise SecretError(f"Secret {self.key}: {key} has a zero byte in it, which no variable can have")
            variables[key] = text
        return variables


def read_secret(document: Mapping[str, Any], default_namespace: str = "default") -> Secret:
    """A document of kind Secret; ``stringData`` wins over ``data``. Raises SecretError."""
    meta = document.get("metadata")
    name = meta.get("name") if isinstance(meta, Mapping) else None
    if not isinstance(meta, Mapping) or not isinstance(name, str) or not name:
        raise SecretError("a Secret has no metadata.name")
    namespace = meta.get("namespace") or default_namespace
    data: dict[str, bytes] = {}
    for key, value in _texts(document, "data", name).items():
        try:
            data[key] = b64decode("".join(value.split()), validate=True)
        except (Base64Error, ValueError):
            raise SecretError(
                f"Secret {name}: data.{key} is not base64; write plain text into stringData instead"
            ) from None
    data |= {key: value.encode() for key, value in _texts(document, "stringData", name).items()}
    return Secret(str(namespace), name, data)


def _texts(document: Mapping[str, Any], field_name: str, name: str) -> dict[str, str]:
    values = document.get(field_name)
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise SecretError(f"Secret {name}: {field_name} is no mapping from keys to texts")
    for key, value in values.items():
        if not isinstance(value, str):
            raise SecretError(f"Secret {name}: {field_name}.{key} is no text; put quotes around it")
    return {str(key): value for key, value in values.items()}
