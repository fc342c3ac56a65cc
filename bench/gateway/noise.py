"""What else the machine did while something was measured: other programs' CPU, and what the hypervisor kept."""

import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.gateway.processes import Process


@dataclass(frozen=True, slots=True)
class Noise:
    """Of one span of time."""

    foreign_cores: float
    """CPU of programs that are none of the benchmark's, in cores."""
    steal_percent: float
    """Part of the CPUs' time in which the hypervisor ran something else."""


class Listener:
    """Reads the counters at the beginning; ``noise`` says what has been since."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self._processes = list(processes)
        self._began = self._read()

    @classmethod
    def begin(cls, processes: Iterable[Process]) -> Self:
        """Begin to listen."""
        return cls(processes)

    def noise(self) -> Noise:
        """What there was since the beginning."""
        (at, busy, stolen, own), (now, busy_now, stolen_now, own_now) = self._began, self._read()
        seconds = max(now - at, 1e-6)
        foreign = ((busy_now - busy) - (own_now - own)) / seconds
        steal = (stolen_now - stolen) / (seconds * (os.cpu_count() or 1)) * 100
        return Noise(max(0.0, foreign), steal)

    def _read(self) -> tuple[float, float, float, float]:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, irq, softirq, steal = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[:8])
        own = sum(process.cpu_seconds() for process in self._processes)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            own += usage.ru_utime + usage.ru_stime
        return time.monotonic(), user + nice + system + irq + softirq, steal, own
