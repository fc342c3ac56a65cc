"""A Consumer's reconcile, by its ports: one compiled document, one status, an Event where Ready changes."""

from typing import Any

from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.adapters.watch_cache import WatchCache
from overspill_operator.app.applier import Applier
from overspill_operator.app.compiled_documents import CompiledDocuments
from overspill_operator.app.consumer_reconciler import ConsumerReconciler
from overspill_operator.app.objects import Consumers, Routes
from overspill_operator.app.tenancy import Tenancy
from overspill_operator.app.work_queue import Key, WorkQueue
from overspill_operator.ports import SECRETS, ClusterError
from unit.operator_.fakes import FakeCluster, FakeEvents, FakeStatuses
from unit.operator_.virtual_clock import VirtualClock

RELEASE = "overspill-system"
DOCUMENT = f"/api/v1/namespaces/{RELEASE}/secrets/consumer.chat.app"


class Rig:
    """The reconciler, and what it acts through."""

    def __init__(self, clock: VirtualClock) -> None:
        self.cluster, self.statuses, self.events = FakeCluster(), FakeStatuses(), FakeEvents()
        self.consumers = Consumers(lambda _key: None)
        self.generation = 0
        cache = WatchCache(self.cluster, SECRETS, clock=clock, labels="")
        self.reconciler = ConsumerReconciler(
            consumers=self.consumers,
            routes=Routes(lambda _key: None),
            documents=CompiledDocuments(Applier(self.cluster, clock), cache, RELEASE),
            gateways=GatewayStreams(clock, lambda _keys, _at: None, lambda: None),
            tenancy=Tenancy(self.cluster, clock, RELEASE, ()),
            queue=WorkQueue(_nothing, clock, workers=1, jitter=lambda: 1.0),
            statuses=self.statuses,
            events=self.events,
            clock=clock,
        )

    def put(self, **spec: Any) -> None:
        """The Consumer as it is written."""
        self.generation += 1
        meta = {"namespace": "chat", "name": "app", "uid": "u", "generation": self.generation, "resourceVersion": "1"}
        self.consumers.put({"metadata": meta, "spec": spec})

    @property
    def ready(self) -> list[tuple[str, str]]:
        """Status and reason of Ready, in each status that was written."""
        return [
            (condition["status"], condition["reason"])
            for _, _, status in self.statuses.written
            for condition in status["conditions"]
            if condition["type"] == "Ready"
        ]


async def _nothing(_key: Key) -> None:
    """No other reconcile."""


async def test_a_consumer_is_compiled_and_told(clock: VirtualClock) -> None:
    """Its document lies where the gateways look, and status says what they know."""
    rig = Rig(clock)
    rig.put()

    await rig.reconciler.reconcile("chat/app")

    assert DOCUMENT in rig.cluster.objects
    assert rig.ready == [("True", "NoKeys")]
    assert [(kind, key) for kind, key, _ in rig.statuses.written] == [("Consumer", "chat/app")]


async def test_a_bad_consumer_keeps_the_document_and_is_told(clock: VirtualClock) -> None:
    """By status, and by an Event for whoever looks there."""
    rig = Rig(clock)
    rig.put(nonsense=1)

    await rig.reconciler.reconcile("chat/app")

    assert DOCUMENT not in rig.cluster.objects
    assert rig.ready == [("False", "InvalidSpec")]
    assert rig.events.told == [("chat/app", "InvalidSpec")]


async def test_a_refused_document_is_told_and_tried_again(clock: VirtualClock) -> None:
    """By status; the queue comes back."""
    rig = Rig(clock)
    rig.put()
    await rig.reconciler.reconcile("chat/app")
    rig.cluster.objects.clear()
    rig.put(suspended=True)
    rig.cluster.errors = [ClusterError(403, "Forbidden", "quota")]

    await rig.reconciler.reconcile("chat/app")

    assert rig.ready[-1] == ("False", "DocumentRefused")
    assert clock.next_due is not None
