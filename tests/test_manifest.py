from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.config.ir import IR
from tuning.config.sections import Data, Model
from tuning.errors import UserError
from tuning.manifest import Manifest, create_manifest, described_data, described_model, read_manifest, was_interrupted

SECRET = "hf_" + "A1b2C3d4E5f6G7h8I9"


@pytest.fixture
def document() -> IR:
    return IR.of({"training": {"seed": 7, "hub_token": SECRET}, "data": {"sampling_seed": 3}}, "command line")


@pytest.fixture
def manifest(document: IR, tmp_path: Path) -> Manifest:
    return create_manifest(tmp_path, document, resumed=False)


def content(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def test_the_beginning_is_written_at_once(manifest: Manifest, tmp_path: Path) -> None:
    written = content(tmp_path)
    assert written["state"] == "running" and written["attempts"][0]["argv"]
    assert written["seeds"] == {"seed": 7, "data_seed": None, "sampling_seed": 3}
    assert written["config"]["sources"]["training.seed"] == "command line"


def test_secrets_stay_out(manifest: Manifest, tmp_path: Path) -> None:
    manifest.add("environment", {"argv": ["--hub_token", SECRET]})
    manifest.complete("failed", f"no access with {SECRET}")
    assert SECRET not in (tmp_path / "manifest.json").read_text()
    assert content(tmp_path)["config"]["values"]["training"]["hub_token"] == "[redacted]"


def test_what_is_found_is_put_in_and_passed_on(manifest: Manifest, tmp_path: Path) -> None:
    assert manifest.keeping("answer", lambda: {"nan": float("nan")})() != {}
    assert content(tmp_path)["answer"] == {"nan": "NaN"}


def test_the_end_is_final(manifest: Manifest, tmp_path: Path) -> None:
    manifest.complete("finished", None)
    manifest.add("late", 1)
    written = content(tmp_path)
    assert (written["state"], written["attempts"][0]["state"]) == ("finished", "finished") and "late" not in written


def test_a_run_that_goes_on_keeps_its_attempts(manifest: Manifest, document: IR, tmp_path: Path) -> None:
    create_manifest(tmp_path, document, resumed=True).complete("finished", None)
    assert [attempt["state"] for attempt in content(tmp_path)["attempts"]] == ["killed", "finished"]


def test_a_new_run_in_the_same_folder_begins_anew(manifest: Manifest, document: IR, tmp_path: Path) -> None:
    create_manifest(tmp_path, document, resumed=False)
    assert len(content(tmp_path)["attempts"]) == 1


def test_other_ranks_write_nothing(document: IR, tmp_path: Path) -> None:
    create_manifest(tmp_path, document, resumed=False, enabled=False).complete("finished", None)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_a_warning(document: IR, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = create_manifest(tmp_path / "absent", document, resumed=False)
    manifest.complete("finished", None)
    assert "cannot be written" in caplog.text


def test_digests_of_rows_are_no_params(manifest: Manifest, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n')
    returned = described_data(Data(training_data_path=[str(rows)]), manifest)
    assert returned == content(tmp_path)["data"] and "rows_per_block" not in json.dumps(returned)
    assert content(tmp_path)["row_digests"][str(rows)]["rows_per_block"] == 1


def test_the_files_of_the_model_and_its_tokenizer_are_listed(
    manifest: Manifest, tiny_config_only_model: Path, tmp_path: Path
) -> None:
    model = Model(model_name_or_path=str(tiny_config_only_model), train_from_scratch=True)
    assert "files" not in described_model(model, manifest)
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} == set(content(tmp_path)["model"]["files"])


def test_a_manifest_is_found_by_its_folder(manifest: Manifest, tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == read_manifest(tmp_path / "manifest.json")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("{", "is no manifest"),
        ("[]", "is no manifest of a run"),
        ('{"version": 1, "config": {}}', "is no manifest of a run"),
        ('{"version": 9, "config": {"values": {}}}', "has the layout 9"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str | None, told: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=told):
        read_manifest(tmp_path)


@pytest.mark.parametrize(("state", "goes_on"), [("running", True), ("preempted", True), ("failed", False)])
def test_a_run_that_was_interrupted_is_known_by_its_state_and_its_document(
    manifest: Manifest, document: IR, tmp_path: Path, state: str, goes_on: bool
) -> None:
    if state != "running":
        manifest.complete(state, None)
    assert was_interrupted(tmp_path, document) is goes_on
    assert not was_interrupted(tmp_path, document.merge({"training": {"seed": 8}}, "command line"))


def test_a_folder_without_a_manifest_holds_no_interrupted_run(document: IR, tmp_path: Path) -> None:
    assert not was_interrupted(tmp_path, document)
