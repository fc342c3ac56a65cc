"""Which document each stored object holds, so that an object that vanishes takes its route or consumer with it.

Whatever is wrong with one object concerns that one alone: it is logged once, counted, told to whoever publishes
demand, and its last good document goes on serving. Deletions always apply.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from overspill_api.compiled import CompiledConsumer, CompiledRoute
from overspill_api.demand import RefusedDocument
from overspill_gateway.core.backends.unusable import UnusableError
from overspill_gateway.sources.documents import DocumentError
from overspill_gateway.sources.port import Sink

logger = logging.getLogger(__name__)

MESSAGE_LENGTH_MAX = 1024
KEY_LENGTH_MAX = 320
Document = CompiledRoute | CompiledConsumer


@dataclass(frozen=True, slots=True)
class Subject:
    """What an object is about, as far as it is known before its document is read."""

    kind: str
    """``route`` or ``consumer``."""
    key: str
    """``namespace/name`` of what it was compiled from; empty: not known."""
    generation: int = 0
    """0: not known."""


class _Named(msgspec.Struct):
    namespace: str = ""
    name: str = ""
    generation: int = 0


def subject_of(kind: str, text: bytes, key: str = "") -> Subject:
    """What a text is about, also where it is no whole document; ``key``: where it is known from elsewhere."""
    try:
        named = msgspec.json.decode(text, type=_Named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Subject(kind, key)
    return Subject(kind, key or f"{named.namespace}/{named.name}", max(named.generation, 0))


class DocumentsByObject:
    """Objects (Secrets, files) by name, each with one document."""

    def __init__(self, sink: Sink) -> None:
        self.errors_total = 0
        self._sink = sink
        self._held: dict[str, Document] = {}
        """By object, the document that is in force."""
        self._owners: dict[tuple[str, str], str] = {}
        """By route or consumer, the object whose document is in force."""
        self._waiting: dict[str, Document] = {}
        """By object, a document whose route or consumer another object holds."""
        self._refused: dict[str, RefusedDocument] = {}

    def take(self, name: str, subject: Subject, read: Callable[[], Document]) -> bool:
        """An object is new or has changed; whether its document is in force, or waits for another's end."""
        try:
            document = read()
            self._place(name, document)
        except Exception as error:  # noqa: BLE001 - whatever one object does, the others must be read
            self.refuse(name, subject, error)
            return False
        if self._refused.pop(name, None) is not None:
            self._tell()
        return True

    def refuse(self, name: str, subject: Subject, error: Exception) -> None:
        """An object's document can't be had: its last good one stays in force."""
        message = str(error) or type(error).__name__
        expected = isinstance(error, DocumentError | UnusableError)
        if not expected:
            message = f"an error of this gateway: {type(error).__name__}"
        held = self._held.get(name)
        refused = RefusedDocument(
            kind="consumer" if subject.kind == "consumer" else "route",
            key=(subject.key or (_identity(held)[1] if held else name))[:KEY_LENGTH_MAX],
            generation=subject.generation,
            message=message[:MESSAGE_LENGTH_MAX],
        )
        if self._refused.get(name) == refused:
            return
        self.errors_total += 1
        self._refused[name] = refused
        kept = "; the last good one stays in force" if held is not None else ""
        extra = {refused.kind: refused.key, "generation": refused.generation}
        if expected:
            logger.warning("%s can't be used: %s%s", name, message, kept, extra=extra)
        else:
            logger.error("%s can't be used%s", name, kept, extra=extra, exc_info=error)
        self._tell()

    def drop(self, name: str) -> None:
        """An object is gone."""
        self._waiting.pop(name, None)
        if self._refused.pop(name, None) is not None:
            self._tell()
        held = self._held.pop(name, None)
        if held is None:
            return
        kind, key = _identity(held)
        del self._owners[kind, key]
        try:
            if kind == "route":
                self._sink.remove_route(key)
            else:
                self._sink.remove_consumer(key)
            logger.info("%s removed", kind, extra={kind: key})
        except Exception:  # it must not keep others from being removed
            self.errors_total += 1
            logger.exception("%s %s could not be removed cleanly", kind, key)
        for other, document in list(self._waiting.items()):
            if _identity(document) == (kind, key):
                del self._waiting[other]
                self.take(other, Subject(kind, key, document.generation), lambda document=document: document)  # type: ignore[misc]

    def keep_only(self, names: set[str]) -> None:
        """Drop every object that is not among these."""
        for name in [*self._held, *self._waiting, *self._refused]:
            if name not in names:
                self.drop(name)

    def _place(self, name: str, document: Document) -> None:
        kind, key = identity = _identity(document)
        before = self._held.get(name)
        if before == document:
            return
        owner = self._owners.get(identity, name)
        if owner != name:
            self._waiting[name] = document
            logger.warning("%s holds %s %s as well; that of %s stays in force", name, kind, key, owner)
            return
        if isinstance(document, CompiledRoute):
            self._sink.set_route(document)
        else:
            self._sink.set_consumer(document)
        if before is not None and _identity(before) != identity:
            self.drop(name)  # the object held another route or consumer
        self._held[name] = document
        self._owners[identity] = name
        what = "accepted" if before is None or _identity(before) != identity else "changed"
        logger.info("%s %s", kind, what, extra={kind: key, "generation": document.generation})

    def _tell(self) -> None:
        self._sink.set_refused(tuple(self._refused.values()))


def _identity(document: Document) -> tuple[str, str]:
    kind = "route" if isinstance(document, CompiledRoute) else "consumer"
    return kind, f"{document.namespace}/{document.name}"
