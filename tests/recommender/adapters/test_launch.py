from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.config.ir import IR
from tuning.recommender.adapters.launch import launch_command, shell_line

FSDP = {"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 2, "reshard_after_forward": True}}


def run_of(**sections: Any) -> IR:
    return IR.of(sections, "the user")


def test_one_process_needs_no_launcher() -> None:
    assert launch_command(run_of(), "run.json") == ["python", "-m", "tuning.sft_trainer", "run.json"]


def test_several_processes_are_started_by_accelerate() -> None:
    words = launch_command(run_of(compute={"num_processes": 2}), "run.json")
    assert words == [
        *("accelerate", "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("-m", "tuning.sft_trainer", "run.json"),
    ]


def test_the_gpus_of_all_nodes_are_counted() -> None:
    words = launch_command(run_of(compute={"num_nodes": 2, "num_gpus_per_node": 4}), "run.json")
    assert words[words.index("--num_processes") + 1] == "8"
    assert {"${MACHINE_RANK:?}", "${MAIN_PROCESS_IP:?}"} <= set(words)


def test_no_gpus_are_one_process() -> None:
    assert launch_command(run_of(compute={"num_gpus_per_node": 0}), "run.json")[0] == "python"


def test_a_file_of_accelerates_replaces_the_flags() -> None:
    words = launch_command(run_of(compute={"num_processes": 2}), "run.json", "accelerate.yaml")
    assert words[:4] == ["accelerate", "launch", "--config_file", "accelerate.yaml"]


@pytest.mark.parametrize("file", [None, "accelerate.yaml"])
def test_a_machine_takes_its_rank_and_the_address_from_variables_of_the_shell(file: str | None) -> None:
    ir = run_of(compute={"num_nodes": 2, "num_gpus_per_node": 4}, accelerate={"machine_rank": 0})
    line = shell_line(["printf", "%s\\n", *launch_command(ir, "run; json", file)])
    told = {"MACHINE_RANK": "1", "MAIN_PROCESS_IP": "10.0.0.7 $(id)", "PATH": os.environ["PATH"]}
    words = subprocess.run(line, shell=True, capture_output=True, text=True, check=True, env=told).stdout.splitlines()
    values = {name: words[words.index(f"--{name}") + 1] for name in ("machine_rank", "main_process_ip")}
    assert values == {"machine_rank": "1", "main_process_ip": "10.0.0.7 $(id)"}
    assert words[words.index("--main_process_port") + 1] == "29500" and words[-1] == "run; json"
    without = subprocess.run(line, shell=True, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert without.returncode != 0 and "MACHINE_RANK" in without.stderr


def test_the_address_that_a_document_says_is_taken() -> None:
    given = {"main_process_ip": "10.0.0.7", "main_process_port": 1234}
    words = launch_command(run_of(compute={"num_nodes": 2, "num_gpus_per_node": 4}, accelerate=given), "run.json")
    assert words[words.index("--main_process_ip") + 1] == "10.0.0.7"
    assert words[words.index("--main_process_port") + 1] == "1234"


def test_words_reach_a_shell_as_they_are() -> None:
    nasty = ["; touch pwned", "a b", "$(id)", "it's", "\n", "*"]
    line = shell_line([sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *nasty])
    assert json.loads(subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout) == nasty
    assert shlex.split(line)[3:] == nasty


@pytest.mark.slow
@pytest.mark.parametrize(
    "ir",
    [
        run_of(compute={"num_processes": 2}, training={"bf16": True}),
        run_of(compute={"num_nodes": 1, "num_gpus_per_node": 8}, accelerate=FSDP, training={"bf16": True}),
        run_of(
            compute={"num_processes": 4},
            accelerate={
                **{"distributed_type": "DEEPSPEED", "same_network": True, "rdzv_backend": "static", "debug": False},
                **{"deepspeed_config": {"zero_stage": 3, "zero3_init_flag": True}},
            },
        ),
        run_of(
            compute={"num_processes": 8},
            accelerate={**FSDP, "parallelism_config": {"dp_shard_size": 4, "dp_replicate_size": 2}},
        ),
    ],
)
def test_accelerates_own_parser_takes_the_flags(ir: IR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.commands import launch

    words = launch_command(ir, "run.json")
    args = launch.launch_command_parser().parse_args(words[2:])
    assert args.training_script == "tuning.sft_trainer"
    assert args.training_script_args == ["run.json"]
    monkeypatch.setattr(launch, "default_config_file", str(tmp_path / "none.yaml"))
    checked, _, _ = launch._validate_launch_command(args)
    assert checked.num_processes == (ir.get("compute.num_processes") or 8)
    assert checked.mixed_precision == ("bf16" if ir.get("training.bf16") else "no")
    assert checked.use_fsdp is (ir.get("accelerate.distributed_type") == "FSDP")
