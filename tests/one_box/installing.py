"""What `make try` needs, made side by side: `overspill` in an environment of its own, and vLLM in another."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from one_box.client import GaveUpError
from one_box.serving import CHECKOUT

SOURCES = ("api/src", "operator/src", "inference/src", "box/src", "cli/src")
REQUIREMENTS = CHECKOUT / "requirements" / "serve.txt"


def overspill(folder: Path) -> Path:
    """The program `overspill` in an environment with what `serve` needs, made if it is not there."""
    made_of = hashlib.sha256(REQUIREMENTS.read_bytes() + repr(sys.version_info).encode()).hexdigest()
    marker = folder / "made-from"
    program = folder / "bin" / "overspill"
    if not marker.exists() or marker.read_text() != made_of:
        shutil.rmtree(folder, ignore_errors=True)
        uv = shutil.which("uv")
        python = str(folder / "bin" / "python")
        requirements = ["--require-hashes", "--requirement", str(REQUIREMENTS)]
        if uv:
            _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
            _run(uv, "pip", "install", "--quiet", "--python", python, *requirements)
        else:
            _run(sys.executable, "-m", "venv", str(folder))
            _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
        # The checkout's own sources as they are: what building and installing a wheel of them would take longer for.
        packages = next((folder / "lib").glob("python3.*/site-packages"))
        (packages / "overspill.pth").write_text("".join(f"{CHECKOUT / source}\n" for source in SOURCES))
        program.write_text(
            f"#!{python}\nimport sys\nfrom overspill_cli.main import main\nsys.exit(main(sys.argv[1:]))\n"
        )
        program.chmod(0o755)
        marker.write_text(made_of)
    return program


class Vllm:
    """Its environment for CPUs, made in the background as `overspill serve` makes it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._said = say
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "box" / "src")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "overspill_box.environments.making", "cpu"],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._follow, name="vllm", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        began = time.monotonic()
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said(f"vLLM's environment, {time.monotonic() - began:.0f} s: {line.strip()}")

    def end(self) -> None:
        """Where it is still being made, it is not any more."""
        self._process.terminate()
        self._process.wait()


def _run(*command: str) -> None:
    # Where modules are not compiled for good, each start compiles them anew.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise GaveUpError(f"`{' '.join(command)}` ended with code {done.returncode}:\n{done.stderr[-2000:]}")


class InBackground:
    """One call in a thread; its result, or its error, is there when it is asked for."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._result: list[Any] = []
        self._error: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._error.append(error)

    def result(self) -> Any:
        """Wait for it."""
        self._thread.join()
        if self._error:
            raise self._error[0]
        return self._result[0]
