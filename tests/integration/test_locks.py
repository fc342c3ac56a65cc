"""Every lock file is one that pip alone can install: people's machines, images and CI may have no uv."""

import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted([*(ROOT / "requirements").glob("*.txt"), *(ROOT / "bench/gateway/requirements").glob("*.txt")])


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip and nothing else."""
    folder = tmp_path_factory.mktemp("pip")
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_pip_alone_takes_the_lock(lock: Path, python: Path) -> None:
    """It resolves to what is pinned, hash by hash, and asks for nothing that is not."""
    line = [str(python), "-m", "pip", "install", "--dry-run", "--quiet", "--require-hashes", "--requirement", str(lock)]
    ran = subprocess.run([*line, "--only-binary", ":all:"], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr[-2000:]
