"""What a process of ``worker_pool`` does: answer one question after the other, within bounds on time and memory.

What it computes keeps the interpreter's lock, and its input comes from strangers: here it keeps nobody but this
process, which whoever started it kills when it takes too long. It dies by itself as well: its CPU time and its memory
are bounded, and it ends with its standard input.

Questions and answers are two lengths of four bytes, then two texts; of a question, the second stands in a file whose
number is the process's argument. An empty answer comes first: it is ready.
"""

import os
import resource
import struct
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

HEAD = struct.Struct("!II")
MEMORY_BYTES_MAX = 2 << 30
"""Of addresses, which are more than memory."""

Work = Callable[[bytes, bytes], tuple[bytes, bytes]]


def run(work: Work, *, cpu_seconds_max: int, memory_bytes_max: int = MEMORY_BYTES_MAX) -> None:
    """Answer questions until the input ends. ``cpu_seconds_max``: for one; only where nobody is left to kill this."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))
    serve(work, sys.stdin.buffer, int(sys.argv[1]), sys.stdout.buffer, cpu_seconds_max)


def serve(work: Work, questions: BinaryIO, file: int, answers: BinaryIO, cpu_seconds_max: int) -> None:
    """Answer one question after the other."""
    answers.write(HEAD.pack(0, 0))
    answers.flush()
    while head := questions.read(HEAD.size):
        if len(head) < HEAD.size:
            return
        first_length, second_length = HEAD.unpack(head)
        first, second = questions.read(first_length), os.pread(file, second_length, 0)
        os.ftruncate(file, 0)
        _allow_cpu_time(cpu_seconds_max)
        told, more = work(first, second)
        del first, second
        answers.write(HEAD.pack(len(told), len(more)) + told)
        answers.write(more)
        answers.flush()
        del told, more


def _allow_cpu_time(seconds: int) -> None:
    limit = int(time.process_time()) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
