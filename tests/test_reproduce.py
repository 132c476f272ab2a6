from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuning.cli import main as tune
from tuning.config.ir import IR
from tuning.config.sections import Data, Model
from tuning.manifest import create_manifest, described_data, described_model
from tuning.manifest_differences import different_places, different_results
from tuning.trackers.environment import environment

ROWS = [{"prompt": f"Say {number}: ", "completion": str(number)} for number in range(24)]


def write_rows(file: Path, rows: list[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def model(tiny_config_only_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_config_only_model, tmp_path / "model")


@pytest.fixture
def recorded(model: Path, tmp_path: Path) -> Path:
    """Record a finished run over relative paths, without training it; returns its folder."""
    write_rows(tmp_path / "rows.jsonl", ROWS)
    values = {
        "model": {"model_name_or_path": "model", "train_from_scratch": True},
        "data": {"training_data_path": ["rows.jsonl"]},
        "training": {"output_dir": "first", "push_to_hub": True, "hub_token": "[redacted]"},
    }
    folder = tmp_path / "first"
    folder.mkdir()
    manifest = create_manifest(folder, IR.of(values, "file run.json"), resumed=False)
    manifest.add("environment", environment(folder=tmp_path))
    described_data(Data(training_data_path=[str(tmp_path / "rows.jsonl")]), manifest)
    described_model(Model(model_name_or_path=str(model), train_from_scratch=True), manifest)
    manifest.complete("finished", None)
    return folder


@pytest.fixture
def refused(recorded: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Reproduce the recorded run, which is refused; returns what is said, and checks that nothing was written."""

    def refused() -> str:
        assert tune(["reproduce", str(recorded)]) == 1
        assert sorted(path.name for path in recorded.parent.iterdir() if "reproduced" in path.name) == []
        return capsys.readouterr().err

    return refused


def test_a_run_whose_data_and_model_are_there_can_be_reproduced(recorded: Path, capsys: Any) -> None:
    assert tune(["reproduce", str(recorded), "--check"]) == 0
    assert "can be reproduced" in capsys.readouterr().out


def test_a_changed_row_is_refused_by_name(recorded: Path, refused: Callable[[], str]) -> None:
    rows = [*ROWS[:4], {"prompt": "Say <four>: ", "completion": "4"}, *ROWS[5:]]
    write_rows(recorded.parent / "rows.jsonl", rows)
    told = refused()
    assert 'row 5 changed; it now reads {"prompt": "Say <four>: ", "completion": "4"}' in told
    assert "24 rows" in told and "rows.jsonl" in told and "Traceback" not in told


def test_rows_that_are_gone_are_refused_by_number(recorded: Path, refused: Callable[[], str]) -> None:
    write_rows(recorded.parent / "rows.jsonl", ROWS[:20])
    assert "rows 21 to 24 are gone" in refused()


def test_a_file_that_is_gone_is_refused_with_what_it_was(recorded: Path, refused: Callable[[], str]) -> None:
    (recorded.parent / "rows.jsonl").unlink()
    assert "rows.jsonl is gone (it had 24 rows" in refused()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_changed_model_or_tokenizer_is_refused(
    name: str, recorded: Path, model: Path, refused: Callable[[], str]
) -> None:
    (model / name).write_text((model / name).read_text() + " ")
    told = refused()
    assert f"model: {name}: " in told and " -> " in told


def test_a_model_that_is_gone_is_refused(recorded: Path, model: Path, refused: Callable[[], str]) -> None:
    shutil.rmtree(model)
    assert "model: config.json: " in refused()


def test_a_manifest_without_fingerprints_is_refused(recorded: Path, refused: Callable[[], str]) -> None:
    file = recorded / "manifest.json"
    content = json.loads(file.read_text())
    del content["data"], content["row_digests"]
    file.write_text(json.dumps(content))
    assert "data: the manifest has no fingerprint of it" in refused()


def test_a_folder_in_use_is_not_overwritten(recorded: Path, capsys: Any) -> None:
    assert tune(["reproduce", str(recorded), "--output-dir", str(recorded)]) == 1
    assert "exists and is not empty" in capsys.readouterr().err


def test_a_run_that_did_not_finish_is_told(recorded: Path, capsys: Any) -> None:
    file = recorded / "manifest.json"
    file.write_text(file.read_text().replace('"state": "finished"', '"state": "failed"'))
    assert tune(["reproduce", str(file), "--check"]) == 0
    assert "did not finish (state: failed)" in capsys.readouterr().err


def test_other_versions_and_another_machine_are_warnings(recorded: Path, capsys: Any) -> None:
    file = recorded / "manifest.json"
    content = json.loads(file.read_text())
    content["environment"]["packages"] |= {"torch": "0.1", "gone-package": "3"}
    content["environment"]["hardware"]["cpu_threads"] = 1024
    file.write_text(json.dumps(content))
    assert tune(["reproduce", str(recorded), "--check"]) == 0
    told = capsys.readouterr().err
    assert "warning: torch: 0.1 -> " in told and "warning: gone-package: 3 -> not installed" in told
    assert "warning: hardware cpu_threads: 1024 -> " in told


def test_the_place_of_the_record_itself_is_no_difference(recorded: Path) -> None:
    assert different_places(json.loads((recorded / "manifest.json").read_text())) == []


def test_results_that_differ_stand_side_by_side_and_times_are_left_out() -> None:
    before, after = ({"results": {"loss": loss, "same": 1, "train_runtime": loss}} for loss in (0.5, 0.6))
    assert different_results(before, after) == ["results: 1 of 2 the same", "loss: 0.5 -> 0.6"]


def test_reproducing_and_reporting_need_no_torch(recorded: Path) -> None:
    code = (
        "import sys; from tuning.cli import main; import tuning.report.comparison, tuning.report.cli\n"
        f"assert main(['reproduce', {str(recorded)!r}, '--check']) == 0\n"
        "sys.exit(str({'torch', 'transformers', 'trl'} & set(sys.modules)) if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("method", ["none", "lora"])
def test_a_run_on_a_cpu_gives_the_same_weights_again(method: str, tiny_model: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    settings = {"model_name_or_path": str(tiny_model), "training_data_path": "rows.jsonl", "output_dir": "first"}
    settings |= {"peft_method": method, "max_steps": 6, "use_cpu": True, "validation_fraction": 0.25}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    trained = run("tuning.sft_trainer", "run.json", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    # From another folder, with another number of threads, and a configuration that has changed since.
    (tmp_path / "run.json").write_text("{}")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    again = run("tuning.cli", "reproduce", "../first", "--output-dir", "../again", cwd=elsewhere)
    assert again.returncode == 0, again.stderr
    first, second = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("first", "again"))
    assert first["weights"]["sha256"] == second["weights"]["sha256"] is not None
    assert f"weights: identical (SHA-256 {first['weights']['sha256']})" in again.stdout


@pytest.mark.slow
def test_other_weights_are_told_and_end_with_2(tiny_model: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    words = [f"model_name_or_path={tiny_model}", "training_data_path=rows.jsonl", "output_dir=first", "max_steps=4"]
    assert run("tuning.sft_trainer", *words, "use_cpu=true", cwd=tmp_path).returncode == 0
    file = tmp_path / "first" / "manifest.json"
    content = json.loads(file.read_text())
    content["config"]["values"]["training"]["learning_rate"] *= 2
    file.write_text(json.dumps(content))
    again = run("tuning.cli", "reproduce", "first", "--output-dir", "again", cwd=tmp_path)
    assert again.returncode == 2, again.stderr
    assert "weights: other ones" in again.stdout and "train_loss: " in again.stdout


def run(module: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=cwd, env={**os.environ}, capture_output=True, text=True, timeout=300)
