"""The reconcile of one Consumer: its compiled document, and Ready."""

import logging

from overspill_api.consumer import RouteReference
from overspill_api.names import compiled_consumer_secret_name
from overspill_api.status import ConditionType
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.app.compiled_documents import CompiledDocuments
from overspill_operator.app.objects import Consumers, Routes
from overspill_operator.app.tenancy import LOOK_AGAIN_SECONDS, Tenancy
from overspill_operator.app.work_queue import WorkQueue
from overspill_operator.clock import Clock
from overspill_operator.core import consent
from overspill_operator.core.compile import compile_consumer
from overspill_operator.core.conditions import Statement, condition_list, false, true
from overspill_operator.core.consent import refused_references
from overspill_operator.core.gateway_refusals import REASON as REFUSED
from overspill_operator.core.gateway_refusals import Refusal, refusal_of
from overspill_operator.core.manifests import compiled_secret
from overspill_operator.core.objects import ConsumerObject
from overspill_operator.core.status_changes import same, transitions
from overspill_operator.core.status_limits import CONSUMER_STATUS, fitted
from overspill_operator.ports import ClusterError, Events, Statuses

logger = logging.getLogger(__name__)

CONSUMER = "Consumer"
"""Kind of the keys in the queue."""


class ConsumerReconciler:
    """Reconciles Consumers."""

    def __init__(
        self,
        *,
        consumers: Consumers,
        routes: Routes,
        documents: CompiledDocuments,
        gateways: GatewayStreams,
        tenancy: Tenancy,
        queue: WorkQueue,
        statuses: Statuses,
        events: Events,
        clock: Clock,
    ) -> None:
        """``gateways``: what they refuse is told; ``queue``: what is to be reconciled again."""
        self._consumers = consumers
        self._routes = routes
        self._documents = documents
        self._gateways = gateways
        self._tenancy = tenancy
        self._queue = queue
        self._statuses = statuses
        self._events = events
        self._clock = clock

    async def reconcile(self, key: str) -> None:
        """Make the compiled document as the Consumer says; a bad one keeps the last good document."""
        consumer = self._consumers.get(key)
        namespace, _, name = key.partition("/")
        secret_name = compiled_consumer_secret_name(namespace, name)
        if consumer is None and namespace in self._consumers.unread:
            return  # nobody knows whether it is gone; the sweep asks again
        if consumer is None:
            await self._documents.remove(secret_name)
            self._queue.forget((CONSUMER, key))
            return
        if await self._tenancy.other_holder(namespace):
            await self._documents.remove(secret_name)
            self._queue.add_after((CONSUMER, key), LOOK_AGAIN_SECONDS)
            return
        if consumer.spec:
            document = compile_consumer(consumer.meta, consumer.spec)
            content = document.model_dump_json(exclude_none=True).encode()
            secret = compiled_secret(self._documents.release_namespace, secret_name, "consumer", consumer.meta, content)
            try:
                await self._documents.ensure(secret)
            except ClusterError as error:
                if not error.is_answer:
                    raise
                pause = self._documents.seconds_until_retry(secret_name)
                self._queue.add_after((CONSUMER, key), pause)
                message = (
                    f"The API server refuses the compiled document, so the gateways do not have it: {error.message}."
                )
                await self._say(consumer, false(ConditionType.READY, "DocumentRefused", message))
                return
        refused = refused_references(consumer, consumer.spec, self._routes.of) if consumer.spec else []
        refusal = refusal_of("consumer", key, self._gateways.views.values(), self._clock.unix())
        await self._say(consumer, _ready(consumer, refusal, refused), consent.statement(consumer, refused))

    async def _say(self, consumer: ConsumerObject, *statements: Statement | None) -> None:
        meta, before = consumer.meta, consumer.status
        said = [statement for statement in statements if statement]
        conditions = condition_list(said, before.get("conditions") or (), meta.generation, self._clock.unix())
        document = {"observedGeneration": meta.generation, "conditions": conditions}
        document = fitted(document, CONSUMER_STATUS)
        if same(before, document):
            return
        written = await self._statuses.report(CONSUMER, meta, document)
        if written is None:
            return
        for condition, is_warning in transitions(before, written):
            context = {"consumer": consumer.key, "reason": condition["reason"]}
            logger.log(logging.WARNING if is_warning else logging.INFO, "%s", condition["message"], extra=context)
            self._events.record(
                CONSUMER,
                meta,
                warning=is_warning,
                reason=condition["reason"],
                note=condition["message"],
                action="Reconcile",
            )


def _ready(consumer: ConsumerObject, refusal: Refusal | None, refused: list[RouteReference]) -> Statement:
    kind, spec = ConditionType.READY, consumer.spec
    if spec is None:
        kept = " Until then the last good configuration stays in force."
        return false(kind, "InvalidSpec", " ".join(f"{sentence}." for sentence in consumer.spec_errors) + kept)
    if refusal is not None:
        return false(kind, REFUSED, refusal.told("Consumer"))
    if spec.suspended:
        return true(kind, "Suspended", "The gateways refuse all keys of this consumer: spec.suspended is true.")
    if refused and len(refused) == len(spec.routes):
        return false(
            kind, "RoutesNotAllowed", "No route that spec.routes names allows this consumer: see RoutesAllowed."
        )
    if not spec.keys:
        return true(
            kind, "NoKeys", "The gateways know this consumer, but it has no key: overspill keys create makes one."
        )
    return true(kind, "Compiled", f"The gateways know this consumer by {len(spec.keys)} keys.")
