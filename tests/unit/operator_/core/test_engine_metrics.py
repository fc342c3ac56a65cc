"""The queue inside a route's engines: a sum of what its replicas say."""

from overspill_api.engine_metrics import EngineFigures
from overspill_operator.core.engine_metrics import QueueReading, queue_reading


def test_replicas_that_do_not_answer_are_counted() -> None:
    """The sum is of those that did."""
    figures = [EngineFigures(waiting=3.0), None, EngineFigures()]
    assert queue_reading(figures) == QueueReading(asked=3, answered=1, waiting=3)
