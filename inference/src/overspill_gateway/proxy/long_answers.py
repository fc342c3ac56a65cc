"""Long answers: read in another process, while their clients wait and everybody else is served.

Not here: what is read (``core.translation.long_answer``), and who reads when (``worker_pool``).
"""

from typing import Final

from overspill_gateway.workers.worker_pool import Unanswered, WorkAnswer, WorkerPool

READ_SECONDS_MAX: Final = 10.0
"""For one answer; one of 16 MiB takes a second or two, whatever is in it."""
WAIT_SECONDS_MAX: Final = 20.0
"""Before a process takes it."""
WAITING_BYTES_MAX: Final = 128 << 20
"""Of all answers that wait for one; of one backend half of that."""


def answer_readers() -> WorkerPool:
    """The processes that read long answers: others than those of bodies, which no backend may keep waiting."""
    return WorkerPool(
        "overspill_gateway.workers.answer_worker", seconds_max=READ_SECONDS_MAX, wait_seconds_max=WAIT_SECONDS_MAX,
        waiting_bytes_max=WAITING_BYTES_MAX,
    )  # fmt: skip


def why_unread(answer: WorkAnswer) -> str:
    """Why nobody has read an answer; empty: it was read."""
    if answer.unanswered is None:
        return ""
    if answer.unanswered is Unanswered.TOO_LONG:
        return "its answer takes too long to read, or too much memory"
    return "too many long answers wait to be read"
