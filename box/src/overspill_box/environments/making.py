"""Makes an environment for engines, once: with uv where it is there, else with pip; one process at a time.

    python -m overspill_box.environments.making [cpu|gpu]     vLLM's, by default the one that fits this machine;
                                                              prints what it does, at last the folder

Standard library alone, so that it can run before anything is installed. It ends with code 1 and one sentence on stderr
where it cannot be made.
"""

import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from overspill_box.environments import faults
from overspill_box.environments.faults import MakingError
from overspill_box.environments.recipes import RECIPES, Recipe, engines_folder, vllm_recipe

UV_VERSION = "0.13.8"
MARKER = "made"
"""The file that says that an environment is whole."""


def is_made(recipe: Recipe, engines: Path) -> bool:
    """Whether it is there and whole."""
    return (recipe.folder(engines) / MARKER).exists()


def made(recipe: Recipe, engines: Path, say: Callable[[str], None] = lambda _: None) -> Path:
    """The environment's folder, made now if it is not there; another process that makes it is waited for."""
    folder = recipe.folder(engines)
    try:
        return _made(recipe, folder, say)
    except OSError as error:
        raise MakingError(faults.from_error(error, recipe.gigabytes, str(folder.parent))) from error


def _made(recipe: Recipe, folder: Path, say: Callable[[str], None]) -> Path:
    marker = folder / MARKER
    if marker.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process makes it already, waiting for that")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if marker.exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        _check_machine(recipe, folder)
        maker = _Maker(recipe, folder, say, lock.fileno())
        maker.install()
        say("clearing out what is never loaded")
        recipe.finish(folder)
        marker.touch()
    return folder


def _check_machine(recipe: Recipe, folder: Path) -> None:
    """Raise where it could not run, or would not have room, before minutes are spent on it."""
    if sys.platform != "linux":
        raise MakingError(faults.no_linux(sys.platform))
    missing = tuple(name for name in recipe.libraries if not _loads(name))
    if missing:
        raise MakingError(faults.no_library(missing))
    free = shutil.disk_usage(folder.parent).free / 1e9
    if free < recipe.gigabytes:
        raise MakingError(faults.no_room(recipe.gigabytes, free, str(folder.parent)))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


class _Maker:
    """One environment under way."""

    def __init__(self, recipe: Recipe, folder: Path, say: Callable[[str], None], lock: int) -> None:
        self._recipe = recipe
        self._folder = folder
        self._say = say
        self._lock = lock
        self._environment = dict(os.environ)
        # One that was set for whoever runs this is for its own packages.
        self._environment.pop("PYTHONPATH", None)
        if "PIP_INDEX_URL" in os.environ:
            self._environment.setdefault("UV_DEFAULT_INDEX", os.environ["PIP_INDEX_URL"])

    def install(self) -> None:
        """The folder with all packages in it."""
        self._run(sys.executable, "-m", "venv", "--without-pip", str(self._folder))
        uv = shutil.which("uv") or self._own_uv()
        self._say(f"installing {', '.join(self._recipe.requirements)}")
        python = str(self._folder / "bin" / "python")
        command = [uv, "pip", "install", "--quiet", "--python", python]
        if self._recipe.overrides:
            overrides = self._folder / "overrides.txt"
            overrides.write_text("".join(f"{line}\n" for line in self._recipe.overrides))
            command += ["--override", str(overrides)]
        self._run(*command, *self._recipe.requirements)
        shutil.rmtree(self._folder / "tools", ignore_errors=True)

    def _own_uv(self) -> str:
        """uv in a folder beside, with its downloads, so that they go with it."""
        self._say("fetching uv, which installs the rest")
        tools = self._folder / "tools"
        self._run(sys.executable, "-m", "venv", str(tools))
        self._run(str(tools / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", f"uv=={UV_VERSION}")
        self._environment["UV_CACHE_DIR"] = str(tools / "cache")
        return str(tools / "bin" / "uv")

    def _run(self, *command: str) -> None:
        """Run it; the lock is handed on, so that an installer whose maker was killed is still waited for."""
        done = subprocess.run(  # noqa: S603 - what the recipe says
            command,
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
            pass_fds=(self._lock,),
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            said = done.stderr or done.stdout
            raise MakingError(faults.from_output(said, self._recipe.gigabytes, str(self._folder.parent)))


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The command line."""
    chosen = "".join(arguments[:1])
    if len(arguments) > 1 or (chosen and chosen not in RECIPES):
        print(f"takes one of {', '.join(RECIPES)}, or nothing; got {' '.join(arguments)}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        folder = made(vllm_recipe(environment, chosen), engines_folder(environment), _say)
    except MakingError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    _say(str(folder))
    return 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
