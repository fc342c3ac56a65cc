"""What is left to do when a fault of ours has ended a request somewhere: log it, free what was held, tell the client.

Each step is tried by itself, and each can be done twice: nobody knows how far the request had come. Not here: where
such a fault is caught, which is wherever somebody outside calls into an exchange.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from overspill_gateway.proxy.call import Call, Shared
from overspill_gateway.proxy.settling import close_admission, free

if TYPE_CHECKING:
    from overspill_gateway.proxy.attempt import Attempt

logger = logging.getLogger(__name__)


def log_fault(call: Call, fault: Exception) -> None:
    """Tell whoever runs the gateway."""
    where = {"route": call.route.key, "request_id": call.request_id.decode("latin-1")}
    logger.error("a request failed inside the gateway", exc_info=fault, extra=where)


def clean_up(call: Call, shared: Shared, attempts: "Iterable[Attempt]") -> None:
    """Nothing of a request stays held: connections, places, money, limits; and its client's answer ends."""
    for attempt in attempts:
        tried(attempt.abandon)
        tried(functools.partial(free, call, shared, attempt))
    call.body = b""
    tried(functools.partial(close_admission, call, shared))
    tried(functools.partial(call.client.fail, call.head))
    tried(call.route.release)
    tried(call.route.demand_changed)


def tried(step: Callable[[], object]) -> None:
    """Do a step of cleaning up: a second fault must not keep the rest from being done, nor hide the first."""
    with contextlib.suppress(Exception):
        step()
