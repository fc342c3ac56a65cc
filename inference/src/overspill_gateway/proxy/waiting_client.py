"""A client that waits: until when, whether a backend is asked again meanwhile, and what the client hears of it."""

import math
from collections.abc import Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from overspill_gateway.core.errors import ApiError
from overspill_gateway.core.outcome import REPEATABLE, FailureKind
from overspill_gateway.core.plan import History
from overspill_gateway.core.retry_budget import backoff_seconds
from overspill_gateway.proxy.backend import Hosted, Replica
from overspill_gateway.proxy.opening import Opening

if TYPE_CHECKING:
    from overspill_gateway.proxy.call import Call
    from overspill_gateway.wire.server import ServerConnection

HEARTBEAT_SECONDS: Final = 15.0
"""Between two comments to a client that waits for a stream, as the standard of server-sent events advises. Proxies cut
silent connections after 30 s and more, and until the first comment a refusal still has its own status."""
BACK_OFF_SECONDS_MAX: Final = 2.0
"""A backend that asks for a longer pause is not waited for: its answer says when to come again."""


class Phase(Enum):
    """What a request does."""

    HELD, BACKING_OFF, AWAITING_MONEY, SERVING, CHECKING, DONE = auto(), auto(), auto(), auto(), auto(), auto()


class Wait:
    """What one client waits for, and how it is kept from giving up."""

    __slots__ = ("_hold_until", "heartbeat_at", "opening", "until")

    def __init__(self) -> None:
        self.opening: Opening | None = None
        """Of a stream that has had to wait: where heartbeats go."""
        self.heartbeat_at = math.inf
        self.until = math.inf
        """The end of holding or backing off."""
        self._hold_until = math.inf

    def for_replica(self, call: "Call", now: float) -> None:
        """Wait for a replica: however often, no longer than the route says in all."""
        if self._hold_until == math.inf:
            self._hold_until = now + call.route.compiled.overflow.hold_timeout_seconds
        self.until = self._hold_until
        self._keep_alive_from(call, now)

    def for_pause(self, call: "Call", seconds: float, now: float) -> None:
        """Wait before a backend is asked again."""
        self.until = now + seconds
        self._keep_alive_from(call, now)

    def heartbeat(self, now: float, *, waits: bool) -> None:
        """Say something to a client that waits for a stream; from then on even an error comes inside the stream."""
        self.heartbeat_at = now + HEARTBEAT_SECONDS
        opening = self.opening
        if opening is not None and (opening.begun or waits):
            opening.heartbeat()

    def _keep_alive_from(self, call: "Call", now: float) -> None:
        if call.facts.stream and self.opening is None:
            self.opening = Opening(call.client, call.endpoint.dialect, call.request_id)
            self.heartbeat_at = now + HEARTBEAT_SECONDS


def tell_refusal(client: "ServerConnection", wait: Wait | None, error: ApiError, lines: bytes) -> None:
    """Refuse a request of which nothing was answered, inside the stream where heartbeats have begun it."""
    if wait is not None and wait.opening is not None:
        wait.opening.refuse(error, lines)
    else:
        client.refuse(error, lines)


def pause_before_retry(
    history: History[Replica], hosted: Iterable[Hosted], attempts_max: int, random: float, now: float
) -> float | None:
    """Seconds to wait before one of those that failed in passing is asked again; None: that makes no sense."""
    failures = [failure for failure in history.failures if failure.kind is not FailureKind.UNABLE]
    if not failures or len(failures) >= attempts_max or failures[-1].kind not in REPEATABLE:
        return None
    pause = backoff_seconds(len(failures), random, failures[-1].retry_after_seconds)
    rest = min((one.outlier.returns_at for one in hosted), default=now) - now
    pause = max(pause, rest)
    return pause if pause <= BACK_OFF_SECONDS_MAX else None
