"""The state directory: whose it is, and what is made once in it."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from overspill_box.app import state_directory
from overspill_box.app.state_directory import StateDirectory, StateError, default_folder


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HOME": "/home/me"}, "/home/me/.local/state/overspill"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": "/s"}, "/s/overspill"),
        (
            {"HOME": "/home/me", "XDG_STATE_HOME": "/s", "STATE_DIRECTORY": "/var/lib/overspill:/x"},
            "/var/lib/overspill",
        ),
    ],
)
def test_where_it_is_when_nobody_says(environment: dict[str, str], folder: str) -> None:
    """A service manager's, the user's."""
    assert default_folder(environment) == Path(folder)


def test_secrets_are_made_once(tmp_path: Path) -> None:
    """The pepper, and a key for each route, for this user alone."""
    state = StateDirectory(tmp_path / "s")
    state.make()
    pepper, key, other = state.pepper(), state.engine_key("ns/a"), state.engine_key("ns/b")

    again = StateDirectory(tmp_path / "s")
    assert (again.pepper(), again.engine_key("ns/a")) == (pepper, key)
    assert len({pepper.decode(), key, other}) == 3
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "s").rglob("*")} == {0}


def test_one_process_has_it(tmp_path: Path) -> None:
    """Another one is told who; once that has let go, it is free."""
    first, second = StateDirectory(tmp_path), StateDirectory(tmp_path)
    first.lock()

    with pytest.raises(StateError, match=r"another overspill serve \(pid \d+\) uses the state directory"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()


def test_a_full_disk_keeps_nobody_from_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines and budgets that are there go on; who has the lock can't be written down."""

    def full(_descriptor: int, _text: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    state = StateDirectory(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        state.lock()

    with pytest.raises(StateError, match=r"another overspill serve \(pid unknown\)"):
        StateDirectory(tmp_path).lock()
    state.unlock()


def test_what_can_not_be_made_is_said(tmp_path: Path) -> None:
    """With the way out."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StateError, match="name another one with --state"):
        StateDirectory(tmp_path / "file").make()


def test_what_is_kept_is_kept_whole(tmp_path: Path) -> None:
    """And what can't be read is nothing."""
    state = StateDirectory(tmp_path)
    state.write_json("x", {"a": 1})
    assert state.read_json("x") == {"a": 1}
    (tmp_path / "x.json").write_text('{"a":')
    assert state.read_json("x") == {}
    state.remove_json("x")
    assert state.read_json("x") == {}


@pytest.fixture
def everybody_writes() -> Iterator[None]:
    """A process whose files everybody may write unless it says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("everybody_writes")
def test_budgets_are_this_users_whatever_the_umask(tmp_path: Path) -> None:
    """Whoever could write into the ledger had no cap."""
    state = StateDirectory(tmp_path / "s")
    state.make()

    ledger = sqlite3.connect(state.ledger)
    ledger.execute("PRAGMA journal_mode=WAL")
    ledger.execute("CREATE TABLE t (x)")
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "s").rglob("*")} == {0}
    ledger.close()


@pytest.mark.parametrize("part", [".", "consumers", "keys"])
def test_a_folder_that_everybody_may_write_is_refused(tmp_path: Path, part: str) -> None:
    """Somebody else's Consumer in it would be a key to all routes."""
    state = StateDirectory(tmp_path / "s")
    state.make()
    (tmp_path / "s" / part).chmod(0o777)

    with pytest.raises(StateError, match=r"every user may write into .*chmod o-w"):
        state.make()


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one in /tmp that was there first."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    with pytest.raises(StateError, match="belongs to another user"):
        StateDirectory(tmp_path).make()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives a link away")
def test_a_link_of_another_user_is_refused(tmp_path: Path) -> None:
    """Who has made it may let it lead to a folder of his own later."""
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    StateDirectory(tmp_path / "link").make()

    os.lchown(tmp_path / "link", 65534, 65534)

    with pytest.raises(StateError, match="belongs to another user"):
        StateDirectory(tmp_path / "link").make()


def test_two_that_make_a_secret_at_once_have_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was hashed with a pepper which is lost at once would never work."""
    first, second = StateDirectory(tmp_path), StateDirectory(tmp_path)
    peppers: list[bytes] = []
    written_beside = state_directory.written_beside

    def others_first(path: Path, text: str) -> Path:
        monkeypatch.setattr(state_directory, "written_beside", written_beside)
        peppers.append(second.pepper())
        return written_beside(path, text)

    monkeypatch.setattr(state_directory, "written_beside", others_first)

    assert [first.pepper()] == peppers
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]


def test_a_user_without_a_home_has_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run as users whom the system does not know."""
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr(Path, "expanduser", _unknown)

    assert default_folder({}) == Path(f"/tmp/overspill-{os.geteuid()}")


def _unknown(_path: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")
