"""What ``serve`` shows of itself: routes, their engines, what they wait for, who served, what was spent."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from overspill_box.app.engines import LocalEngines
from overspill_box.app.objects import Objects
from overspill_box.app.story import Story
from overspill_box.core.room import Stage
from overspill_operator.adapters.gateway_streams import GatewayStreams
from overspill_operator.app.objects import Consumers, Routes
from overspill_operator.app.scaler import Scaler
from overspill_operator.clock import Clock
from overspill_operator.core.demand.traffic import costs, demand_of, served_by
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.spend import add_reports, read_spend

JSON_PATH: Final = b"/status.json"
TABLE_PATH: Final = b"/status"
_COLUMNS: Final = ("ROUTE", "MODEL", "STATE", "WANTED", "READY", "ASLEEP", "SERVED BY", "SPENT", "BECAUSE")


class StatusPage:
    """The page, as JSON and as a table."""

    def __init__(
        self,
        *,
        routes: Routes,
        consumers: Consumers,
        objects: Objects,
        engines: LocalEngines,
        scaler: Scaler,
        gateways: GatewayStreams,
        story: Story,
        log_of: Callable[[str], object],
        about: Mapping[str, Any],
        clock: Clock,
    ) -> None:
        """``log_of``: the file with an engine's log; ``about``: what is said of the process itself."""
        self._routes = routes
        self._consumers = consumers
        self._objects = objects
        self._engines = engines
        self._scaler = scaler
        self._gateways = gateways
        self._story = story
        self._log_of = log_of
        self._about = about
        self._clock = clock

    def as_json(self) -> tuple[bytes, bytes]:
        """Content type and text for programs."""
        return b"application/json", (json.dumps(self.content(), indent=1) + "\n").encode()

    def as_table(self) -> tuple[bytes, bytes]:
        """Content type and text for people."""
        return b"text/plain; charset=utf-8", table(self.content()).encode()

    def content(self) -> dict[str, Any]:
        """All that is shown."""
        routes = sorted(self._routes, key=lambda route: route.key)
        consumers = sorted(consumer.key for consumer in self._consumers)
        return {**self._about, "routes": [self._route(route) for route in routes], "consumers": consumers}

    def _route(self, route: RouteObject) -> dict[str, Any]:
        now, views, key, uid = self._clock.unix(), self._gateways.views.values(), route.key, route.meta.uid
        replicas = sorted(self._engines.loop.of(key), key=lambda replica: replica.name)
        demand = demand_of(key, views, 0, now, uid)
        waits_for, problem = self._engines.told(key)
        status = self._objects.statuses.get(f"ModelRoute {key}") or {}
        spend = add_reports(read_spend(status), costs(key, views, uid), frozenset())
        stages = [replica.stage for replica in replicas]
        return {
            "route": key,
            "model": route.model,
            "hasEngine": route.spec is not None and route.spec.self_hosted is not None,
            "wanted": 0 if self._engines.rests(key) else self._scaler.desired(route),
            "ready": stages.count(Stage.READY),
            "asleep": stages.count(Stage.ASLEEP),
            "starting": stages.count(Stage.STARTING) + stages.count(Stage.WAKING),
            "waitsFor": waits_for,
            "problem": problem,
            "requests": {"atEngines": demand.in_flight, "atHostedAPIs": demand.spilled, "waiting": demand.held},
            "servedBy": served_by(key, views, uid) or status.get("servedBy") or "",
            "spendUSD": spend.usd,
            "engines": [
                {
                    "name": replica.name,
                    "stage": replica.stage.value,
                    "seconds": round(self._engines.seconds(replica), 1),
                    "port": replica.port,
                    "log": str(self._log_of(replica.name)),
                }
                for replica in replicas
            ],
            "conditions": list(status.get("conditions") or ()),
            "loadTime": status.get("loadTime"),
            "decisions": list(status.get("decisions") or ()),
            "events": self._story.of(f"ModelRoute {key}"),
        }


def table(content: Mapping[str, Any]) -> str:
    """The status as a table, with a line for each route."""
    rows = [_COLUMNS, *(_row(route) for route in content["routes"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def _row(route: Mapping[str, Any]) -> tuple[str, ...]:
    ready: Mapping[str, Any] = next((c for c in route["conditions"] if c["type"] == "Ready"), {})
    counts = [str(route[name]) if route["hasEngine"] else "-" for name in ("wanted", "ready", "asleep")]
    because = route["problem"] or route["waitsFor"] or ready.get("message", "")
    return (
        route["route"], route["model"], _state(route, ready), *counts,
        route["servedBy"] or "-", f"${route['spendUSD']}", because,
    )  # fmt: skip


def _state(route: Mapping[str, Any], ready: Mapping[str, Any]) -> str:
    """In one word, as far as that goes."""
    if ready.get("status") == "False" and not route["ready"] and not route["starting"]:
        return str(ready.get("reason", "NotReady"))
    for name, word in (("ready", "Ready"), ("starting", "Starting"), ("waitsFor", "Waiting"), ("asleep", "Asleep")):
        if route[name]:
            return word
    return "AtZero" if route["hasEngine"] else "Hosted"
