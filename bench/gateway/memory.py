"""What open streams cost: a gateway with thousands of them, each getting a chunk every few seconds."""

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Final

from bench.gateway.driving import LoadFailedError
from bench.gateway.gateways import Kind
from bench.gateway.peer_settings import connections_max
from bench.gateway.places import LOAD_CPU
from bench.gateway.running import Bench, Subject, bench

STREAMS: Final = 10_000
STREAMS_OF_SLOW_ONES: Final = 200
EVENT_INTERVAL: Final = "4s"
SETTLED_SECONDS: Final = 6.0
"""Longer than the interval, so that each stream has had a chunk after all were open."""
OPEN_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True)
class Held:
    """A gateway's memory, MiB of its process tree (proportional set size)."""

    idle_mb: float
    """With no stream, after its first requests."""
    mb: float
    """With the streams."""
    streams: int
    """How many there were."""
    broken: int
    """How many of them failed."""

    @property
    def mb_per_10000(self) -> float:
        """In all, with 10,000 streams: measured, or in proportion to fewer."""
        return self.idle_mb + (self.mb - self.idle_mb) * STREAMS / self.streams


def measure(kind: Kind) -> Held:
    """Start a gateway of its own, open streams through it, and read its memory."""
    wanted = STREAMS_OF_SLOW_ONES if kind.slow else STREAMS
    count = min(wanted, connections_max())
    with bench(EVENT_INTERVAL) as made:
        subject = made.start(kind)
        idle = subject.process.memory_mb()
        return _hold(made, subject, count, idle)


def _hold(made: Bench, subject: Subject, count: int, idle: float) -> Held:
    line = ["taskset", "--cpu-list", str(LOAD_CPU), made.load, "hold", "-to", subject.address]
    line += ["-request", str(subject.stream), "-streams", str(count), "-patience", f"{OPEN_SECONDS:g}s"]
    client = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert client.stdin is not None
    assert client.stdout is not None
    assert client.stderr is not None
    try:
        said = client.stdout.readline()  # it gives up by itself
        if not said.startswith("open"):
            raise LoadFailedError(client.stderr.read().strip()[-400:])
        time.sleep(SETTLED_SECONDS)
        subject.process.check()
        used = subject.process.memory_mb()
        client.stdin.close()
        result = json.loads(client.stdout.read())
    finally:
        client.kill()
        client.wait()
        for stream in (client.stdin, client.stdout, client.stderr):
            stream.close()
    if result["failures"]:
        print(f"  {result['failures']} streams broke, first: {result['first_failure']}", flush=True)
    return Held(idle, used, count, result["failures"])
