from __future__ import annotations

from pathlib import Path

from tuning.trackers.run_files import read_json, write_json


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "x.json", {"a": [1, None]})
    assert read_json(tmp_path / "new" / "x.json") == {"a": [1, None]}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.json"]


def test_a_file_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    assert read_json(tmp_path / "x.json") == {} == read_json(tmp_path / "none.json")
