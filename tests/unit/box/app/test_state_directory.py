"""The state directory: whose it is, and what is made once in it."""

from pathlib import Path

import pytest

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
