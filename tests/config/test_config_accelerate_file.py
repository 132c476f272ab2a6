from __future__ import annotations

from pathlib import Path

import pytest

from tuning.config.accelerate_file import with_accelerate_file
from tuning.config.loading import load_mapping
from tuning.errors import ConfigError


def test_a_file_of_accelerate_stands_below_the_flags_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "fsdp.yaml"
    file.write_text("distributed_type: FSDP\nnum_processes: 8\ngpu_ids:\nfsdp_config: {fsdp_version: 2}\n")
    block = {"config_file": str(file), "num_processes": 4}
    ir = with_accelerate_file(load_mapping({"accelerate_launch_args": block}).ir)
    expected = {"num_processes": 4, "distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 2}}
    assert ir.get("accelerate") == expected
    assert ir.sources["accelerate.fsdp_config.fsdp_version"] == f"file {file}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, r"accelerate\.config_file: got '.*' \(from argument\); cannot be read: No such file or directory"),
        ("- 1\n", r"expected a file with an object of accelerate's settings"),
        ("a: [", r"the document cannot be read"),
        ("a: 1\na: 2\n", r"a: got .*fsdp\.yaml"),
    ],
)
def test_a_file_that_is_none_of_accelerate_is_refused(text: str | None, told: str, tmp_path: Path) -> None:
    file = tmp_path / "fsdp.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=told):
        with_accelerate_file(load_mapping({"accelerate_launch_args": {"config_file": str(file)}}).ir)


def test_the_switch_of_the_seed_turns_fsdp_on() -> None:
    assert load_mapping({"FSDP": True}).ir.get("accelerate.distributed_type") == "FSDP"
    assert load_mapping({"FSDP": False}).ir.get("accelerate") is None


def test_what_names_no_file_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"accelerate\.config_file: got 5 \(from argument\); expected the name of a"):
        with_accelerate_file(load_mapping({"accelerate": {"config_file": 5}}).ir)


def test_a_dot_in_a_key_of_the_file_is_a_part_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "deepspeed.yaml"
    file.write_text("deepspeed_config: {hooks: {layer.0: on_cpu}, offload: }\n")
    ir = with_accelerate_file(load_mapping({"accelerate": {"config_file": str(file)}}).ir)
    assert ir.get("accelerate") == {"deepspeed_config": {"hooks": {"layer.0": "on_cpu"}}}
