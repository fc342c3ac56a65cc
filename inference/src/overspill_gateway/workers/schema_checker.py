"""Checks answers against the schemas of their requests in processes of their own, within a bound on time.

Schemas come from strangers and can take any time; see ``schema_worker``. A schema that took too long is remembered.
Not here: the processes, and who waits for one (``worker_pool``).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from overspill_gateway.workers.verdict_fields import Verdict, decode_verdict
from overspill_gateway.workers.worker_pool import WAITING_MAX, Unanswered, WorkAnswer, WorkerPool, WorkItem

CHECK_SECONDS_MAX: Final = 1.0
"""For one check, its schema's compilation included; usual ones take under a millisecond."""
DEAR_SECONDS: Final = 60.0
"""A schema whose check took too long is not tried again for this long: requests with it are refused at once."""
DEAR_KEPT_MAX: Final = 1024
TOO_LONG: Final = "it took longer than the 1 s that a check may take"

OnVerdict = Callable[[Verdict], None]


class SchemaChecker:
    """Checks answers, and knows which schemas took too long."""

    def __init__(self) -> None:
        self.pool = WorkerPool(
            "overspill_gateway.workers.schema_worker", seconds_max=CHECK_SECONDS_MAX, on_too_long=self._took_too_long
        )
        self._dear: OrderedDict[int, float] = OrderedDict()
        """Hashes of schemas that took too long, with the time until which they are known as such."""

    def is_too_dear(self, schema: bytes) -> bool:
        """Whether a check against this schema has lately taken too long."""
        return self._dear.get(hash(schema), 0.0) > asyncio.get_running_loop().time()

    def _took_too_long(self, question: WorkItem) -> None:
        """Remember a schema for a while."""
        key = hash(question.first)
        self._dear[key] = asyncio.get_running_loop().time() + DEAR_SECONDS
        self._dear.move_to_end(key)
        if len(self._dear) > DEAR_KEPT_MAX:
            self._dear.popitem(last=False)

    def check(self, consumer: str, schema: bytes, answer: list[bytes], then: OnVerdict) -> None:
        """Check an answer, given in parts; ``then`` is called later, once, unless the checker is closed before."""
        self.pool.ask(consumer, schema, answer, lambda told: then(_verdict(told)))

    async def close(self) -> None:
        """End all processes; nobody who waits is told."""
        await self.pool.close()


def _verdict(answer: WorkAnswer) -> Verdict:
    why = answer.unanswered
    if why is None:
        return decode_verdict(answer.told)
    if why is Unanswered.CROWDED:
        unchecked = f"{WAITING_MAX} answers wait for their check already"
    elif why is Unanswered.NO_PROCESS:
        unchecked = f"no process could be started for it ({answer.detail})"
    else:
        unchecked = TOO_LONG
    return Verdict(usable=True, why=None, unchecked=unchecked)
