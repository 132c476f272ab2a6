from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from made_tokenizers import encoding_of

from tuning.config.sections import Data, Dataset
from tuning.data import prepared as prepared_module
from tuning.data.prepared import SUMMARY_FILE, Encodings, Prepared, PreparedRows
from tuning.data.prepared_key import LOCKS, lock_file, prepared_path
from tuning.data.skipped_rows import SKIPPED_FILE, write_skipped
from tuning.data.sources import Skipped
from tuning.errors import DataError, UserError

NUM_ROWS = 20


@pytest.fixture
def data(tmp_path: Path) -> Data:
    rows = [{"prompt": f"{number} +", "completion": "1"} for number in range(NUM_ROWS)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    kept = str(tmp_path / "kept")
    return Data(training_data_path=str(file), validation_fraction=0.2, dataset_prepared_path=kept)  # pyright: ignore


@pytest.fixture(scope="module")
def encodings() -> Encodings:
    return Encodings(encoding_of("byte_level"), encoding_of("byte_level", max_length=8))


def prepare(data: Data, encodings: Encodings, seed: int = 1) -> Prepared:
    kept = PreparedRows(data, seed)
    return kept.prepare(encodings, rows=kept.load_new_rows())


def changed(data: Data, **fields: Any) -> Data:
    return data.model_copy(update=fields)


def test_rows_are_tokenized_once_and_then_taken_up_without_being_read(
    data: Data, encodings: Encodings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepare(data, encodings)
    monkeypatch.setattr(prepared_module, "load_rows", None)
    found = prepare(data, encodings)
    assert (made.is_new, found.is_new, found.folder) == (True, False, made.folder)
    assert (found.num_rows("train"), found.num_rows("validation"), found.num_read) == (16, 4, NUM_ROWS)
    assert found.tables["train"].table.equals(made.tables["train"].table)
    assert list(found.tables["train"].places) == list(made.tables["train"].places)
    assert [row.place for row in found.held_out_rows()] == list(found.tables["validation"].places)
    assert found.format == "prompt_completion" and not found.is_chat


def test_what_changes_the_tokens_makes_them_anew(data: Data, encodings: Encodings) -> None:
    first = prepare(data, encodings).folder
    shorter = Encodings(encoding_of("byte_level", max_length=5), encodings.validation)
    others = [prepare(data, encodings, seed=2), prepare(changed(data, validation_fraction=0.5), encodings)]
    others.append(prepare(data, shorter))
    file = Path((data.training_data_path or [""])[0])
    os.utime(file, ns=(0, 0))
    others.append(prepare(data, encodings))
    assert all(other.is_new for other in others)
    assert len({first, *(other.folder for other in others)}) == 5


def test_how_the_audit_goes_changes_no_token(data: Data, encodings: Encodings) -> None:
    prepare(data, encodings)
    assert not prepare(changed(data, audit="fail"), encodings).is_new


@pytest.mark.parametrize("damage", ["cut", "gone", "not JSON", "bytes", "files"])
def test_a_damaged_folder_is_made_anew(
    data: Data, encodings: Encodings, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = prepare(data, encodings).folder
    (shard,) = folder.glob("train-*.arrow")
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-20])
    elif damage == "gone":
        shard.unlink()
    elif damage == "not JSON":
        (folder / SUMMARY_FILE).write_text("{")
    else:
        summary = json.loads((folder / SUMMARY_FILE).read_text())
        (folder / SUMMARY_FILE).write_text(json.dumps({**summary, damage: []}))
    found = prepare(data, encodings)
    assert found.is_new and found.num_rows("train") == 16 and "tokenized anew" in caplog.text


def test_of_several_at_once_one_tokenizes_and_the_others_wait(data: Data, encodings: Encodings) -> None:
    found: list[Prepared] = []
    workers = [threading.Thread(target=lambda: found.append(prepare(data, encodings))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(one.is_new for one in found) == [False, False, False, True]


def test_nothing_is_left_behind_when_the_rows_are_refused(data: Data, encodings: Encodings, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"input_ids": [5, 100000]}\n{"input_ids": [5]}')
    with pytest.raises(DataError, match=r"row 1: column input_ids: 100000 is no id"):
        prepare(changed(data, validation_fraction=None), encodings)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [LOCKS]


def test_what_a_killed_run_left_is_removed(data: Data, encodings: Encodings) -> None:
    folder = prepare(data, encodings).folder
    left = [folder.with_name(f"{name}.x.part") for name in (folder.name, "0123-4567", "89ab-cdef")]
    folder.rename(left[0])
    for other in left[1:]:
        other.mkdir()
    with FileLock(lock_file(folder.with_name("89ab-cdef"))):  # this one is being written
        assert prepare(data, encodings).is_new
    assert [path.exists() for path in left] == [False, False, True]


def test_rows_are_read_at_once_where_only_locks_and_unfinished_folders_are_kept(
    data: Data, encodings: Encodings
) -> None:
    folder = prepare(data, encodings).folder
    assert PreparedRows(data, 1).load_new_rows() is None
    folder.rename(folder.with_name(f"{folder.name}.x.part"))
    assert PreparedRows(data, 1).load_new_rows() is not None


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_mixture_with_conversations_is_chat_whichever_dataset_comes_first(
    data: Data, encodings: Encodings, tmp_path: Path, names: tuple[str, str]
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}')
    messages = [{"role": role, "content": "b"} for role in ("user", "assistant")]
    (tmp_path / "b.jsonl").write_text(json.dumps({"messages": messages}))
    datasets = [Dataset(data_paths=[str(tmp_path / f"{name}.jsonl")]) for name in names]
    assert prepare(
        changed(data, training_data_path=None, validation_fraction=None, datasets=datasets), encodings
    ).is_chat


def test_a_folder_that_cannot_be_written_is_told_in_one_message(data: Data, encodings: Encodings) -> None:
    file = (data.training_data_path or [""])[0]
    with pytest.raises(UserError, match=r"data\.dataset_prepared_path: cannot write"):
        prepare(changed(data, dataset_prepared_path=f"{file}/kept"), encodings)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HF_DATASETS_CACHE": "a", "HF_HOME": "b"}, "a/tuning"),
        ({"HF_HOME": "b"}, "b/datasets/tuning"),
        ({"XDG_CACHE_HOME": "c"}, "c/huggingface/datasets/tuning"),
    ],
)
def test_tokens_are_kept_beside_the_cache_of_datasets(
    environ: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_DATASETS_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert prepared_path(Data()) == Path(folder)


def test_skipped_rows_are_listed_and_an_old_list_is_removed(tmp_path: Path) -> None:
    write_skipped([Skipped("rows.jsonl row 3", "column output: is empty")], tmp_path)
    (line,) = (tmp_path / SKIPPED_FILE).read_text().splitlines()
    assert json.loads(line) == {"place": "rows.jsonl row 3", "reason": "column output: is empty"}
    write_skipped([], tmp_path)
    assert not (tmp_path / SKIPPED_FILE).exists()
