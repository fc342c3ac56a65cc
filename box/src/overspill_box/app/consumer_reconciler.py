"""The reconcile of one Consumer: its compiled document to the gateway; what keeps it from routes goes to the log."""

import logging
from typing import Final

from overspill_box.app.source import BoxSource
from overspill_operator.app.objects import Consumers, Routes
from overspill_operator.core.compile import compile_consumer
from overspill_operator.core.consent import refused_references

logger = logging.getLogger(__name__)

CONSUMER: Final = "Consumer"
"""Kind of the keys in the queue."""


class ConsumerReconciler:
    """Reconciles Consumers."""

    def __init__(self, consumers: Consumers, routes: Routes, source: BoxSource) -> None:
        self._consumers = consumers
        self._routes = routes
        self._source = source
        self._told: dict[str, str] = {}

    def reconcile(self, key: str) -> None:
        """Make the compiled document as the Consumer says; a bad one keeps the last good one."""
        consumer = self._consumers.get(key)
        namespace, _, name = key.partition("/")
        if consumer is None:
            self._source.remove_consumer(namespace, name)
            self._told.pop(key, None)
            return
        if consumer.spec is None:
            self._tell(key, " ".join(f"{sentence}." for sentence in consumer.spec_errors))
            return
        document = compile_consumer(consumer.meta, consumer.spec)
        self._source.write_consumer(namespace, name, document.model_dump_json(exclude_none=True).encode())
        refused = refused_references(consumer, consumer.spec, self._routes.of)
        names = ", ".join(f"{reference.namespace or namespace}/{reference.name}" for reference in refused)
        self._tell(key, f"spec.allowedConsumers of these routes does not name it: {names}." if refused else "")

    def _tell(self, key: str, what: str) -> None:
        """Say what is wrong with a Consumer: once."""
        if what and self._told.get(key) != what:
            logger.warning("consumer: %s", what, extra={"consumer": key})
        self._told[key] = what
