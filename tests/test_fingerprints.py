from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tuning.config.sections import Data, Dataset, Model
from tuning.fingerprints import data_fingerprint, model_files, model_fingerprint, weights_fingerprint


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def training(*paths: Path) -> dict[str, Any]:
    return data_fingerprint(Data(training_data_path=[str(path) for path in paths]))["training"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "n": 1, "tags": []}\n\n  \n{"text": "b", "n": 2, "tags": []}')
    return path


def test_a_file_is_described_by_path_rows_bytes_digest_and_columns(rows: Path) -> None:
    assert training(rows) == {
        "path": str(rows),
        "num_files": 1,
        "rows": 2,
        "bytes": rows.stat().st_size,
        "sha256": sha256(rows),
        "columns": {"text": "string", "n": "long", "tags": "array"},
    }


def test_a_changed_byte_changes_the_digest(rows: Path) -> None:
    before = training(rows)
    rows.write_text(rows.read_text().replace("b", "c"))
    after = training(rows)
    assert before["bytes"] == after["bytes"] and before["sha256"] != after["sha256"]


def test_the_files_of_a_folder_are_described_one_by_one(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for name in "ba":
        (folder / f"{name}.jsonl").write_text(f'{{"text": "{name}"}}\n')
    described = training(folder)
    assert [Path(file["path"]).name for file in described["files"]] == ["a.jsonl", "b.jsonl"]
    assert described["rows"] == 2 and described["files"][0]["sha256"] == sha256(folder / "a.jsonl")
    digests = "\n".join(file["sha256"] for file in described["files"])
    assert described["sha256"] == hashlib.sha256(digests.encode()).hexdigest()


def test_every_container_is_counted_as_it_is_read(shared_data: Path) -> None:
    described = training(shared_data / "formats")
    assert {Path(file["path"]).suffix: file["rows"] for file in described["files"]} == dict.fromkeys(
        (".arrow", ".csv", ".json", ".jsonl", ".parquet"), 64
    )


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 18])
def test_lines_are_counted_wherever_the_pieces_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, ending: str
) -> None:
    monkeypatch.setattr("tuning.fingerprints._CHUNK_BYTES", chunk)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ending.join(['{"a": 1}', "", " ", '{"a": 2}', '  {"a": 3}', ""]).encode())
    assert training(path)["rows"] == 3


def test_a_dataset_of_the_hub_is_named(tmp_path: Path) -> None:
    data = Data(training_data_path=["org/name"])
    assert data_fingerprint(data) == {"training": {"path": "org/name", "source": "hub"}}


def test_held_out_files_are_described_too(rows: Path) -> None:
    data = Data(training_data_path=[str(rows)], validation_data_path=[str(rows)])
    assert data_fingerprint(data)["validation"]["sha256"] == sha256(rows)


def test_of_a_folder_the_files_of_the_split_alone_are_described(tmp_path: Path) -> None:
    for name, text in (("train", '{"text": "a"}\n' * 5), ("test", '{"text": "b"}\n')):
        (tmp_path / f"{name}.jsonl").write_text(text)
    whole = Data(training_data_path=[str(tmp_path)], dataset_split="train")
    listed = Data(datasets=[Dataset(data_paths=[str(tmp_path)], dataset_split="test")], dataset_split="train")
    found = [data_fingerprint(data)["training"] for data in (whole, listed)]
    assert [(one["rows"], one["num_files"]) for one in found] == [(5, 1), (1, 1)]


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder as `save_pretrained` leaves it, with 2 x 3 + 4 numbers in two files of weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for name, shape in (("a", [2, 3]), ("b", [4])):
        tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        header = json.dumps({"__metadata__": {"format": "pt"}, "w": tensor}).encode()
        (folder / f"model-{name}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def test_a_model_is_described_by_its_files_and_its_parameters(model_folder: Path) -> None:
    described = model_fingerprint(Model(model_name_or_path=str(model_folder)))
    names = ("config.json", "model-a.safetensors", "model-b.safetensors")
    digests = "\n".join(sha256(model_folder / name) for name in names)
    assert described["sha256"] == hashlib.sha256(digests.encode()).hexdigest()
    assert (described["num_parameters"], described["num_files"]) == (10, 3)


def test_other_weights_are_another_model(model_folder: Path) -> None:
    model = Model(model_name_or_path=str(model_folder))
    before = model_fingerprint(model)["sha256"]
    with (model_folder / "model-b.safetensors").open("ab") as file:
        file.write(b"\0")
    assert model_fingerprint(model)["sha256"] != before


def test_a_model_from_scratch_is_its_configuration_alone(model_folder: Path) -> None:
    described = model_fingerprint(Model(model_name_or_path=str(model_folder), train_from_scratch=True))
    assert described["sha256"] == sha256(model_folder / "config.json") and "num_parameters" not in described


def test_tokenizer_and_chat_template_from_elsewhere_are_files_of_the_model(model_folder: Path, tmp_path: Path) -> None:
    (tokenizer := tmp_path / "tokenizer").mkdir()
    (tokenizer / "tokenizer.json").write_text("{}")
    (template := tmp_path / "chat.jinja").write_text("{{ messages }}")
    model = Model(model_name_or_path=str(model_folder), tokenizer_name_or_path=str(tokenizer))
    files = model_files(model.model_copy(update={"chat_template_path": str(template)}))
    assert {str(tokenizer / "tokenizer.json"), str(template), "model-a.safetensors"} <= set(files)
    assert files["model-a.safetensors"]["sha256"] == sha256(model_folder / "model-a.safetensors")


def test_files_that_are_known_are_not_read_again(model_folder: Path) -> None:
    model = Model(model_name_or_path=str(model_folder))
    files = model_files(model)
    assert model_fingerprint(model, files) == model_fingerprint(model)


def test_saved_weights_have_one_digest_and_one_for_each_file(model_folder: Path, tmp_path: Path) -> None:
    described = weights_fingerprint(model_folder)
    assert set(described["files"]) == {"model-a.safetensors", "model-b.safetensors"} and len(described["sha256"]) == 64
    assert weights_fingerprint(tmp_path / "absent")["sha256"] is None


def test_a_model_that_is_not_here_is_named(tmp_path: Path) -> None:
    model = Model(model_name_or_path="org/absent", cache_dir=str(tmp_path))
    assert model_fingerprint(model) == {"name": "org/absent"}


@pytest.mark.slow
def test_the_parameters_of_a_saved_model_are_all_counted(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    described = model_fingerprint(Model(model_name_or_path=str(tiny_model)))
    assert described["num_parameters"] == model.num_parameters()
