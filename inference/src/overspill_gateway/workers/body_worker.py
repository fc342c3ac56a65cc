"""A process that reads long bodies: ``python -m overspill_gateway.workers.body_worker``. See ``long_body``."""

from overspill_gateway.core.http.errors import BODY_TOO_DEAR
from overspill_gateway.core.requests.long_body import read_long, told_error
from overspill_gateway.workers.worker_process import run

CPU_SECONDS_MAX = 20
MEMORY_BYTES_MAX = 768 << 20
"""A body of 64 MiB in base64 takes up to 500."""


def work(asked: bytes, body: bytes) -> tuple[bytes, bytes]:
    """What is told of a body; that there is not memory enough for it, where so."""
    try:
        return read_long(asked, body)
    except MemoryError:
        return told_error(BODY_TOO_DEAR), b""


if __name__ == "__main__":
    run(work, cpu_seconds_max=CPU_SECONDS_MAX, memory_bytes_max=MEMORY_BYTES_MAX)
