"""``/metrics/demand``: what the stream of demand tells, for an operator that reads it from Prometheus.

It is a page of its own, since it has some hundred series for each busy route, which nobody else need scrape.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from overspill_api.demand import DEMAND_VERSION
from overspill_api.demand_metrics import Sample, family_of, kind_of, process_samples, route_samples
from overspill_gateway.admin.sliced_page import SLICE_SECONDS, SlicedPage
from overspill_gateway.clock import Clock
from overspill_gateway.wire.time_slice import TimeSlice

if TYPE_CHECKING:
    from overspill_gateway.routes.route import Route


class DemandMetrics(SlicedPage):
    """Renders the page, a few routes at a time."""

    def __init__(self, gateway: str, routes: "Mapping[str, Route]", clock: Clock) -> None:
        """``gateway``: identity of the process, as its stream has it."""
        super().__init__()
        self._gateway = gateway
        self._routes = routes
        self._clock = clock
        self._started_at = clock.monotonic()

    async def _in_slices(self) -> bytes:
        families: dict[str, list[str]] = {}
        uptime = self._clock.monotonic() - self._started_at
        for sample in process_samples(self._gateway, DEMAND_VERSION, self._clock.unix(), uptime):
            _add(families, sample)
        turn = TimeSlice(SLICE_SECONDS)
        for key in list(self._routes):
            route = self._routes.get(key)
            if route is not None:
                for sample in route_samples(route.demand()):
                    _add(families, sample)
            await turn.give_way()
        lines: list[str] = []
        for family, samples in families.items():
            lines.append(f"# TYPE {family} {kind_of(family)}\n")
            lines += samples
        return "".join(lines).encode()


def _add(families: dict[str, list[str]], sample: Sample) -> None:
    name, labels, value = sample
    text = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels)
    families.setdefault(family_of(name), []).append(f"{name}{{{text}}} {value!r}\n")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
