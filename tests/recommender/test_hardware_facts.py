from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_up_facts import CPU, EIGHT_GPUS, GIB, document, gpus

from tuning.config.ir import IR
from tuning.errors import ConfigError
from tuning.recommender import hardware_facts
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


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"num_gpus_per_node": 4, "gpu_memory_gib": 24, "gpu_compute_capability": "8.6"}, [(24, (8, 6))] * 4),
        ({"num_gpus_per_node": 2}, [(None, (8, 0))] * 2),
        ({"gpu_memory_gib": 40}, [(40, (8, 0))]),
        ({"gpu_compute_capability": "7.0"}, [(None, (7, 0))]),
        ({"num_gpus_per_node": 0, "gpu_memory_gib": 40}, []),
        ({}, []),
    ],
)
def test_gpus_of_another_machine_are_as_given(given: dict[str, Any], found: list[Any]) -> None:
    facts = probe_hardware(IR.of({"compute": given}, "command line"), {"PATH": ""})
    assert [(gpu.memory_bytes and gpu.memory_bytes // GIB, gpu.compute_capability) for gpu in facts.gpus] == found
    assert facts.accelerator == ("cuda" if found else "cpu")
    assert facts.num_gpus_per_node == len(found)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, [(81559 << 20, (9, 0)), (16384 << 20, (7, 0))]),
        ({"num_gpus_per_node": 1}, [(81559 << 20, (9, 0))]),
        ({"num_gpus_per_node": 3}, [(16384 << 20, (7, 0))] * 3),
        ({"gpu_memory_gib": 1}, [(GIB, (9, 0)), (GIB, (7, 0))]),
        ({"gpu_compute_capability": "8.9"}, [(81559 << 20, (8, 9)), (16384 << 20, (8, 9))]),
        ({"num_gpus_per_node": 0}, []),
    ],
)
def test_what_is_given_wins_over_what_is_found(
    given: dict[str, Any], found: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware_facts, "_torch_can_use", lambda backends: "cuda" in backends)
    facts = probe_hardware(IR.of({"compute": given}, "command line"), nvidia_smi(tmp_path, TWO_GPUS))
    assert [(gpu.memory_bytes, gpu.compute_capability) for gpu in facts.gpus] == found


def test_use_cpu_wins_over_gpus_that_are_given() -> None:
    document = IR.of({"compute": {"num_gpus_per_node": 8}, "training": {"use_cpu": True}}, "command line")
    facts = probe_hardware(document, {"PATH": ""})
    assert (facts.accelerator, facts.gpus) == ("cpu", ())


@pytest.mark.parametrize("name", ["num_processes", "num_nodes", "num_gpus_per_node", "gpu_memory_gib", "ram_gib"])
def test_a_machine_that_cannot_be_is_refused(name: str) -> None:
    document = IR.of({"compute": {name: 10**12}}, "command line")
    with pytest.raises(
        ConfigError, match=rf"compute.{name}: got 1000000000000 \(from command line\); expected at most"
    ):
        probe_hardware(document, {"PATH": ""})


def test_memory_of_the_machine_is_as_given() -> None:
    assert probe_hardware(IR.of({"compute": {"ram_gib": 1.5}}, "command line"), {"PATH": ""}).ram_bytes == 3 * GIB // 2


@pytest.mark.parametrize(
    ("given", "is_known"),
    [({"num_gpus_per_node": 2}, True), ({"num_gpus_per_node": 8}, False), ({}, True)],
)
def test_memory_of_a_machine_that_is_not_this_one_is_not_known(
    given: dict[str, Any], is_known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware_facts, "_torch_can_use", lambda backends: "cuda" in backends)
    facts = probe_hardware(IR.of({"compute": given}, "command line"), nvidia_smi(tmp_path, TWO_GPUS))
    assert (facts.ram_bytes is not None) is is_known


def test_gpus_that_are_not_here_have_the_memory_beside_them_that_is_given() -> None:
    given = {"num_gpus_per_node": 8, "gpu_memory_gib": 80}
    rams = [
        probe_hardware(IR.of({"compute": {**given, **ram}}, "command line"), {"PATH": ""}).ram_bytes
        for ram in ({}, {"ram_gib": 64})
    ]
    assert rams == [None, 64 * GIB]


@pytest.mark.parametrize(
    ("given", "environ", "sizes"),
    [
        ({"num_gpus_per_node": 8}, {}, (8, 8, 1)),
        ({"num_gpus_per_node": 8, "num_nodes": 2}, {}, (16, 8, 2)),
        ({"num_nodes": 3}, {}, (3, 1, 3)),
        ({"num_processes": 4}, {}, (4, 4, 1)),
        ({"num_processes": 4, "num_gpus_per_node": 2}, {}, (4, 2, 2)),
        ({"num_processes": 6, "num_nodes": 2}, {}, (6, 3, 2)),
        ({"num_processes": 1, "num_nodes": 4}, {}, (1, 1, 1)),
        ({"num_gpus_per_node": 0}, {}, (1, 1, 1)),
        ({"num_gpus_per_node": 8}, {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}, (2, 1, 2)),
        ({"num_processes": 4}, {"WORLD_SIZE": "2"}, (2, 1, 1)),
    ],
)
def test_processes_are_as_launched_else_as_given(
    given: dict[str, Any], environ: dict[str, str], sizes: tuple[int, ...]
) -> None:
    facts = probe_hardware(IR.of({"compute": given}, "command line"), {"PATH": "", **environ})
    assert (facts.world_size, facts.local_world_size, facts.num_nodes) == sizes


@pytest.mark.parametrize("values", [{"training": {"fsdp": "full_shard"}}, {"accelerate": {"distributed_type": "FSDP"}}])
def test_a_document_that_asks_for_fsdp_divides_over_all_processes(values: dict[str, Any]) -> None:
    document = IR.of({**values, "compute": {"num_gpus_per_node": 4}}, "command line")
    assert probe_hardware(document, {"PATH": ""}).num_shards == 4


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
