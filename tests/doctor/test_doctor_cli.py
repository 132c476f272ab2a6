from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.doctor.cli import asked_extras, main


@pytest.fixture
def run_file(tiny_config_only_model: Path, tmp_path: Path) -> Path:
    rows = [{"prompt": f"Say {number}: ", "completion": f"the number {number}"} for number in range(9, 29)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = {"model_name_or_path": str(tiny_config_only_model), "train_from_scratch": True}
    settings |= {"training_data_path": str(tmp_path / "rows.jsonl"), "output_dir": str(tmp_path / "out")}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    return tmp_path / "run.json"


def findings(text: str) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in json.loads(text)}


def test_the_machine_alone_is_looked_at_where_no_model_is_wanted(
    run_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_file), "--no-model", "--format", "json"]) == 0
    found = findings(capsys.readouterr().out)
    assert {"Python", "GPUs", "CPU", "memory", "Hub token", "fit", "disk"} <= found.keys()
    assert "masks" not in found
    assert not (run_file.parent / "out").exists()


def test_what_is_wrong_with_a_configuration_is_one_of_the_findings(
    run_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_file), "learning_rate=fast", "sed=1"]) == 1
    shown = capsys.readouterr().out
    assert "training.learning_rate: got 'fast'" in shown and "Did you mean 'seed'" in shown
    assert "Python" in shown and "Traceback" not in shown


def test_a_step_that_does_not_fit_is_a_fault(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run_file), "ram_gib=0.001", "gpus=0", "--no-model"]) == 1
    assert "`tune plan` says by how much" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "extras"),
    [
        ({}, [""]),
        ({"trackers": ["aim", "mlflow"]}, ["aim", "mlflow"]),
        ({"load_in_4bit": True, "peft_method": "lora"}, ["quantization"]),
    ],
)
def test_a_configuration_asks_for_the_extras_of_what_it_uses(
    tmp_path: Path, settings: dict[str, Any], extras: list[str]
) -> None:
    required = {"model_name_or_path": "m", "training_data_path": "d", "output_dir": str(tmp_path)}
    assert asked_extras(build_config(load_mapping({**required, **settings}).ir)) == extras


def test_a_format_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--format", "xml"]) == 1
    assert "--format: expected table or json; got 'xml'" in capsys.readouterr().err


def test_help_tells_the_flags_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "--no-model" in shown and "Exit codes: 0" in shown


def test_help_imports_neither_torch_nor_transformers() -> None:
    seen = "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    code = f"import sys\nfrom tuning.doctor.cli import main\nmain(['--help'])\n{seen}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_the_command_measures_a_model_and_leaves_nothing_behind(run_file: Path) -> None:
    command = [sys.executable, "-m", "tuning.cli", "doctor", str(run_file), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=run_file.parent, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = findings(done.stdout)
    assert [found[name]["state"] for name in ("masks", "accumulation", "packing", "save and load")] == ["ok"] * 4
    assert sorted(path.name for path in run_file.parent.iterdir()) == ["rows.jsonl", "run.json"]


@pytest.mark.slow
def test_the_command_ends_with_1_where_a_check_finds_a_fault(run_file: Path) -> None:
    chats = [
        [{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": f"It is {n}."}] for n in range(9)
    ]
    (run_file.parent / "rows.jsonl").write_text("\n".join(json.dumps({"messages": chat}) for chat in chats))
    template = "chat_template={% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    command = [sys.executable, "-m", "tuning.cli", "doctor", str(run_file), template]
    done = subprocess.run(command, capture_output=True, text=True, cwd=run_file.parent, timeout=300, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "masks" in done.stdout and "is learned, and is no answer" in done.stdout
