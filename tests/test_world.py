from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.config.ir import IR
from tuning.config.schema import TuningConfig
from tuning.errors import ConfigError
from tuning.world import check_world_size, launcher_asked_for, rank, world_size

LAUNCH = ["/venv/bin/python", "/venv/bin/accelerate", "launch"]


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ([*LAUNCH, "--cpu", "--num_processes", "2", "-m", "tuning.sft_trainer"], 2),
        ([*LAUNCH, "--num-processes=4", "-m", "tuning.sft_trainer"], 4),
        ([*LAUNCH, "-m", "tuning.sft_trainer"], None),
        (["python", "-m", "accelerate.commands.launch", "--num_processes", "3"], 3),
        (["bash", "-c", "anything --num_processes 2"], None),
        ([], None),
    ],
)
def test_what_a_launcher_asks_for_is_read_from_its_command(command: list[str], asked: int | None) -> None:
    assert launcher_asked_for(command) == asked


def test_a_launcher_may_ask_in_its_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "accelerate.yaml"
    file.write_text("distributed_type: MULTI_CPU\nnum_processes: 2\n")
    assert launcher_asked_for([*LAUNCH, "--config_file", str(file)]) == 2
    assert launcher_asked_for([*LAUNCH, f"--config_file={tmp_path / 'missing.yaml'}"]) is None


def test_rank_and_world_size_are_the_launchers() -> None:
    assert (rank({}), world_size({})) == (0, 1)
    assert (rank({"RANK": "3"}), world_size({"WORLD_SIZE": "8"})) == (3, 8)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"accelerate": {"num_processes": 8}}, "accelerate.num_processes: got 8"),
        ({"compute": {"num_gpus_per_node": 4, "num_nodes": 2}}, "compute.num_gpus_per_node: got 4"),
        ({"compute": {"num_processes": 8, "num_gpus_per_node": 4}}, "compute.num_processes: got 8"),
    ],
)
def test_a_document_for_other_processes_than_run_is_refused_with_the_command(
    values: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError) as caught:
        check_world_size(TuningConfig.model_validate(values), IR.of(values, "file run.json"))
    assert str(caught.value).startswith(f"{told} (from file run.json); 8 processes were asked for, and 2 started. ")
    assert "accelerate launch --multi_gpu --num_processes 8 -m tuning.sft_trainer" in str(caught.value)


@pytest.mark.parametrize("values", [{}, {"compute": {"num_gpus_per_node": 0}}, {"accelerate": {"num_processes": 2}}])
def test_a_document_for_the_processes_that_run_is_taken(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_world_size(TuningConfig.model_validate(values), IR.of(values, "file run.json"))


def test_a_refused_document_for_fsdp_is_launched_with_its_own_file(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"accelerate": {"num_processes": 8, "distributed_type": "FSDP"}}
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(ConfigError, match=r"accelerate launch --config_file FILE -m tuning\.sft_trainer"):
        check_world_size(TuningConfig.model_validate(values), IR.of(values, "file run.json"))


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE"])
@pytest.mark.parametrize("text", ["first", "²"])
def test_what_a_launcher_would_not_set_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=rf"{name}: got '{text}' \(from environment\); expected a whole number"):
        check_world_size(TuningConfig(), IR())


@pytest.mark.parametrize("variable", ["ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_CPU"])
def test_a_launcher_that_starts_fewer_processes_than_it_was_asked_for_is_told_of(variable: str, tmp_path: Path) -> None:
    code = "from tuning.config.schema import TuningConfig; from tuning.world import wrong_world_size; "
    code += "print(*wrong_world_size(TuningConfig()))"
    launcher = tmp_path / "launch.py"
    launcher.write_text(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)")
    environ = {**os.environ, variable: "no", "WORLD_SIZE": "2"}
    command = [sys.executable, str(launcher), "--num_processes", "3"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "compute.num_processes: got 3 (from accelerate launch); 3 processes were asked for" in done.stdout
