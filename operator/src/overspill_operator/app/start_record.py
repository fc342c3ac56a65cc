"""What is known of each route's starts: told once each, counted, shown in status; what deciding expects of the next.

Who sees a start: ``start_looks`` where replicas are pods, the loop of engines where they are processes of one machine.
"""

import logging
from collections.abc import Callable

from overspill_operator.adapters import telemetry
from overspill_operator.clock import Clock
from overspill_operator.core.demand.recent_work import RecentWork
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.scaling.load_times import LoadTimes, Start, read_status, seconds_text, status_of
from overspill_operator.core.start_advice import advice
from overspill_operator.ports import Events, Json

logger = logging.getLogger(__name__)

NEWS_SECONDS = 600.0
"""A start that was over longer ago than this counts, and is no event any more: the operator was away."""

FIRST_ANSWER_SECONDS = 30.0
"""Answers that come later are ordinary ones."""


class StartRecord:
    """Of all routes."""

    def __init__(self, events: Events, clock: Clock, work: RecentWork, on_news: Callable[[str], None]) -> None:
        """``work``: what gateways count; ``on_news`` gets the key of a route of whose starts more is known."""
        self._events = events
        self._clock = clock
        self._work = work
        self._on_news = on_news
        self._times: dict[str, tuple[str, LoadTimes]] = {}
        """By route: the uid of the ModelRoute, and what is remembered."""
        self._unanswered: dict[str, tuple[RouteObject, str, float]] = {}
        """By route: whose first answers are waited for, of which replica, and until when."""

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

    def record(self, route: RouteObject, start: Start, *, is_only: bool = False) -> None:
        """A replica has come to answer; ``is_only``: no other one does, so that the answers from now on are its."""
        now = self._clock.unix()
        times = self._of(route).heard(start)
        if is_only and now - start.at_unix <= FIRST_ANSWER_SECONDS:
            self._unanswered[route.key] = (route, start.replica, start.at_unix + FIRST_ANSWER_SECONDS)
        self._keep(route, times)
        self.note_demand(route.key)
        told = self._of(route).last
        start = told if told is not None and told.replica == start.replica else start
        telemetry.LOADS.observe(start.seconds)
        if now - start.at_unix <= NEWS_SECONDS:
            self._tell(route, start)
        self._on_news(route.key)

    def note_demand(self, key: str) -> None:
        """A gateway has spoken of a route, perhaps of the first answers of a replica."""
        if key not in self._unanswered:
            return
        route, replica, until = self._unanswered[key]
        now = self._clock.unix()
        seen = self._work.of(key, route.meta.uid, now)
        seconds = seen.work.local.first_token_since_sent.mean_seconds if seen else None
        if seconds is None and now < until:
            return
        del self._unanswered[key]
        if seconds is not None:
            self._keep(route, self._of(route).answered(replica, seconds))
            self._on_news(key)

    def forget(self, key: str) -> None:
        """The route is gone."""
        self._times.pop(key, None)
        self._unanswered.pop(key, None)
        namespace, _, name = key.partition("/")
        telemetry.show_load(namespace, name, {}, None)

    def _keep(self, route: RouteObject, times: LoadTimes) -> None:
        self._times[route.key] = (route.meta.uid, times)
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
            self._keep(route, times)
        return times
