"""What `clean` deletes, and when it does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster import lifecycle
from cluster.plan import MARK


def test_all_that_is_cached_goes(tmp_path: Path) -> None:
    """Binaries, images and whatever tests have put there; what lies beside the folder stays."""
    cache, other = tmp_path / "overspill", tmp_path / "other"
    for folder in (cache / "binaries" / "a", cache / "clusters" / "old" / "log", other):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 5000)

    assert lifecycle.clean(cache) >= 10_000
    assert not cache.exists()
    assert (other / "file").exists()


def test_nothing_goes_while_a_cluster_runs(tmp_path: Path) -> None:
    """Its processes are known by their mark, whoever started them."""
    state = tmp_path / "clusters" / "mine"
    state.mkdir(parents=True)
    script = "import sys; sys.stdin.read()"
    environment = {MARK: str(state)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE) as process:
        with pytest.raises(RuntimeError, match=r"cluster mine runs: .*down --name mine"):
            lifecycle.clean(tmp_path)
        assert process.stdin is not None
        process.stdin.close()

    assert state.exists()
