"""A process that checks answers against JSON schemas: ``python -m overspill_gateway.workers.schema_worker``.

A schema of two kilobytes can take for ever, and a library checks it that keeps the interpreter's lock meanwhile: see
``worker_process``. A question is a schema and an answer; what is told is ``{"usable": bool, "why": str | null}``: why
the answer breaks it.
"""

import msgspec

from overspill_gateway.core.answers.structured import StructuredCheck
from overspill_gateway.workers.worker_process import run

CPU_SECONDS_MAX = 5


def check(schema: bytes, answer: bytes) -> tuple[bytes, bytes]:
    """What comes of one check."""
    found = StructuredCheck.of(schema)
    verdict = {"usable": not isinstance(found, str), "why": None if isinstance(found, str) else found.check(answer)}
    return msgspec.json.encode(verdict), b""


if __name__ == "__main__":
    run(check, cpu_seconds_max=CPU_SECONDS_MAX)
