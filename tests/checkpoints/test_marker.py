from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_checkpoints import ARCHIVES, SAFETENSORS, made

from tuning.checkpoints.marker import MARKER_FILE, why_torn

MiB = 1 << 20


@pytest.mark.parametrize("marked", [True, False])
def test_a_whole_checkpoint_is_not_torn(tmp_path: Path, marked: bool) -> None:
    assert why_torn(made(tmp_path, marked=marked)) is None


@pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json", *ARCHIVES])
@pytest.mark.parametrize("marked", [True, False])
def test_a_file_that_was_cut_tears_a_checkpoint(tmp_path: Path, name: str, marked: bool) -> None:
    folder = made(tmp_path, marked=marked)
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    assert name in str(why_torn(folder))


@pytest.mark.parametrize("name", ["model.safetensors", *ARCHIVES])
def test_a_file_that_the_marker_names_has_to_be_there(tmp_path: Path, name: str) -> None:
    folder = made(tmp_path)
    (folder / name).unlink()
    assert why_torn(folder) == f"{name} is missing"


def test_a_small_file_that_has_changed_tears_a_checkpoint(tmp_path: Path) -> None:
    folder = made(tmp_path)
    state = folder / "trainer_state.json"
    state.write_text(state.read_text().replace("3", "4"))
    assert why_torn(folder) == "trainer_state.json is not as it was written"


def test_a_large_file_is_known_by_its_size_alone(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder / MARKER_FILE).unlink()
    (folder / "large").write_bytes(bytes(MiB + 1))
    from tuning.checkpoints.marker import mark_whole

    mark_whole(folder)
    entries = json.loads((folder / MARKER_FILE).read_text())["files"]
    assert set(entries["large"]) == {"bytes"} and set(entries["scheduler.pt"]) == {"bytes", "sha256"}


@pytest.mark.parametrize("text", ["{", "[]", '{"files": 3}', '{"files": {"model.safetensors": null}}', "[" * 100_000])
def test_a_marker_that_says_nothing_tears_a_checkpoint(tmp_path: Path, text: str) -> None:
    folder = made(tmp_path)
    (folder / MARKER_FILE).write_text(text)
    assert why_torn(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname"])
def test_a_marker_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    folder = made(tmp_path)
    (tmp_path / "secret").write_text("x")
    (folder / MARKER_FILE).write_text(json.dumps({"files": {name: {"bytes": 1}}}))
    assert why_torn(folder) == f"{name} is missing"


def test_weights_have_to_be_there_and_each_shard_that_the_index_names(tmp_path: Path) -> None:
    folder = made(tmp_path, marked=False)
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    assert why_torn(folder) == "there are no weights in safetensors"
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert why_torn(folder) == "model-2.safetensors is missing"


@pytest.mark.parametrize("header", [(900).to_bytes(8, "little"), bytes([255] * 8), SAFETENSORS[:8] + b"[]", b"12"])
def test_weights_with_another_header_than_their_length_tear_a_checkpoint(tmp_path: Path, header: bytes) -> None:
    folder = made(tmp_path, marked=False)
    (folder / "model.safetensors").write_bytes(header)
    assert why_torn(folder) == "model.safetensors is cut short"


def test_a_folder_that_is_none_is_torn(tmp_path: Path) -> None:
    assert why_torn(tmp_path / "nowhere")
