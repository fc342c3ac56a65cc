# ruff: noqa: S603, S607, T201  -- also a script of the image build: it runs what it is given and says what it did
"""Make an engine's environment for CPUs small and quick to start: delete what a CPU never loads, compile the rest.

    python trim.py /opt/vllm

Standard library alone, for the engine's image is built with this file and nothing else of the package.

Torch from PyPI is the CUDA build. Its loader must find the CUDA libraries that torch links, but not those that
they would open on a GPU: what `ldd` does not name goes, some 0.9 GB, and Triton, some 0.7 GB. With torch from
PyTorch's CPU index only Triton and the headers go.
"""

import compileall
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

UNUSED = (
    "triton",  # no CPU backend in it; vLLM would import it in each process only to switch it off
    "torch/include",  # for compiling extensions: there is no compiler here
    "torch/lib/libtorch_cuda_linalg.so",  # opened at the first CUDA factorization
)


def needed_libraries(packages: Path) -> set[Path]:
    """Every library that the dynamic loader takes in for torch."""
    entry = next((packages / "torch").glob("_C.*.so"))
    listed = subprocess.run(["ldd", str(entry)], capture_output=True, text=True, check=True).stdout
    words = (line.split("=>")[-1].split() for line in listed.splitlines())
    return {Path(word[0]).resolve() for word in words if word and word[0].startswith("/")}


def delete_unused(packages: Path) -> int:
    """Delete; returns the bytes that became free."""
    needed = needed_libraries(packages)
    free = 0
    for name in UNUSED:
        path = packages / name
        for file in path.rglob("*") if path.is_dir() else [path]:
            free += file.stat().st_size if file.is_file() else 0
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for library in (packages / "nvidia").rglob("*.so*"):
        if library.resolve() not in needed:
            free += library.lstat().st_size  # a link whose target went first has no stat
            library.unlink()
    return free


def site_packages(environment: Path) -> Path:
    """The folder that an environment's packages lie in."""
    return next((environment / "lib").glob("python3.*/site-packages"))


def compile_all(packages: Path) -> None:
    """Compile every module; a minute on two cores, of which one start needs a quarter."""
    # A few files are written for another Python and cannot be compiled; nobody imports them. Sources never change, so
    # their times need no look.
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(packages, quiet=2, workers=0, invalidation_mode=unchecked)


def main(environment: Path) -> None:
    """The whole of it, then a look whether torch still loads."""
    packages = site_packages(environment)
    print(f"deleted {delete_unused(packages) / 1e9:.2f} GB", flush=True)
    # The pod's root is read-only: a missing .pyc would be compiled anew at each start.
    compile_all(packages)
    subprocess.run([str(environment / "bin/python"), "-c", "import torch; torch.ones(2) @ torch.ones(2)"], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
