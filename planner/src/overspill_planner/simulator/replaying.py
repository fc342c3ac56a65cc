"""Scaling as it was: so many replicas can serve as were recorded, whatever comes."""

from collections.abc import Sequence

from overspill_planner.simulator.scaling import Scaler, World

Step = tuple[float, int]
"""Seconds since the trace began, and how many replicas can serve from then on."""


class Replaying(Scaler):
    """Follows a recording; its world's replicas load in no time, as they were ready when they were."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self._steps = steps

    def begin(self, world: World) -> None:
        """All that is to come."""
        for step in self._steps:
            self._at(world, step)

    def _at(self, world: World, step: Step) -> None:
        seconds, ready = step
        world.clock.at(world.clock.now + seconds, lambda: world.fleet.scale(ready))

    def arrived(self) -> None:
        """It is known what came."""

    def demand_changed(self, *, urgent: bool) -> None:
        """It was heard then."""

    def replica_ready(self) -> None:
        """It was seen then."""
