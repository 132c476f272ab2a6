from __future__ import annotations

from pathlib import Path

import pytest

from tuning.world import launcher_asked_for, rank, world_size

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
