"""vLLM's environment is made once, by one process at a time, and where it can't be made a person is told what to do."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from overspill_box.environments import faults, making
from overspill_box.environments.faults import MakingError
from overspill_box.environments.recipes import (
    VLLM_CPU,
    VLLM_GPU,
    Recipe,
    engines_folder,
    has_nvidia_gpu,
    vllm_recipe,
)

RECIPE = Recipe("thing", ("thing==1",), ("other; sys_platform == 'never'",), gigabytes=0.001)


class Tools(NamedTuple):
    """Programs that stand for the real ones."""

    folder: Path
    """Where they lie, the only folder of PATH."""

    def write(self, name: str, script: str) -> None:
        """A program that is a shell script."""
        program = self.folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def installer(self, script: str) -> None:
        """What stands for uv; it notes how it was called."""
        self.write("uv", f'echo "$@" >>{self.folder}/calls\n{script}')

    @property
    def calls(self) -> list[str]:
        """How uv was called."""
        calls = self.folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """An uv that has nothing to do, found first."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    made = Tools(folder)
    made.installer("exit 0")
    return made


def test_it_is_made_once(tools: Tools, tmp_path: Path) -> None:
    """With what it is made of; the second time nothing is installed, and what was half made is made anew."""
    half = RECIPE.folder(tmp_path) / "half"
    half.parent.mkdir(parents=True)
    half.touch()

    folder = making.made(RECIPE, tmp_path)
    again = making.made(RECIPE, tmp_path)

    assert folder == again == RECIPE.folder(tmp_path)
    assert (folder / "bin" / "python").exists()
    assert (folder / "overrides.txt").read_text() == "other; sys_platform == 'never'\n"
    assert len(tools.calls) == 1
    assert tools.calls[0].endswith("thing==1")
    assert not half.exists()


def test_whatever_comes_second_waits_for_the_first(tools: Tools, tmp_path: Path) -> None:
    """It says so, and takes what the other has made."""
    folder = RECIPE.folder(tmp_path)
    said: list[str] = []
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waits = threading.Event()

        def say(text: str) -> None:
            said.append(text)
            waits.set()

        second = threading.Thread(target=making.made, args=(RECIPE, tmp_path, say))
        second.start()
        assert waits.wait(10)
        folder.mkdir()
        (folder / making.MARKER).touch()
    second.join(10)

    assert said == ["another process makes it already, waiting for that"]
    assert tools.calls == []


def test_an_installer_whose_maker_was_killed_is_waited_for(tools: Tools, tmp_path: Path) -> None:
    """It has the lock too: two installers never write into one folder."""
    os.mkfifo(tmp_path / "go")
    os.mkfifo(tmp_path / "runs")
    tools.installer(f"echo >{tmp_path}/runs; read line <{tmp_path}/go")
    code = (
        "from pathlib import Path; from unit.box.test_environments import RECIPE;"
        f" from overspill_box.environments import making; making.made(RECIPE, Path({str(tmp_path)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": ":".join(sys.path)}) as maker:
        (tmp_path / "runs").read_text()
        maker.kill()
    with RECIPE.folder(tmp_path).with_suffix(".lock").open("w") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (tmp_path / "go").write_text("\n")
        fcntl.flock(lock, fcntl.LOCK_EX)


