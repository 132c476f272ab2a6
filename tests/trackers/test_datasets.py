from __future__ import annotations

from tuning.trackers.backend import Dataset
from tuning.trackers.datasets import datasets_in
from tuning.trackers.params import flatten

TRAINING = {"path": "/d/a.jsonl", "sha256": "ab", "rows": 7, "columns": {"text": "string"}}


def test_each_mapping_with_a_path_and_a_digest_is_a_dataset() -> None:
    flat = flatten({"training": TRAINING, "validation": {**TRAINING, "sha256": "cd"}, "format": "text"}, "data")
    assert datasets_in(flat) == [
        Dataset("training", ("/d/a.jsonl",), "ab", 7, {"text": "string"}),
        Dataset("validation", ("/d/a.jsonl",), "cd", 7, {"text": "string"}),
    ]


def test_several_paths_come_back_and_the_files_of_a_dataset_are_none_themselves() -> None:
    files = [{"path": "/d/a.jsonl", "sha256": "ef"}, {"path": "/d/b.jsonl", "sha256": "gh"}]
    (dataset,) = datasets_in(flatten({"training": {**TRAINING, "path": ["/d", "/e"], "files": files}}, "data"))
    assert dataset.paths == ("/d", "/e") and dataset.title == "training"


def test_a_dataset_of_one_file_is_called_by_it() -> None:
    assert datasets_in(flatten({"training": TRAINING}, "data"))[0].title == "a.jsonl"


def test_what_has_no_digest_or_path_is_no_dataset() -> None:
    flat = flatten({"hub": {"path": "org/name"}, "odd": {"sha256": "ab"}}, "data")
    assert datasets_in(flat) == [] == datasets_in({"model.sha256": "ab", "model.path": "/m"})
