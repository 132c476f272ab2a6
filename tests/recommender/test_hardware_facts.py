from __future__ import annotations

from pathlib import Path

import pytest
from made_up_facts import CPU, EIGHT_GPUS, GIB, document, gpus

from tuning.config.ir import IR
from tuning.recommender.hardware_facts import Gpu, HardwareFacts, probe_gpus, probe_hardware
from tuning.recommender.memory_plan import budget_bytes

TWO_GPUS = "NVIDIA H100 80GB HBM3, 81559, 9.0\nTesla V100, PCIE, 16384, 7.0"


def nvidia_smi(folder: Path, answer: str, exit_code: int = 0) -> dict[str, str]:
    """Put a command of that name on a path of its own, and return that as the environment."""
    command = folder / "nvidia-smi"
    command.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\nexit {exit_code}\n")
    command.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_gpus_are_read_from_the_answer_of_nvidia_smi(tmp_path: Path) -> None:
    assert probe_gpus(nvidia_smi(tmp_path, TWO_GPUS)) == (
        Gpu("NVIDIA H100 80GB HBM3", 81559 << 20, (9, 0)),
        Gpu("Tesla V100, PCIE", 16384 << 20, (7, 0)),
    )


@pytest.mark.parametrize(
    ("visible", "names"),
    [("1", ["Tesla V100, PCIE"]), ("", []), ("-1", []), ("0,1,7", 2), ("1,-1,0", 1), ("GPU-a1b2", 1)],
)
def test_only_the_visible_gpus_count(tmp_path: Path, visible: str, names: list[str] | int) -> None:
    found = probe_gpus({**nvidia_smi(tmp_path, TWO_GPUS), "CUDA_VISIBLE_DEVICES": visible})
    assert ([gpu.name for gpu in found] if isinstance(names, list) else len(found)) == names


def test_what_a_gpu_does_not_say_is_unknown(tmp_path: Path) -> None:
    assert probe_gpus(nvidia_smi(tmp_path, "Some GPU, [N/A], [N/A]")) == (Gpu("Some GPU", None, None),)


@pytest.mark.parametrize(("answer", "exit_code"), [("No devices were found", 0), (TWO_GPUS, 9)])
def test_a_command_that_fails_finds_no_gpus(tmp_path: Path, answer: str, exit_code: int) -> None:
    assert probe_gpus(nvidia_smi(tmp_path, answer, exit_code)) == ()


def test_without_the_command_there_are_no_gpus(tmp_path: Path) -> None:
    assert probe_gpus({"PATH": str(tmp_path)}) == ()


def test_use_cpu_leaves_every_accelerator_out(tmp_path: Path) -> None:
    facts = probe_hardware(document(training__use_cpu=True), nvidia_smi(tmp_path, TWO_GPUS))
    assert (facts.accelerator, facts.gpus, facts.world_size) == ("cpu", (), 1)
    assert facts.num_cpus and facts.ram_bytes and facts.ram_bytes > GIB // 8


@pytest.mark.parametrize(
    ("environ", "sizes"),
    [
        ({}, (1, 1, 1)),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (8, 4, 1)),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "ACCELERATE_USE_FSDP": "true"}, (8, 4, 8)),
        ({"WORLD_SIZE": "many"}, (1, 1, 1)),
    ],
)
def test_processes_are_counted_by_the_launchers_variables(environ: dict[str, str], sizes: tuple[int, ...]) -> None:
    facts = probe_hardware(IR(), {"PATH": "", **environ})
    assert (facts.world_size, facts.local_world_size, facts.num_shards) == sizes


def test_every_rank_sees_the_same() -> None:
    first, second = (
        probe_hardware(document(training__use_cpu=True), {"WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank})
        for rank in "01"
    )
    assert first == second


@pytest.mark.parametrize(
    ("hardware", "budget"),
    [
        (None, None),
        (HardwareFacts("other"), None),
        (HardwareFacts("cpu"), None),
        (HardwareFacts("cuda", (Gpu("a GPU"),)), None),
        (CPU, 16 * GIB * 6 // 10),
        (HardwareFacts("cpu", ram_bytes=16 * GIB, local_world_size=4), 16 * GIB * 6 // 10 // 4),
        (EIGHT_GPUS, 71 * GIB),
        (HardwareFacts("cuda", (*EIGHT_GPUS.gpus, *gpus(1, 10, (9, 0)).gpus)), 8 * GIB),
    ],
)
def test_the_least_device_bounds_what_is_planned_with(hardware: HardwareFacts | None, budget: int | None) -> None:
    assert budget_bytes(hardware) == (None if budget is None else pytest.approx(budget, abs=1))
