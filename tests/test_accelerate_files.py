"""The files of accelerate that ship: its own parser takes them, and their lines start what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.config.shipped import named_configs
from tuning.errors import ConfigError
from tuning.job import load_config
from tuning.launch.settings import launcher_words
from tuning.world import launcher_asked_for

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "configs" / "accelerate").iterdir())
EVERY_FILE = pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
PROCESSES = {"cpu": 2, "ddp": 8, "fsdp2": 8, "fsdp2_hybrid_multi_node": 16, "deepspeed_zero3": 8}
SAID = {
    "cpu": {"multi_gpu": True, "use_fsdp": False},
    "ddp": {"multi_gpu": True, "mixed_precision": "bf16"},
    "fsdp2": {"use_fsdp": True, "fsdp_version": 2, "fsdp_state_dict_type": "FULL_STATE_DICT"},
    "fsdp2_hybrid_multi_node": {
        "use_fsdp": True,
        "num_machines": 2,
        "parallelism_config_dp_replicate_size": 2,
        "parallelism_config_dp_shard_size": 8,
    },
    "deepspeed_zero3": {"use_deepspeed": True, "zero_stage": 3, "zero3_init_flag": True},
}


def launch_line(file: Path) -> str:
    (line,) = re.findall(r"^# Launch: (.*)$", file.read_text(), re.MULTILINE)
    return line


def parsed(words: list[str]) -> Any:
    """Parse the words after `accelerate launch` as accelerate does, its file included."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    return arguments


def test_each_file_is_known_here() -> None:
    assert {file.stem for file in FILES} == PROCESSES.keys() == SAID.keys()


@pytest.mark.slow
@EVERY_FILE
def test_accelerate_takes_a_file_and_its_line_and_reads_what_is_meant(file: Path) -> None:
    line = launch_line(file).replace("${MACHINE_RANK:?}", "1").replace("${MAIN_PROCESS_IP:?}", "host0")
    words = shlex.split(line)
    assert words[:4] == ["accelerate", "launch", "--config_file", str(file.relative_to(ROOT))]
    arguments = parsed(["--config_file", str(file), *words[4:]])
    assert arguments.num_processes == PROCESSES[file.stem]
    assert {name: getattr(arguments, name) for name in SAID[file.stem]} == SAID[file.stem]
    assert (arguments.module, arguments.training_script) == (True, "tuning.sft_trainer")


@EVERY_FILE
def test_the_number_of_processes_is_what_the_run_expects_of_such_a_launch(file: Path) -> None:
    command = shlex.split(launch_line(file).replace(str(file.relative_to(ROOT)), str(file)))
    assert launcher_asked_for(command) == PROCESSES[file.stem]


def test_the_files_are_no_configurations_of_runs() -> None:
    assert not {file for file in FILES} & {config.path.resolve() for config in named_configs()}


def test_the_launch_block_of_fms_hf_tuning_is_what_accelerate_is_told(tmp_path: Path) -> None:
    block = {"use_fsdp": True, "fsdp_version": 2, "num_processes": 4, "mixed_precision": "bf16", "multi_gpu": False}
    loaded = load_mapping({"accelerate_launch_args": block})
    assert loaded.problems == []
    fsdp = {"fsdp_version": 2}
    expected = {"distributed_type": "FSDP", "fsdp_config": fsdp, "num_processes": 4, "mixed_precision": "bf16"}
    assert build_config(loaded.ir, rules=()).accelerate == expected
    words = launcher_words(loaded.ir.merge({"compute": {"num_processes": 4}}, "argument"), tmp_path)
    assert expected.items() <= yaml.safe_load((tmp_path / "accelerate.yaml").read_text()).items()
    assert words[1:] == ["-m", "tuning.launch.launcher", "--config_file", f"{tmp_path}/accelerate.yaml"]


@pytest.mark.parametrize(
    ("flag", "value", "path"),
    [
        ("use_deepspeed", True, "accelerate.distributed_type"),
        ("zero_stage", 3, "accelerate.deepspeed_config.zero_stage"),
        ("parallelism_config_dp_shard_size", 8, "accelerate.parallelism_config.parallelism_config_dp_shard_size"),
        ("dynamo_backend", "inductor", "accelerate.dynamo_config.dynamo_backend"),
        ("cpu", True, "accelerate.use_cpu"),
    ],
)
def test_a_flag_of_the_launcher_has_its_place_in_the_file(flag: str, value: Any, path: str) -> None:
    assert list(load_mapping({"accelerate_launch_args": {flag: value}}).ir.sources) == [path]


def test_a_flag_that_is_none_is_refused() -> None:
    (problem,) = load_mapping({"accelerate_launch_args": {"num_proceses": 4}}).problems
    assert str(problem).startswith("accelerate_launch_args.num_proceses: got 4 (from argument); there is no such field")


def test_a_setting_that_accelerate_does_not_have_is_refused() -> None:
    told = r"accelerate\.num_proceses: got 4 \(from argument\); accelerate has no such setting\. Did you mean 'num_proc"
    with pytest.raises(ConfigError, match=told):
        load_config({"accelerate": {"num_proceses": 4}})


@pytest.mark.slow
def test_the_line_for_cpus_trains_in_two_processes(tiny_model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"prompt": f"Say {n}: ", "completion": str(n)}) for n in range(8)))
    run = {"model_name_or_path": str(tiny_model), "training_data_path": str(rows), "output_dir": str(tmp_path / "run")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**run, "max_steps": 1, "validation_fraction": 0}))
    line = launch_line(ROOT / "configs" / "accelerate" / "cpu.yaml").replace("run.yaml", str(tmp_path / "run.yaml"))
    words = ["--main_process_port", "0", *shlex.split(line)[2:]]
    command = [sys.executable, "-m", "accelerate.commands.launch", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["values"]["training"]["use_cpu"] is True
