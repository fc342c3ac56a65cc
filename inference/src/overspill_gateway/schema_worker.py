"""A process that checks answers against JSON schemas: ``python -m overspill_gateway.schema_worker``.

The library that checks keeps the interpreter's lock while it does, and a schema of two kilobytes can keep it for ever:
here it keeps nobody but this process, which whoever started it kills when it takes too long. It dies by itself as well:
its CPU time and its memory are bounded, and it ends with its standard input.

It says ``ready`` in a line first. A question is two lengths of four bytes (schema, answer), then both. An answer is one
line of JSON: ``{"usable": bool, "why": str | null}``, ``why`` being what is wrong with the answer.
"""

import resource
import struct
import sys
import time
from typing import BinaryIO

import msgspec

from overspill_gateway.core.structured import StructuredCheck

CPU_SECONDS_MAX = 5
"""For one question; only where nobody is left to kill this process earlier."""
MEMORY_BYTES_MAX = 2 << 30
HEAD = struct.Struct("!II")


def main() -> None:
    """Answer questions until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    serve(sys.stdin.buffer, sys.stdout.buffer)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer one question after the other."""
    while head := questions.read(HEAD.size):
        if len(head) < HEAD.size:
            return
        schema_length, answer_length = HEAD.unpack(head)
        schema, answer = questions.read(schema_length), questions.read(answer_length)
        _allow_cpu_time()
        check = StructuredCheck.of(schema)
        verdict = {"usable": not isinstance(check, str), "why": None if isinstance(check, str) else check.check(answer)}
        answers.write(msgspec.json.encode(verdict) + b"\n")
        answers.flush()


def _allow_cpu_time() -> None:
    limit = int(time.process_time()) + CPU_SECONDS_MAX + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    main()
