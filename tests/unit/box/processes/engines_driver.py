"""A serve in small, to be killed: starts, stops, keeps and adopts engines in an order that its seed decides.

Run as a script: state directory, mark, seed, seconds after which it dies (0: it works for some rounds and closes).
"""

import asyncio
import random
import signal
import sys
import time
from pathlib import Path

from overspill_box.core.process import ProcessSpec
from overspill_box.processes.local_processes import LocalProcesses

FAMILY = "trap '' TERM; setsid sleep 600 & (sleep 600 &) ; sleep 600"
GENTLE = "sleep 600 & sleep 600"
GRACE_SECONDS = 0.1
KEEP_SECONDS = 0.5


class WallClock:
    """The system's."""

    def unix(self) -> float:
        """Seconds since 1970."""
        return time.time()


def _say(name: str) -> None:
    print(name, flush=True)


def _processes(state: Path) -> LocalProcesses:
    return LocalProcesses(state, WallClock(), _say, grace_seconds=GRACE_SECONDS, keep_seconds=KEEP_SECONDS)


async def _play(processes: LocalProcesses, name: str, mark: str, chance: random.Random, rounds: int) -> None:
    for _ in range(rounds):
        spec = ProcessSpec(
            name=name,
            command=("sh", "-c", chance.choice([FAMILY, GENTLE, "exit 3"])),
            port=processes.free_port(),
            made_from="a",
            environment={"TEST_ENGINE_MARK": mark},
            stop_seconds=chance.choice([0.0, 0.05, 0.2]),
        )
        start = asyncio.create_task(processes.start(spec))
        for _ in range(chance.choice([1, 10, 100])):
            await asyncio.sleep(0)
        if chance.random() < 0.7:
            await start
        await processes.stop(name)
        if chance.random() < 0.2:
            continue
        await start
        while processes.facts[name].runs:  # noqa: ASYNC110 - told to end, it does
            await asyncio.sleep(0.005)


async def serve(state: Path, mark: str, seed: int, dies_after_seconds: float) -> None:
    """Until it dies, or for some rounds."""
    chance = random.Random(seed)
    if dies_after_seconds:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process like SIGKILL, and at any instruction
        signal.setitimer(signal.ITIMER_REAL, dies_after_seconds)
    processes = _processes(state)
    await processes.adopt()
    restarts = 0
    while dies_after_seconds or restarts < 2:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(_play(processes, f"default/chat#{number}", mark, chance, rounds=2))
        restarts += 1
        await processes.close(keep=chance.random() < 0.5)
        processes = _processes(state)
        await processes.adopt()
    await processes.close(keep=False)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
