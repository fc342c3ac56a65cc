"""What hosted APIs have cost a route, from counters of gateway processes that come and go. Restart-safe."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from overspill_api.quantities import nano_to_usd
from overspill_api.status import GatewaySpend, Spend

GATEWAYS_MAX = 64
"""As many as status holds; the smallest counters beyond that are settled."""


def read_spend(status: Mapping[str, Any]) -> Spend:
    """Spend as status has it; what cannot be read counts as nothing spent."""
    try:
        return Spend.model_validate(status.get("spend") or {})
    except ValidationError:
        return Spend()


def add_reports(before: Spend, reports: Mapping[str, int], gone: frozenset[str]) -> Spend:
    """Spend after the counters in ``reports`` (gateway process to nano-dollars).

    A counter never goes back. Those of processes in ``gone`` are settled; a process that is only silent keeps its
    entry, because it may speak again.
    """
    counters = {entry.gateway: entry.nano_usd for entry in before.gateways}
    for gateway, nano_usd in reports.items():
        if nano_usd or gateway in counters:
            counters[gateway] = max(nano_usd, counters.get(gateway, 0))
    kept = {gateway: nano for gateway, nano in counters.items() if gateway not in gone}
    overflow = sorted(kept, key=lambda gateway: kept[gateway])[: max(0, len(kept) - GATEWAYS_MAX)]
    kept = {gateway: nano for gateway, nano in kept.items() if gateway not in overflow}
    settled = before.settled_nano_usd + sum(nano for gateway, nano in counters.items() if gateway not in kept)
    return Spend(
        usd=nano_to_usd(settled + sum(kept.values())),
        settled_nano_usd=settled,
        gateways=[GatewaySpend(gateway=gateway, nano_usd=nano) for gateway, nano in sorted(kept.items())],
    )
