"""What files hold: ModelRoutes, Consumers and Secrets, and all that is wrong with them. Reading: ``app.files``."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from overspill_api.yaml_documents import Document, YamlError, read_documents
from overspill_box.core.secrets import Secret, SecretError, read_secret
from overspill_operator.core.written_objects import Mistake, check_document, is_ours

NAMESPACE: Final = "default"
"""Where an object is that does not say."""


@dataclass(frozen=True, slots=True)
class WrittenObject:
    """One ModelRoute or Consumer."""

    kind: str
    """``ModelRoute`` or ``Consumer``."""
    namespace: str
    """Its namespace."""
    name: str
    """Its name."""
    spec: Mapping[str, Any]
    """What is wanted."""

    @property
    def identity(self) -> str:
        """Kind and key: ``ModelRoute default/llama-8b``."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """What one file holds."""

    objects: tuple[WrittenObject, ...] = ()
    """Its ModelRoutes and Consumers."""
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    """Its Secrets by ``namespace/name``."""
    mistakes: tuple[Mistake, ...] = ()
    """What is wrong with it: it is not to be used."""


def read_file(name: str, text: str, model_names: dict[str, str] | None = None) -> WrittenFile:
    """What a file's text holds. ``model_names``: those of routes of files before it, which this one's are added to."""
    objects: list[WrittenObject] = []
    secrets: dict[str, Secret] = {}
    mistakes: list[Mistake] = []
    names: dict[str, str] = {} if model_names is None else model_names
    try:
        for document in read_documents(text):
            if is_ours(document.content):
                document = _placed(document)  # noqa: PLW2901 - from here on it is the one with a namespace
                found = sorted(check_document(name, document, names), key=lambda mistake: mistake.line)
                mistakes += found
                if not found:
                    objects.append(_object(document.content))
            elif _is_secret(document.content):
                try:
                    secret = read_secret(document.content, NAMESPACE)
                    secrets[secret.key] = secret
                except SecretError as error:
                    mistakes.append(Mistake(name, document.line, "Secret", str(error)))
    except YamlError as error:
        mistakes.append(Mistake(name, 1, "file", str(error)))
    return WrittenFile(tuple(objects), secrets, tuple(mistakes))


def duplicates(files: Mapping[str, WrittenFile]) -> list[str]:
    """A sentence for each object that stands in more than one place; the first one counts."""
    where: dict[str, str] = {}
    told = []
    for name, file in files.items():
        for written in file.objects:
            if written.identity in where:
                told.append(
                    f"{name}: {written.identity} is also in {where[written.identity]}, and that one counts: "
                    "take one of them away, or give it another name"
                )
            else:
                where[written.identity] = name
    return told


def merged(files: Mapping[str, WrittenFile]) -> WrittenFile:
    """All files as one; of objects and Secrets of one name the first counts."""
    objects: dict[str, WrittenObject] = {}
    secrets: dict[str, Secret] = {}
    for file in files.values():
        for written in file.objects:
            objects.setdefault(written.identity, written)
        for key, secret in file.secrets.items():
            secrets.setdefault(key, secret)
    return WrittenFile(tuple(objects.values()), secrets)


def loses(before: WrittenFile, after: WrittenFile) -> bool:
    """Whether something that was in a file is not in it any more: it may be half-written."""
    return not {written.identity for written in before.objects} <= {written.identity for written in after.objects}


def _placed(document: Document) -> Document:
    """With the namespace where an object is that does not say; another content than a map is left for the check."""
    meta = document.content.get("metadata")
    if not isinstance(meta, dict) or meta.get("namespace"):
        return document
    return replace(document, content={**document.content, "metadata": {**meta, "namespace": NAMESPACE}})


def _object(content: Mapping[str, Any]) -> WrittenObject:
    meta = content["metadata"]
    return WrittenObject(content["kind"], str(meta["namespace"]), meta["name"], content.get("spec") or {})


def _is_secret(content: object) -> bool:
    return isinstance(content, dict) and content.get("kind") == "Secret" and isinstance(content.get("metadata"), dict)
