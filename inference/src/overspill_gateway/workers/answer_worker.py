"""A process that reads long answers: ``python -m overspill_gateway.workers.answer_worker``. See ``long_answer``."""

from overspill_gateway.core.translation.long_answer import TOO_DEAR, read_long, told_fault
from overspill_gateway.core.translation.long_stream import is_of_event, read_long_event, told_event_fault
from overspill_gateway.workers.worker_process import run

CPU_SECONDS_MAX = 20
MEMORY_BYTES_MAX = 768 << 20
"""One of 16 MiB that is all empty objects takes up to 600."""


def work(asked: bytes, answer: bytes) -> tuple[bytes, bytes]:
    """What is told of an answer, or of an event; that there is not memory enough for it, where so."""
    if is_of_event(asked):
        try:
            return read_long_event(asked, answer)
        except MemoryError:
            return told_event_fault(TOO_DEAR), b""
    try:
        return read_long(asked, answer)
    except MemoryError:
        return told_fault(TOO_DEAR), b""


if __name__ == "__main__":
    run(work, cpu_seconds_max=CPU_SECONDS_MAX, memory_bytes_max=MEMORY_BYTES_MAX)
