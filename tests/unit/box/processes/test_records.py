"""Names of files for engines, and records as files."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from overspill_box.processes.records import Record, file_name, forget_record, read_records, write_record

RECORD = Record(
    name="default/chat#0", port=20001, made_from="a", stop_seconds=60.0, started_unix=1.79e9, boot="b", guard_pid=10,
    guard_ticks=5, engine_pid=11, engine_ticks=None, token="01234567-0123456789abcdef",
)  # fmt: skip


@given(st.lists(st.text(max_size=300), unique=True, max_size=5))
def test_each_name_has_a_file_name_of_its_own(names: list[str]) -> None:
    """Safe in any folder, whatever is in the name; another one for each."""
    files = [file_name(name) for name in [*names, "a/b", "a#b", "a_b", "..", "../..", ""]]
    assert len(set(files)) == len({*names, "a/b", "a#b", "a_b", "..", "../..", ""})
    for file in files:
        assert file.isascii()
        assert file.isprintable()
        assert not set(file) & set("/\\ #")
        assert not file.startswith((".", "-"))
        assert len(file) < 100


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And is gone when it is forgotten, once or twice."""
    write_record(tmp_path, RECORD)
    write_record(tmp_path, RECORD.model_copy(update={"port": 20002}))
    assert read_records(tmp_path) == [RECORD.model_copy(update={"port": 20002})]
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]
    forget_record(tmp_path, RECORD.name)
    forget_record(tmp_path, RECORD.name)
    assert list(tmp_path.iterdir()) == []


def test_a_record_with_a_field_too_many_or_of_another_type_is_none(tmp_path: Path) -> None:
    """What was not written by this version may mean something else."""
    whole = json.loads(RECORD.model_dump_json())
    path = tmp_path / f"{file_name(RECORD.name)}.json"
    for change in ({"more": 1}, {"version": 2}, {"port": "20001"}, {"guard_pid": 1}, {"guard_pid": 0}, {"name": "b"}):
        path.write_text(json.dumps({**whole, **change}))
        assert read_records(tmp_path) == []
        assert not path.exists()
