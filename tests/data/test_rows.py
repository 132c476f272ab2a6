from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuning.config.sections import Data, Dataset, Shares
from tuning.data.rows import load_rows, part_rows
from tuning.data.sources import Row
from tuning.errors import DataError


def write(path: Path, count: int, **extra: object) -> str:
    path.write_text(
        "".join(json.dumps({"prompt": f"p{n}", "completion": f"c{n}", **extra}) + "\n" for n in range(count))
    )
    return str(path)


def test_rows_are_split_by_fraction_without_overlap_and_the_same_for_a_seed(tmp_path: Path) -> None:
    data = Data(training_data_path=write(tmp_path / "a.jsonl", 20), validation_fraction=0.25)
    rows = load_rows(data, seed=1)
    assert (len(rows.train), len(rows.validation)) == (15, 5)
    assert not [row for row in rows.validation if row in rows.train]
    assert load_rows(data, seed=1) == rows
    assert load_rows(data, seed=2) != rows


def test_held_out_rows_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.jsonl", 4), write(tmp_path / "b.jsonl", 2)
    rows = load_rows(Data(training_data_path=paths[0], validation_data_path=paths[1]), seed=1)
    assert (len(rows.train), len(rows.validation), rows.format) == (4, 2, "prompt_completion")


def test_unusable_rows_are_told_by_place_and_counted(tmp_path: Path) -> None:
    good = write(tmp_path / "a.jsonl", 2)
    Path(good).write_text(Path(good).read_text() + '{"prompt": "p", "completion": null}\n' * 7)
    with pytest.raises(DataError) as error:
        load_rows(Data(training_data_path=good), seed=1)
    lines = str(error.value).splitlines()
    assert lines[0] == "7 of 9 rows cannot be trained on; max_skipped_share allows 5%:"
    assert lines[1].endswith("a.jsonl row 3: column completion: expected text, got NoneType")
    assert lines[-1] == "… and 2 more"


def test_no_rows_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no rows"):
        load_rows(Data(training_data_path=write(tmp_path / "a.jsonl", 0)), seed=1)


def test_a_fraction_that_leaves_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leaves none of 1 rows"):
        load_rows(Data(training_data_path=write(tmp_path / "a.jsonl", 1), validation_fraction=0.5), seed=1)


def test_a_few_unusable_rows_are_left_out_and_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", 99)
    Path(path).write_text('{"prompt": "p", "completion": null}\n' + Path(path).read_text())
    rows = load_rows(Data(training_data_path=path), seed=1)
    (skipped,) = rows.skipped
    assert (len(rows.train), rows.num_read) == (99, 100)
    assert (skipped.place, skipped.reason) == (f"{path} row 1", "column completion: expected text, got NoneType")
    with pytest.raises(DataError, match="1 of 100 rows cannot be trained on; max_skipped_share allows 0%"):
        load_rows(Data(training_data_path=path, max_skipped_share=0), seed=1)


def test_a_run_without_a_usable_row_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "p", "completion": null}\n' * 3)
    with pytest.raises(DataError, match="3 of 3 rows cannot be trained on"):
        load_rows(Data(training_data_path=[str(path)], max_skipped_share=1), seed=1)


def mixture(folder: Path, **data: object) -> Data:
    datasets = [
        {"data_paths": write(folder / "a.jsonl", 4000), "sampling": 0.25, "name": "a"},
        {"data_paths": write(folder / "b.jsonl", 9000), "sampling": 0.75, "name": "b"},
    ]
    return Data.model_validate({"datasets": datasets, "sampling_stopping_strategy": "first_exhausted", **data})


def test_a_mixture_has_its_shares_and_the_same_order_for_a_seed(tmp_path: Path) -> None:
    """A resumed run reads its rows again, so it goes on in the order that it had."""
    data = mixture(tmp_path)
    rows = load_rows(data, seed=5)
    first = [row.place.rpartition("/")[2][0] for row in rows.train[:10_000]]
    assert len(first) == 10_000
    assert first.count("a") / len(first) == pytest.approx(0.25, abs=0.01)
    assert load_rows(data, seed=5).train == rows.train
    assert load_rows(data, seed=6).train != rows.train


def test_the_seed_of_a_mixture_is_its_own_where_it_has_one(tmp_path: Path) -> None:
    data = mixture(tmp_path, sampling_seed=9)
    assert load_rows(data, seed=5).train == load_rows(data, seed=6).train


def test_each_dataset_is_read_by_its_own_settings_or_else_by_those_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "1 + 1", "a": "2"}\n')
    datasets = [
        Dataset(data_paths=[str(path)], data_formatter_template="Q: {{q}} A: {{a}}", response_template=" A:"),
        Dataset(data_paths=[str(path)]),
        Dataset(
            data_paths=[str(path)], rename_columns={"q": "prompt", "a": "completion"}, data_format="prompt_completion"
        ),
    ]
    rows = load_rows(Data(datasets=datasets, dataset_text_field="a"), seed=1)
    assert [row.values for row in rows.train] == [
        {"prompt": "Q: 1 + 1 A:", "completion": " 2"},
        {"text": "2"},
        {"prompt": "1 + 1", "completion": "2"},
    ]
    assert rows.format == "text, prompt_completion"


def test_a_fraction_is_held_out_of_every_dataset_without_shares_of_its_own(tmp_path: Path) -> None:
    datasets = [
        Dataset(data_paths=[write(tmp_path / "a.jsonl", 10)]),
        Dataset(data_paths=[write(tmp_path / "b.jsonl", 10)], split=Shares(train=0.5)),
    ]
    rows = load_rows(Data(datasets=datasets, validation_fraction=0.2), seed=1)
    assert (len(rows.train), len(rows.validation), rows.num_read) == (8 + 5, 2, 20)


@pytest.mark.parametrize(
    ("split", "counts"),
    [
        (None, (10, 0)),
        (Shares(train=0.8, validation=0.2), (8, 2)),
        (Shares(train=0.6, validation=0.25), (6, 3)),
        (Shares(validation=1), (0, 10)),
        (Shares(train=1), (10, 0)),
    ],
)
def test_rows_are_parted_by_shares(split: Shares | None, counts: tuple[int, int]) -> None:
    rows = [Row(str(number), {}) for number in range(10)]
    train, validation = part_rows(rows, split, seed=3)
    assert (len(train), len(validation)) == counts
    assert not {row.place for row in train} & {row.place for row in validation}
    assert train == sorted(train, key=lambda row: int(row.place))


def test_the_last_rows_are_held_out_where_they_are_not_drawn() -> None:
    rows = [Row(str(number), {}) for number in range(4)]
    assert part_rows(rows, Shares(train=0.5, validation=0.25), seed=3, shuffle=False) == (rows[:2], rows[3:])


def test_a_row_without_the_separator_ends_the_run_however_few_there_are(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"ask {number} [sep] answer"}) for number in range(200)]
    lines[120] = json.dumps({"text": "ask without an answer"})
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"1 of 200 rows .*\n.*rows.jsonl row 121: label_separator '\[sep\]' does not"):
        load_rows(Data(training_data_path=[str(file)], label_separator="[sep]"), seed=0)
