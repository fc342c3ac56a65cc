"""Where vLLM is on this machine: named, found, or in an environment that is made when the first engine needs it.

Looked for in this order: ``--vllm PATH``, ``OVERSPILL_VLLM``, ``vllm`` on PATH, a vLLM that this Python imports, and
then the environment in the cache folder, which is made if it is not there: see ``environments``. In place of a path,
``cpu`` and ``gpu`` stand for that environment's kinds, of which otherwise a GPU decides. Nothing is made, and no GPU is
looked for, before somebody asks for it.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from overspill_box.environments.faults import MakingError
from overspill_box.environments.making import is_made
from overspill_box.environments.recipes import RECIPES, VLLM_CPU, Recipe, engines_folder, vllm_recipe

VARIABLE = "OVERSPILL_VLLM"
RETRY_SECONDS = 60.0
"""After a failure the next try is so far away: what hinders it is a disk, a network, a person's to mend."""
TELL_SECONDS = 15.0
"""Between two lines on how long it takes."""


@dataclass(frozen=True, slots=True)
class Vllm:
    """A vLLM that can be run."""

    command: tuple[str, ...]
    """Program that takes a model and vLLM's options after it: it ends with ``serve``."""
    origin: str
    """How it came, in words."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of its engines; those of a profile win."""


def found(given: str | None, environment: Mapping[str, str]) -> Vllm | None:
    """The one that is there without our doing; MakingError where one is named and is not there."""
    named = (("--vllm", given or ""), (VARIABLE, environment.get(VARIABLE, "")))
    for source, text in named:
        if text in RECIPES:
            return None
        if text:
            return Vllm((str(_program(source, text, environment)), "serve"), f"named by {source}")
    if program := shutil.which("vllm", path=environment.get("PATH", os.defpath)):
        return Vllm((program, "serve"), f"{program}, found on PATH")
    if importlib.util.find_spec("vllm") is not None:
        return Vllm((sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"), "a package of this Python")
    return None


def _program(source: str, text: str, environment: Mapping[str, str]) -> Path:
    """The program that is meant by a path to it, to its environment, or by its name."""
    path = Path(text).expanduser()
    for one in (path / "bin" / "vllm", path):
        if one.is_file() and os.access(one, os.X_OK):
            return one.absolute()
    if program := shutil.which(text, path=environment.get("PATH", os.defpath)):
        return Path(program)
    raise MakingError(
        f"{source} is {text}, where no program is: it takes the path of the program `vllm` or of the virtual"
        " environment that it is in, or `cpu` or `gpu` for one that overspill makes."
    )


def made_vllm(recipe: Recipe, engines: Path) -> Vllm:
    """The one of an environment that has been made."""
    folder = recipe.folder(engines)
    settings = dict(recipe.settings)
    # What vLLM learns of a model's kind is learned once: 5 s.
    settings["VLLM_CACHE_ROOT"] = str(folder / "cache")
    return Vllm((str(folder / "bin" / "vllm"), "serve"), f"the environment {folder}", settings)


class VllmOfMachine:
    """This machine's vLLM: where it is or will be, made at the first wish. For one event loop."""

    def __init__(self, given: str | None, environment: Mapping[str, str], tell: Callable[[str], None]) -> None:
        """Look for it; ``tell`` is given a line on what goes on now and then. MakingError where a named one is none."""
        self._environment = environment
        self._tell = tell
        there = found(given, environment)
        chosen = given or environment.get(VARIABLE, "")
        self._engines = engines_folder(environment)
        self._recipe = None if there else vllm_recipe(environment, chosen)
        self.program = there or made_vllm(self._recipe or VLLM_CPU, self._engines)
        """The one that is there, or that will be."""
        self.is_there = self._recipe is None or is_made(self._recipe, self._engines)
        """Whether it can be run."""
        self._making: asyncio.Task[None] | None = None
        self._begun = 0.0
        self._step = ""
        self._failed: tuple[float, MakingError] | None = None

    @property
    def state(self) -> str:
        """Why it is not there yet, in words; empty: it is, or nobody has wanted it."""
        if self._making is not None and not self._making.done():
            step = f" ({self._step})" if self._step else ""
            return f"making the environment for vLLM, {time.monotonic() - self._begun:.0f} s so far{step}"
        return str(self._failed[1]) if self._failed else ""

    async def get(self) -> Vllm:
        """Where it is, once it is there. Raises MakingError; after that it is tried again in a minute at the earliest.

        Whoever stops waiting does not stop it for others: ``close`` does.
        """
        if self.is_there or self._recipe is None:
            return self.program
        if self._failed and time.monotonic() - self._failed[0] < RETRY_SECONDS:
            raise self._failed[1]
        if self._making is None or self._making.done():
            self._begun, self._step, self._failed = time.monotonic(), "", None
            self._making = asyncio.create_task(self._make(self._recipe), name="environment for vLLM")
        try:
            await asyncio.shield(self._making)
        except MakingError as error:
            self._failed = self._failed or (time.monotonic(), error)
            raise
        self.is_there = True
        return self.program

    async def close(self) -> None:
        """Stop making it."""
        if self._making is not None and not self._making.done():
            self._making.cancel()
            with contextlib.suppress(asyncio.CancelledError, MakingError):
                await self._making

    async def _make(self, recipe: Recipe) -> None:
        """In a process of its own: it is long, and works on both the disk and the cores."""
        self._tell(
            f"making the environment for vLLM ({', '.join(recipe.requirements)}), once: up to {recipe.gigabytes:.0f} GB"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "overspill_box.environments.making",
            next(word for word, one in RECIPES.items() if one is recipe),
            env=dict(self._environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        telling = asyncio.create_task(self._tell_now_and_then(), name="progress of the environment")
        try:
            said = await self._follow(process)
            if await process.wait():
                raise MakingError(f"The environment for vLLM could not be made. {said or 'It was ended.'}")
        finally:
            telling.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                await process.wait()
        self._tell(f"the environment for vLLM was made in {time.monotonic() - self._begun:.0f} s")

    async def _follow(self, process: asyncio.subprocess.Process) -> str:
        """Note what it is at; returns its complaint."""
        assert process.stdout is not None  # noqa: S101 - asked for above
        assert process.stderr is not None  # noqa: S101
        complaint = asyncio.create_task(process.stderr.read(), name="what hinders the environment")
        while line := await process.stdout.readline():
            self._step = line.decode(errors="replace").strip()
        return (await complaint).decode(errors="replace").strip()

    async def _tell_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            self._tell(self.state)