def test_what_is_set_for_the_installer_reaches_it(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of one's own, also where it is written for pip, and where torch shall come from."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example")
    monkeypatch.setenv("UV_TORCH_BACKEND", "cpu")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    tools.installer(f'echo "$UV_DEFAULT_INDEX $UV_TORCH_BACKEND" >{tmp_path}/seen')

    making.made(Recipe("thing", ("thing==1",), gigabytes=0.001), tmp_path)

    assert (tmp_path / "seen").read_text() == "https://mirror.example cpu\n"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("error: failed to write: No space left on device (os error 28)", "The disk is full.*XDG_CACHE_HOME"),
        ("x Failed to fetch: `https://x/`\n╰─▶ dns error: no such host", "index can't be reached.*HTTPS_PROXY"),
        ("x No solution found when resolving:\n╰─▶ no wheels with a matching tag", "no package of it for Python 3"),
        ("error: something odd", "The installer says: error: something odd"),
    ],
)
def test_an_installers_complaint_is_one_sentence_with_the_way_out(
    said: str, told: str, tools: Tools, tmp_path: Path
) -> None:
    """And the next try begins anew."""
    tools.installer(f"cat >&2 <<'END'\n{said}\nEND\nexit 2")

    with pytest.raises(MakingError, match=f"(?s){told}.*--vllm PATH") as caught:
        making.made(RECIPE, tmp_path)
    tools.installer("exit 0")

    assert "\n" not in str(caught.value)
    assert making.made(RECIPE, tmp_path).exists()


def test_too_little_room_is_said_before_anything_is_fetched(tools: Tools, tmp_path: Path) -> None:
    """How much is needed, how much there is, and what to do."""
    with pytest.raises(MakingError, match=r"1000000 GB are needed in .* GB are free\. Make room, set XDG_CACHE_HOME"):
        making.made(Recipe("large", ("large==1",), gigabytes=1e6), tmp_path)

    assert tools.calls == []


def test_a_missing_library_is_named_with_its_package(tools: Tools, tmp_path: Path) -> None:
    """vLLM would otherwise end with an ImportError a minute later."""
    with pytest.raises(MakingError, match=r"needs libnone\.so\.1.*apt-get install libnone\.so\.1"):
        making.made(Recipe("thing", ("thing==1",), gigabytes=0, libraries=("libnone.so.1",)), tmp_path)

    assert "libnuma1" in faults.no_library(("libnuma.so.1",))
    assert tools.calls == []


def test_another_system_is_told_of_other_engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no vLLM for it to install."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(MakingError, match="llama-server"):
        making.made(RECIPE, tmp_path)


def test_a_cache_that_can_not_be_written_is_a_sentence_too(tmp_path: Path) -> None:
    """Its place is a file, for instance."""
    (tmp_path / "file").touch()
    with pytest.raises(MakingError, match="XDG_CACHE_HOME"):
        making.made(RECIPE, tmp_path / "file")

    assert "The disk is full" in faults.from_error(OSError(errno.ENOSPC, "no space"), 1, "folder")


def test_a_gpu_is_one_that_the_driver_names(tools: Tools) -> None:
    """A driver without a GPU, and no driver, are a machine without one."""
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    path = {"PATH": str(tools.folder)}

    assert not has_nvidia_gpu(path)
    tools.write("nvidia-smi", "echo 'GPU 0: NVIDIA L4 (UUID: GPU-1)'")
    assert has_nvidia_gpu(path)
    assert vllm_recipe(path) is VLLM_GPU
    tools.write("nvidia-smi", "echo 'No devices were found'; exit 6")
    assert not has_nvidia_gpu(path)
    assert vllm_recipe(path) is VLLM_CPU


def test_the_cache_is_where_the_xdg_specification_says() -> None:
    """A relative path is invalid and passed over."""
    assert engines_folder({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/overspill/engines")
    assert engines_folder({"XDG_CACHE_HOME": "c", "HOME": "/h"}) == Path("/h/.cache/overspill/engines")


def test_it_can_be_made_before_anything_is_installed(tmp_path: Path, tools: Tools) -> None:
    """The module runs with the standard library alone, and ends with a sentence where it fails."""
    tools.write("nvidia-smi", "exit 1")
    tools.installer("echo 'error: something odd' >&2; exit 2")
    sources = Path(making.__file__).parents[2]
    python = shutil.which(Path(sys.executable).name, path=os.environ["PATH"]) or sys.executable

    done = subprocess.run(
        [python, "-S", "-m", "overspill_box.environments.making"],
        env={**os.environ, "PYTHONPATH": str(sources), "XDG_CACHE_HOME": str(tmp_path), "UV_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "--vllm PATH" in done.stderr
