from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.config.schema import TuningConfig
from tuning.doctor.machine import disk_finding, fit_finding, gpu_finding, machine_findings, memory_finding
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import Gpu
from tuning.recommender.memory import MemoryParts, Step
from tuning.recommender.model_facts import ModelFacts
from tuning.recommender.plan import Plan, Rows

GIB = 1 << 30
A_GPU = Gpu("NVIDIA H100", 80 * GIB, (9, 0))


def config(folder: Path, **settings: Any) -> TuningConfig:
    required = {"model_name_or_path": "m", "training_data_path": "d.jsonl", "output_dir": str(folder)}
    return build_config(load_mapping({**required, **settings}).ir)


def a_plan(needed: int, budget: int | None) -> Plan:
    return Plan(Step(1, 1), Rows(), memory=MemoryParts(needed, 0, 0, 0, 0), budget_bytes=budget)


def test_a_gpu_that_torch_cannot_use_is_a_fault() -> None:
    found = gpu_finding([A_GPU], "torch 2.13.0+cpu is built without CUDA")
    assert found.state == "fault"
    assert found.told == "NVIDIA H100 (80 GiB): torch 2.13.0+cpu is built without CUDA"


def test_gpus_that_compute_and_none_at_all_are_fine() -> None:
    assert gpu_finding([A_GPU], None).state == gpu_finding([], None).state == "ok"


def test_little_memory_is_a_warning() -> None:
    assert memory_finding(GIB, 16 * GIB).state == "warning"
    assert memory_finding(8 * GIB, 16 * GIB).told == "8 GiB of 16 GiB are free"


@pytest.mark.parametrize(("needed", "budget", "state"), [(5, 10, "ok"), (20, 10, "fault"), (5, None, "skipped")])
def test_a_step_fits_or_not_or_it_is_not_known(needed: int, budget: int | None, state: str) -> None:
    assert fit_finding(a_plan(needed, budget)).state == state


def test_a_disk_that_holds_the_checkpoints_is_fine(tmp_path: Path) -> None:
    small = Facts(ModelFacts(num_parameters=1000))
    assert disk_finding(config(tmp_path / "runs" / "first", peft_method="none"), small).state == "ok"


def test_a_disk_that_does_not_hold_the_checkpoints_is_a_fault(tmp_path: Path) -> None:
    huge = Facts(ModelFacts(num_parameters=10**15))
    found = disk_finding(config(tmp_path, peft_method="none"), huge)
    assert found.state == "fault" and "checkpoints and model take about" in found.told
    assert disk_finding(config(tmp_path, peft_method="lora"), huge).state == "ok"


def test_fewer_checkpoints_take_less(tmp_path: Path) -> None:
    facts = Facts(ModelFacts(num_parameters=1 << 30))
    most, least = (
        disk_finding(config(tmp_path, peft_method="none", save_strategy=when), facts).told for when in ("steps", "no")
    )
    assert "about 28 GiB" in most and "about 4 GiB" in least


def test_a_run_folder_under_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert disk_finding(config(tmp_path / "file" / "run"), Facts()).state == "fault"


def test_the_machine_here_has_a_cpu_and_memory() -> None:
    names = [found.name for found in machine_findings({"PATH": ""})]
    assert names == ["GPUs", "CPU", "memory"]
