"""Carrying out the plan of a route: its engine, then its compiled document, then what shall not be there any more.

The document is made of what then is: an engine that was refused cannot be woken, and replicas are not looked for behind
another one's Service. It is written before what it no longer speaks of goes.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from overspill_api.modelroute import ModelRouteSpec
from overspill_operator.core.objects import RouteObject
from overspill_operator.core.plan import RoutePlan, RouteWorld, document_of
from overspill_operator.ports import DocumentWriter, EngineMaker, Json, Outcome

P = TypeVar("P")


class RouteParts(Generic[P]):
    """Carries out plans, wherever engines run and documents lie."""

    def __init__(self, engines: EngineMaker[P], documents: DocumentWriter) -> None:
        self._engines = engines
        self._documents = documents

    async def carry_out(
        self, route: RouteObject, spec: ModelRouteSpec, seen: RouteWorld[P], plan: RoutePlan[P]
    ) -> Outcome:
        """Make what differs. ``route`` with the spec in force."""
        outcome = Outcome()
        if plan.engine is not None:
            await self._engines.make(route, plan.engine, outcome)
        document = plan.document
        if outcome.faults:
            document = document_of(route, spec, seen, (*plan.faults, *outcome.faults))
        if document is not None:
            await self._documents.write(route, document, outcome)
        if plan.engine is not None:
            await self._engines.take_away(route, plan.engine, outcome)
        return outcome

    async def forget(self, key: str, is_orphan: Callable[[Json | None], bool]) -> None:
        """The route is gone: what was made of it goes."""
        await self._engines.forget(key, is_orphan)
