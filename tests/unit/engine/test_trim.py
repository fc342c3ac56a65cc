"""What is deleted from the engine's environment, and what must stay."""

import subprocess
from pathlib import Path

import pytest

from overspill_box.environments import trim


def write(path: Path, size: int = 10) -> Path:
    """A file of so many bytes, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_what_the_loader_names_stays_and_the_rest_of_cuda_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ldd`'s list decides, links to a needed file count as needed, and other packages are not touched."""
    write(tmp_path / "torch" / "_C.cpython.so")
    needed = write(tmp_path / "nvidia" / "nccl" / "libnccl.so.2.1")
    link = needed.with_name("libnccl.so.2")
    link.symlink_to(needed.name)
    opened_on_a_gpu = write(tmp_path / "nvidia" / "cudnn" / "libcudnn_adv.so.9", 100)
    triton = write(tmp_path / "triton" / "deep" / "libtriton.so", 1000)
    other = write(tmp_path / "numpy" / "libblas.so")
    told = (
        f"\tlinux-vdso.so.1 (0x7f)\n\tlibnccl.so.2 => {link} (0x7f)\n\tlibgone.so => not found\n\t/lib/ld.so (0x7f)\n"
    )
    ran = subprocess.CompletedProcess([], 0, stdout=told)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ran)

    free = trim.delete_unused(tmp_path)

    assert free == 1100
    assert needed.exists()
    assert link.exists()
    assert other.exists()
    assert not opened_on_a_gpu.exists()
    assert not triton.parent.parent.exists()


def test_torch_without_cuda_is_left_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch from PyTorch's CPU index there is no folder of CUDA libraries, and nothing fails for it."""
    kept = write(tmp_path / "torch" / "_C.cpython.so")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, stdout=""))

    assert trim.delete_unused(tmp_path) == 0
    assert kept.exists()
