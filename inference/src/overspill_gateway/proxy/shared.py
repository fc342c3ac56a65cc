"""What all requests of a gateway share."""

from collections.abc import Callable
from dataclasses import dataclass

from overspill_gateway.clock import Clock
from overspill_gateway.core.admission.retry_budget import RetryBudget
from overspill_gateway.money.metering import Metering
from overspill_gateway.proxy.settling import Settling
from overspill_gateway.wire.sweep import Sweeper
from overspill_gateway.workers.schema_checker import SchemaChecker
from overspill_gateway.workers.worker_pool import WorkerPool


@dataclass(slots=True)
class Shared:
    """What all requests of a gateway share."""

    clock: Clock
    """What time it is."""
    sweeper: Sweeper
    """Calls them when a deadline has passed."""
    retries: RetryBudget
    """How many further attempts may run at a time, over all routes."""
    metering: Metering
    """Limits and money."""
    settling: Settling
    """Hears of all that happens to requests: counts them, and charges what they cost."""
    random: Callable[[], float]
    """Uniform in [0, 1)."""
    checker: SchemaChecker
    """Checks answers against schemas."""
    readers: WorkerPool
    """Read long bodies."""
    answers: WorkerPool
    """Read long answers."""
