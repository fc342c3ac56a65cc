"""Files: all that is wrong at the start; later what was good stays until something better is there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from overspill_box.app.files import Files, FilesError

ROUTE = """\
---
apiVersion: overspill.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec: {{hosted: [{{name: o, baseURL: "https://x.test/v1", model: m}}]{more}}}
"""
SECRET = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: v}\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file whole, as editors do, with a time that no other one has."""
    times = iter(range(1_000, 2_000))

    def writing(text: str, name: str = "route.yaml") -> Path:
        path = tmp_path / name
        other = path.with_suffix(".new")
        other.write_text(text)
        os.utime(other, (when := next(times), when))
        other.replace(path)
        return path

    return writing


def route(name: str = "a", more: str = "") -> str:
    """A ModelRoute that only a hosted API serves."""
    return ROUTE.format(name=name, more=more)


def names(files: Files) -> list[str]:
    """Of the objects that are in force."""
    return [written.name for written in files.content.objects]


def test_a_folder_and_files_are_read(write: Write, tmp_path: Path) -> None:
    """Objects, in the namespace default where they name none, and Secrets; other files and kinds are passed over."""
    write(route("a") + SECRET)
    write(route("b"), "b.yml")
    write("nonsense", "notes.txt")
    files = Files([tmp_path])

    files.read()

    assert names(files) == ["b", "a"]
    assert {written.namespace for written in files.content.objects} == {"default"}
    assert files.content.secrets["default/s"].data == {"key": b"v"}


def test_all_mistakes_of_all_files_come_at_once(write: Write, tmp_path: Path) -> None:
    """Each with its file and line."""
    first = write(route("a", ", retries: {attempts: x}, more: 1"))
    second = write("kind: ModelRoute\n  bad: [", "b.yaml")
    third = write(route("c").replace("c}", "c}").replace("m}", "m}") + route("a"), "c.yaml")
    missing = tmp_path / "missing.yaml"

    with pytest.raises(FilesError) as raised:
        Files([first, second, third, missing]).read()

    lines = str(raised.value).splitlines()
    for beginning in (
        f"{missing}: there is no such file",
        f"{first}:5: ModelRoute default/a: spec.retries.attempts",
        f"{first}:5: ModelRoute default/a: spec.more",
        f"{second}:1: file: this is no YAML",
    ):
        assert any(line.startswith(beginning) for line in lines), beginning


def test_one_model_name_in_two_files_is_a_mistake(write: Write) -> None:
    """At the start, when somebody looks."""
    files = Files([write(route("a", ", model: same")), write(route("b", ", model: same"), "b.yaml")])

    with pytest.raises(FilesError, match=r"b\.yaml:5: .* is also that of ModelRoute default/a"):
        files.read()


def test_one_object_in_two_files_is_a_mistake(write: Write) -> None:
    """Nobody would know which one counts."""
    with pytest.raises(FilesError, match=r"ModelRoute default/a is also in"):
        Files([write(route("a")), write(route("a"), "b.yaml")]).read()


def test_files_without_a_route_are_a_mistake(write: Write) -> None:
    """Nothing could be served."""
    with pytest.raises(FilesError, match="no ModelRoute"):
        Files([write(SECRET)]).read()


def test_what_has_changed_is_taken_over_at_the_next_look(write: Write) -> None:
    """And what has not is no news."""
    files = Files([write(route("a"))])
    files.read()

    assert not files.look()
    write(route("a") + route("b"))
    assert files.look()
    assert names(files) == ["a", "b"]
    assert not files.look()


def test_a_wrong_file_leaves_what_was_in_force(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so once, and again only for another mistake."""
    files = Files([write(route("a"))])
    files.read()

    write(route("a", ", more: 1"))
    assert not files.look()
    assert not files.look()
    write("kind: [")
    assert not files.look()

    assert names(files) == ["a"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    write(route("b") + route("a"))
    assert files.look()


def test_a_file_that_holds_less_is_believed_at_the_second_look(write: Write) -> None:
    """An editor empties a file for a moment when it saves it."""
    files = Files([write(route("a") + route("b"))])
    files.read()

    write("")
    assert not files.look()
    write(route("a") + route("b"))
    assert not files.look()
    write(route("a"))
    assert not files.look()
    assert names(files) == ["a", "b"]
    assert files.look()
    assert names(files) == ["a"]


def test_a_file_that_is_gone_is_believed_at_the_second_look(write: Write, tmp_path: Path) -> None:
    """One that comes back meanwhile was only renamed."""
    path = write(route("a"))
    other = write(route("b"), "b.yaml")
    files = Files([path, other])
    files.read()

    path.rename(tmp_path / "moved")
    assert not files.look()
    (tmp_path / "moved").rename(path)
    assert not files.look()
    assert names(files) == ["a", "b"]

    path.unlink()
    assert not files.look()
    assert files.look()
    assert names(files) == ["b"]


def test_a_new_file_of_a_folder_is_read(write: Write, tmp_path: Path) -> None:
    """Such as a Consumer that a command has made; a folder of those need not hold anything."""
    path = write(route("a"))
    extra = tmp_path / "extra"
    files = Files([path], [extra])
    files.read()

    extra.mkdir()
    write(route("b"), "extra/b.yaml")

    assert files.look()
    assert names(files) == ["a", "b"]


def test_what_is_no_text_or_too_long_is_said(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    """And read again when it has changed."""
    path = write(route("a"))
    files = Files([path])
    files.read()

    path.write_bytes(b"\xff\xfe")
    assert not files.look()
    assert not files.look()
    assert "not UTF-8" in caplog.text
    assert names(files) == ["a"]


def test_a_file_that_is_being_written_is_taken_over_when_it_is_done(write: Write) -> None:
    """Half of a route may be a route without its budget."""
    whole = route("a", ", timeouts: {total: 5m}")
    path = write(whole)
    files = Files([path])
    files.read()
    before = files.content

    path.write_text(route("a"))
    assert not files.look()
    path.write_text(whole + "# and more\n")
    assert not files.look()
    assert files.content == before

    path.write_text(route("a", ", timeouts: {total: 6m}"))
    assert not files.look()
    assert files.look()
    assert files.content != before
    assert not files.look()


def test_a_pipe_among_the_files_holds_nothing_up(
    write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads it would wait for a writer for ever, and no file would be looked at again."""
    files = Files([write(route("a")), tmp_path])
    files.read()
    os.mkfifo(tmp_path / "pipe.yaml")

    assert not files.look()
    assert "it is no plain file" in caplog.text
    with pytest.raises(FilesError, match="it is no plain file"):
        Files([tmp_path]).read()
