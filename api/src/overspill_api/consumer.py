"""Consumer: who may call which routes. It holds keyed hashes of API keys, never a key."""

from typing import Annotated

from pydantic import Field, StringConstraints

from overspill_api.modelroute import ConsumerLimits
from overspill_api.quantities import DnsLabel
from overspill_api.rules import Form, Unique
from overspill_api.schema import Strict


class ConsumerKey(Strict):
    """One API key of a consumer, as its public id and a keyed hash."""

    id: Annotated[
        str,
        StringConstraints(max_length=64),
        Form(r"^[a-z0-9]{12}$", "is not the id of a key; make one with overspill keys create"),
    ]
    """Public part of the key (``osk-<id>-<secret>``): names the key in logs and metrics."""
    hash: Annotated[
        str,
        StringConstraints(max_length=128),
        Form(r"^[0-9a-f]{64}$", "is not the hash of a key (64 hex digits); make one with overspill keys create"),
    ]
    """HMAC-SHA256 of the whole key under the release's pepper, 64 hex digits. ``overspill keys create``
    computes it."""


class RouteReference(Strict):
    """A route that a consumer may call."""

    name: Annotated[
        str,
        StringConstraints(max_length=63),
        Form(r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$", "is not the name of a ModelRoute; write its name, or * for all"),
    ]
    """Name of the ModelRoute; * means every route of the namespace."""
    namespace: DnsLabel | None = None
    """Namespace of the ModelRoute. Default: that of the consumer. Routes of another namespace must list this consumer
    under allowedConsumers; RoutesAllowed says whether they do."""


class ConsumerSpec(Strict):
    """Who may call which routes, and how much."""

    keys: Annotated[list[ConsumerKey], Field(max_length=16), Unique("id")] = []
    """The consumer's API keys. Default: none, which lets nobody in."""
    routes: Annotated[list[RouteReference], Field(max_length=256)] = [RouteReference(name="*")]
    """Routes that the consumer may call. Default: every route of its own namespace."""
    rate_limit: ConsumerLimits = ConsumerLimits()
    """Limits over all routes together."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Requests of a consumer with a higher one leave a waiting queue first; among equals each consumer has its turn.
    Default: 0."""
    suspended: bool = False
    """Refuse all keys of this consumer at once. Default: false."""
