"""What is known of each route's starts: told once each, counted, shown in status; what deciding expects of the next.

Who sees a start: ``start_looks`` where replicas are pods, the loop of engines where they are processes of one machine.
"""

import logging
from collections.abc import Callable

from overspill_operator.adapters import telemetry
from overspill_operator.clock import Clock
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.scaling.load_times import LoadTimes, Start, read_status, seconds_text, status_of
from overspill_operator.core.start_advice import advice
from overspill_operator.ports import Events, Json

logger = logging.getLogger(__name__)

NEWS_SECONDS = 600.0
"""A start that was over longer ago than this counts, and is no event any more: the operator was away."""


class StartRecord:
    """Of all routes."""

    def __init__(self, events: Events, clock: Clock, on_news: Callable[[str], None]) -> None:
        """``on_news`` gets the key of a route of whose starts more is known."""
        self._events = events
        self._clock = clock
        self._on_news = on_news
        self._times: dict[str, tuple[str, LoadTimes]] = {}
        """By route: the uid of the ModelRoute, and what is remembered."""

    def expected_seconds(self, route: RouteObject) -> float | None:
        """From asking for a replica of the present model and profile to its first answer; None: none was seen."""
        return self._of(route).expected_seconds

    def last_unix(self, route: RouteObject) -> float | None:
        """When the last replica that is known of could answer."""
        last = self._of(route).last
        return last.at_unix if last else None

    def status(self, route: RouteObject) -> Json | None:
        """``status.loadTime``; None: nothing is known."""
        times = self._of(route)
        self_hosted = route.spec.self_hosted if route.spec else None
        return status_of(times, advice(times.last, self_hosted)) if times.last else None

    def record(self, route: RouteObject, start: Start) -> None:
        """A replica has come to answer."""
        times = self._of(route).heard(start)
        self._times[route.key] = (route.meta.uid, times)
        telemetry.LOADS.observe(start.seconds)
        self._show(route, times)
        if self._clock.unix() - start.at_unix <= NEWS_SECONDS:
            self._tell(route, start)
        self._on_news(route.key)

    def forget(self, key: str) -> None:
        """The route is gone."""
        self._times.pop(key, None)
        namespace, _, name = key.partition("/")
        telemetry.show_load(namespace, name, {}, None)

    def _show(self, route: RouteObject, times: LoadTimes) -> None:
        phases = {phase.name: phase.seconds for phase in times.last.phases} if times.last else {}
        telemetry.show_load(route.meta.namespace, route.meta.name, phases, times.expected_seconds)

    def _tell(self, route: RouteObject, start: Start) -> None:
        hint = advice(start, route.spec.self_hosted if route.spec else None)
        note = f"Replica {start.replica} answers after {seconds_text(start.seconds)}: {start.words}. {hint}".rstrip()
        logger.info("engine started: %s", note, extra={"route": route.key, "seconds": round(start.seconds, 1)})
        self._events.record("ModelRoute", route.meta, warning=False, reason="EngineStarted", note=note, action="Scale")

    def _of(self, route: RouteObject) -> LoadTimes:
        """What is remembered of the route as it is now; at first what status has from the process before."""
        uid, known = self._times.get(route.key, ("", LoadTimes()))
        times = known if uid == route.meta.uid else read_status(route.status.get("loadTime"), self._clock.unix())
        self_hosted = route.spec.self_hosted if route.spec else None
        if self_hosted is not None:
            times = times.of(f"{self_hosted.source} on {self_hosted.profile}")
        if times is not known:
            self._times[route.key] = (route.meta.uid, times)
            self._show(route, times)
        return times
