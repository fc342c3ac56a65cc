"""vLLM's environment, made when the first engine that needs it shall start; until then engines wait and say why."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from overspill_box.core.command_line import VllmProgram
from overspill_box.core.local_engine import LocalEngine
from overspill_box.environment import RETRY_SECONDS, TELL_SECONDS, VllmOfMachine
from overspill_box.environments.faults import MakingError
from overspill_operator.clock import Clock

logger = logging.getLogger(__name__)

ITSELF: Final = "making the environment for vLLM"


class Preparation:
    """What hinders engines of this machine's vLLM from being started."""

    def __init__(self, vllm: VllmOfMachine, clock: Clock) -> None:
        self._vllm = vllm
        self._clock = clock
        self._work: asyncio.Task[None] | None = None
        self.program = VllmProgram(vllm.program.command, vllm.program.environment)
        """VLLM as it is, or will be, called."""
        self.on_change: Callable[[], None] = lambda: None
        """Told when something else hinders, or nothing does."""

    def hindrance(self, engine: LocalEngine) -> str:
        """Why an engine that shall run can't be started yet; empty: it can. Begins to make what is missing."""
        line = engine.command_line
        if self._vllm.is_there or line is None or line.items[: len(self.program.command)] != self.program.command:
            return ""
        if self._work is None:
            self._work = asyncio.create_task(self._make(), name="environment for vLLM")
        return self._vllm.state or ITSELF

    async def close(self) -> None:
        """Stop making it."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await self._vllm.close()

    async def _make(self) -> None:
        """Make it, if need be again and again, and have its progress told."""
        while not self._vllm.is_there:
            making = asyncio.create_task(self._vllm.get())
            while not making.done():
                await asyncio.wait({making}, timeout=TELL_SECONDS)
                self.on_change()
            try:
                making.result()
            except MakingError as error:
                logger.error("%s", error)  # noqa: TRY400 - a sentence for a person, nothing of the code's
                self.on_change()
                await self._clock.sleep(RETRY_SECONDS)
        self.on_change()
