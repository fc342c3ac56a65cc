"""Installs what is compared: pinned, hashed wheels into virtual environments of their own, and the load command.

All of it goes into the cache folder and is made once for each content of the pins. nginx and HAProxy are the
system's: a missing one is said, not installed.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.gateway.places import CHECKOUT, COMPILED, HERE, cache_folder, command

INSTALL_SECONDS: Final = 420.0
BUILD_SECONDS: Final = 180.0


class NotInstalledError(Exception):
    """Something cannot be had; the message says what was tried."""


def environment_of(name: str, pins: Path | None = None, interpreter: str = sys.executable) -> Path:
    """The virtual environment with what ``requirements/<name>.txt`` pins."""
    pins = pins or HERE / "requirements" / f"{name}.txt"
    version = _said([interpreter, "-c", "import sys; print(sys.version)"])
    digest = hashlib.sha256(f"{interpreter}\0{version}\0".encode() + pins.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"{name}-{digest}"
    with _alone(name):
        if not (folder / "complete").exists():
            print(f"installing {name} into {folder}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            _install(pins, folder, interpreter)
            (folder / "complete").touch()
    return folder


def _install(pins: Path, folder: Path, interpreter: str) -> None:
    uv = command("uv")
    python = str(folder / "bin" / "python")
    if uv is not None:
        _run([uv, "venv", "--quiet", "--python", interpreter, str(folder)])
        _run([uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", str(pins)])
    else:
        _run([interpreter, "-m", "venv", str(folder)])
        _run([python, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(pins)])


def gateway_environment() -> tuple[str, dict[str, str]]:
    """A Python with what the gateway's image has, and the settings under which it runs this checkout, compiled."""
    if not COMPILED.exists():
        raise NotInstalledError("the gateway is not compiled yet: make compiled")
    pins = CHECKOUT / "requirements" / "gateway.txt"
    python = environment_of("gateway", pins, _distribution_python()) / "bin" / "python"
    sources = [COMPILED, CHECKOUT / "inference" / "src", CHECKOUT / "api" / "src"]
    return str(python), {"PYTHONPATH": os.pathsep.join(map(str, sources))}


def _distribution_python() -> str:
    """This version of Python as the distribution has it, built with optimisation as an image's is; else this one."""
    found = Path("/usr/bin/python{}.{}".format(*sys.version_info[:2]))
    return str(found) if found.exists() else sys.executable


def load_command() -> str:
    """The clients and the engine, built from ``load/``."""
    sources = [*sorted((HERE / "load").glob("*.go")), HERE / "load" / "go.mod"]
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    binary = cache_folder() / f"load-{digest}"
    if binary.exists():
        return str(binary)
    go = command("go")
    if go is None:
        raise NotInstalledError("Go is needed to build bench/gateway/load (any version from 1.22)")
    with _alone("load"):
        if not binary.exists():
            made = binary.with_suffix(f".{os.getpid()}")
            settings = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOWORK": "off"}
            _run([go, "build", "-o", str(made), "."], HERE / "load", BUILD_SECONDS, settings)
            made.rename(binary)
    return str(binary)


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Two runs do not install the same at once."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _said(line: list[str]) -> str:
    """What a Python prints; nothing if it does not run."""
    return subprocess.run(line, check=False, capture_output=True, text=True).stdout


def _run(
    line: list[str],
    folder: Path | None = None,
    seconds: float = INSTALL_SECONDS,
    settings: dict[str, str] | None = None,
) -> None:
    try:
        subprocess.run(
            line,
            cwd=folder,
            check=True,
            timeout=seconds,
            env=os.environ | (settings or {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        raise NotInstalledError(f"{' '.join(line)}: {error.stderr.strip()[-600:]}") from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise NotInstalledError(f"{' '.join(line)}: {error}") from error
