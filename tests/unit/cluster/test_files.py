"""Files that neither a second process nor a power cut spoils."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster import files


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """A failed write leaves the old content and nothing beside it."""
    path = tmp_path / "a"
    files.write_whole(path, "old", mode=0o600)
    with pytest.raises(TypeError):
        files.write_whole(path, 5)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_can_be_pointed_elsewhere(tmp_path: Path) -> None:
    """Also when it points at nothing any more."""
    link = tmp_path / "bin" / "a"
    files.link_whole(link, tmp_path / "gone")
    files.link_whole(link, tmp_path)
    assert link.resolve() == tmp_path


def test_a_lock_goes_with_its_holder(tmp_path: Path) -> None:
    """Given a holder that is killed, then the next one gets the lock."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(Path(files.__file__).parent.parent)!r})\n"
        f"from pathlib import Path; from cluster.files import exclusive\n"
        f"with exclusive(Path({str(tmp_path / 'lock')!r})): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    with files.exclusive(tmp_path / "lock"):
        pass


def test_a_folder_that_a_power_cut_caught_is_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a change under way, when the machine starts again, then the folder goes.

    A killed process alone spoils nothing: the kernel still has what it wrote.
    """
    boot, folder = tmp_path / "boot_id", tmp_path / "store"
    monkeypatch.setattr(files, "BOOT_ID", boot)
    boot.write_text("first")
    folder.mkdir()
    change = files.surviving_power_cuts(folder)
    change.__enter__()
    files.discard_if_cut_off(folder)
    assert folder.exists()
    boot.write_text("second")
    files.discard_if_cut_off(folder)
    assert not folder.exists()
    assert change.__exit__(None, None, None) is False


def test_a_finished_change_leaves_no_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a change that ended, also in an error, then a restart keeps the folder."""
    boot, folder = tmp_path / "boot_id", tmp_path / "store"
    monkeypatch.setattr(files, "BOOT_ID", boot)
    boot.write_text("first")
    folder.mkdir()
    with pytest.raises(ZeroDivisionError), files.surviving_power_cuts(folder):
        raise ZeroDivisionError
    boot.write_text("second")
    files.discard_if_cut_off(folder)
    assert folder.exists()
