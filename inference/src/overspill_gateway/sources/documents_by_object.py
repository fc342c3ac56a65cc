"""Which document each stored object holds, so that an object that vanishes takes its route or consumer with it.

A malformed document is logged and counted, and the last good one of that object stays.
"""

import logging
from collections.abc import Callable

from overspill_api.compiled import CompiledConsumer, CompiledRoute
from overspill_gateway.sources.documents import DocumentError
from overspill_gateway.sources.port import Sink

logger = logging.getLogger(__name__)


class DocumentsByObject:
    """Objects (Secrets, files) by name, each with one document."""

    def __init__(self, sink: Sink) -> None:
        self.errors_total = 0
        self._sink = sink
        self._held: dict[str, tuple[str, str]] = {}

    def take(self, name: str, read: Callable[[], CompiledRoute | CompiledConsumer]) -> None:
        """An object is new or has changed."""
        try:
            document = read()
        except DocumentError as error:
            self.errors_total += 1
            kept = "; the last good one stays" if name in self._held else ""
            logger.warning("%s can't be used: %s%s", name, error, kept)
            return
        kind, key = "consumer", f"{document.namespace}/{document.name}"
        if isinstance(document, CompiledRoute):
            kind = "route"
            self._sink.set_route(document)
        else:
            self._sink.set_consumer(document)
        if self._held.get(name, (kind, key)) != (kind, key):
            self.drop(name)
        self._held[name] = (kind, key)

    def drop(self, name: str) -> None:
        """An object is gone."""
        held = self._held.pop(name, None)
        if held is None or held in self._held.values():
            return
        kind, key = held
        if kind == "route":
            self._sink.remove_route(key)
        else:
            self._sink.remove_consumer(key)

    def keep_only(self, names: set[str]) -> None:
        """Drop every object that is not among these."""
        for name in [name for name in self._held if name not in names]:
            self.drop(name)
