"""``overspill keys --local``: Consumers as files that ``overspill serve`` reads."""

from pathlib import Path

import pytest

from overspill_api.keys import key_hash
from overspill_box.app.files import Files
from overspill_box.app.state_directory import StateDirectory
from overspill_cli import main

ROUTE = """\
apiVersion: overspill.dev/v1alpha1
kind: ModelRoute
metadata: {name: a}
spec: {hosted: [{name: o, baseURL: "https://x.test/v1", model: m}]}
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, and what was printed to standard output and error."""
    code = main.main(["keys", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_key_is_made_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its hash, under this machine's pepper, stands in a Consumer's file that serve takes; the key itself nowhere."""
    (tmp_path / "route.yaml").write_text(ROUTE)
    local = ["--local", "--state", str(tmp_path / "state")]

    code, key, said = run(capsys, "create", "me", "--route", "a", *local)
    assert code == 0
    assert "Created Consumer me in namespace default" in said

    state = StateDirectory(tmp_path / "state")
    files = Files([tmp_path / "route.yaml"], [state.consumers])
    files.read()
    [consumer] = [written for written in files.content.objects if written.kind == "Consumer"]
    [entry] = consumer.spec["keys"]
    assert entry["hash"] == key_hash(state.pepper(), key.strip())
    assert consumer.spec["routes"] == [{"name": "a"}]
    assert not any(key.strip() in path.read_text() for path in state.consumers.iterdir())

    assert entry["id"] in run(capsys, "list", *local)[1]
    assert run(capsys, "revoke", "me", entry["id"], *local)[0] == 0
    assert files.look() or files.look()
    [consumer] = [written for written in files.content.objects if written.kind == "Consumer"]
    assert consumer.spec["keys"] == []


def test_files_belong_to_their_user_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever could write a Consumer could let himself in."""
    run(capsys, "create", "me", "--state", str(tmp_path / "state"))

    modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "state").rglob("*")}
    assert modes
    assert set(modes.values()) == {0}


def test_what_is_no_consumer_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And mended by whoever wrote it; one that is not there is said as well."""
    state = StateDirectory(tmp_path)
    state.make()
    assert "there is no Consumer me" in run(capsys, "revoke", "me", "x", "--state", str(tmp_path))[2]
    (state.consumers / "default.me.yaml").write_text("- 1")

    code, _, said = run(capsys, "list", "--state", str(tmp_path))

    assert code == 1
    assert "default.me.yaml is no Consumer" in said
