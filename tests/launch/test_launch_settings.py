from __future__ import annotations

import sys
from pathlib import Path

import yaml

from tuning.config.ir import IR
from tuning.launch.settings import launcher_settings, launcher_words


def test_one_process_is_started_without_a_launcher(tmp_path: Path) -> None:
    assert launcher_words(IR(), tmp_path) == [sys.executable]
    assert list(tmp_path.iterdir()) == []


def test_one_process_that_is_to_be_sharded_is_started_with_the_launcher(tmp_path: Path) -> None:
    document = IR.of({"accelerate": {"distributed_type": "FSDP"}}, "argument")
    assert launcher_words(document, tmp_path)[1:3] == ["-m", "tuning.launch.launcher"]


def test_accelerate_is_told_what_the_document_says_and_what_it_cannot_do_without(tmp_path: Path) -> None:
    values = {"compute": {"num_processes": 2}, "training": {"bf16": True}, "accelerate": {"fsdp_config": {"a": 1}}}
    launcher_words(IR.of(values, "argument"), tmp_path)
    assert yaml.safe_load((tmp_path / "accelerate.yaml").read_text()) == {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",
        "fsdp_config": {"a": 1},
        "main_process_port": 0,
        "mixed_precision": "bf16",
        "num_machines": 1,
        "num_processes": 2,
    }


def test_deepspeed_on_several_machines_logs_in_to_none_of_them() -> None:
    accelerate = {"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 3}, "main_process_port": 1}
    document = IR.of({"compute": {"num_processes": 4, "num_nodes": 2}, "accelerate": accelerate}, "argument")
    settings = launcher_settings(document)
    assert settings["deepspeed_config"] == {"deepspeed_multinode_launcher": "standard", "zero_stage": 3}
    assert settings["main_process_port"] == 1
