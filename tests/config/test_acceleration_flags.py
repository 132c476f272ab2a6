"""Acceleration plugins in a configuration: the section, fms-hf-tuning's flags, fms-acceleration's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.acceleration.configuration import framework_of, unusable_stanzas
from tuning.config.building import build_config
from tuning.config.ir import IR
from tuning.config.loading import load_ir, load_mapping
from tuning.config.plugin_file import with_plugins
from tuning.errors import ConfigError
from tuning.sft_trainer import main

PADDING_FREE = "acceleration.plugins.training.attention.padding_free"
FUSED_OPS = "acceleration.plugins.training.fused_ops_and_kernels"


def flat(tmp_path: Path, **settings: Any) -> Path:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(settings, indent=1))
    return file


def plugins_of(*words: str) -> Any:
    loaded = load_ir(words, {})
    assert loaded.problems == []
    return loaded.ir.get("acceleration.plugins")


@pytest.mark.parametrize(
    ("flag", "value", "stanza"),
    [
        ("padding_free", ["huggingface"], {"training": {"attention": {"padding_free": {"method": "huggingface"}}}}),
        ("padding_free", "huggingface", {"training": {"attention": {"padding_free": {"method": "huggingface"}}}}),
        ("multipack", [16], {"training": {"dataloader": {"multipack": {"num_processes": 16}}}}),
        ("multipack", 16, {"training": {"dataloader": {"multipack": {"num_processes": 16}}}}),
        (
            "fast_kernels",
            [True, False, True],
            {
                "training": {
                    "fused_ops_and_kernels": {
                        "fast_loss": True,
                        "fast_rms_layernorm": False,
                        "fast_rope_embeddings": True,
                    }
                }
            },
        ),
        (
            "fused_lora",
            ["auto_gptq", True],
            {"training": {"fused_ops_and_kernels": {"base_layer": "auto_gptq", "fused_lora": True}}},
        ),
        ("auto_gptq", ["triton_v2"], {"peft": {"quantization": {"auto_gptq": {"kernel": "triton_v2"}}}}),
        (
            "bnb_qlora",
            ["nf4", False],
            {"peft": {"quantization": {"bitsandbytes": {"quant_type": "nf4", "no_peft_model": False}}}},
        ),
        ("fast_moe", [1], {"training": {"moe": {"scattermoe": {"ep_degree": 1}}}}),
        ("fast_moe", True, {"training": {"moe": {"scattermoe": {}}}}),
        ("odm", {"odm": {"update_interval": 2}}, {"training": {"odm": {"update_interval": 2}}}),
        ("fast_moe", False, {"training": {"moe": {"scattermoe": False}}}),
    ],
)
def test_a_flag_of_fms_hf_tuning_becomes_a_stanza(tmp_path: Path, flag: str, value: Any, stanza: Any) -> None:
    assert plugins_of(str(flat(tmp_path, **{flag: value}))) == stanza
    if not isinstance(value, dict):
        words = [str(each) for each in value] if isinstance(value, list) else [str(value)]
        assert plugins_of(f"--{flag}", *words) == stanza


def test_two_flags_of_one_stanza_add_up(tmp_path: Path) -> None:
    file = flat(tmp_path, fast_kernels=[True, True, True], fused_lora=["auto_gptq", True])
    assert len(plugins_of(str(file))["training"]["fused_ops_and_kernels"]) == 5


@pytest.mark.parametrize("value", [True, False])
def test_padding_free_as_true_or_false_stays_the_field_of_trl(value: bool) -> None:
    ir = load_mapping({"padding_free": value}).ir
    assert (ir.get("training.padding_free"), ir.get("acceleration")) == (value, None)


def test_the_command_line_wins_over_the_file_and_each_value_knows_its_source(tmp_path: Path) -> None:
    file = flat(tmp_path, fast_kernels=[True, True, True])
    ir = load_ir([str(file), f"{FUSED_OPS}.fast_loss=false"], {}).ir
    assert (ir.get(f"{FUSED_OPS}.fast_loss"), ir.sources[f"{FUSED_OPS}.fast_loss"]) == (False, "command line")
    assert ir.sources[f"{FUSED_OPS}.fast_rms_layernorm"] == f"file {file}"


def test_a_flag_that_is_null_is_undecided_again(tmp_path: Path) -> None:
    file = flat(tmp_path, multipack=[16], fused_lora=["auto_gptq", True])
    assert plugins_of(str(file), "multipack=null", "fused_lora=null") is None


def fms_file(folder: Path, text: str) -> str:
    file = folder / "acceleration.yaml"
    file.write_text(text)
    return str(file)


SAMPLE = """\
plugins:
  peft:
    quantization:
      auto_gptq:
        kernel: triton_v2
        from_quantized: true
  training:
    attention:
      padding_free:
    fused_ops_and_kernels:
      base_layer: auto_gptq
      fused_lora: null
      fast_loss: true
"""


def test_a_file_of_fms_acceleration_counts_less_than_the_documents_own_plugins(tmp_path: Path) -> None:
    path = fms_file(tmp_path, SAMPLE)
    given = {"acceleration_framework_config_file": path, "fast_kernels": [False, True, True]}
    ir = with_plugins(load_mapping(given).ir)
    assert ir.get(FUSED_OPS) == {
        "base_layer": "auto_gptq",
        "fast_loss": False,
        "fast_rms_layernorm": True,
        "fast_rope_embeddings": True,
    }
    assert (ir.sources[f"{FUSED_OPS}.base_layer"], ir.sources[f"{FUSED_OPS}.fast_loss"]) == (f"file {path}", "argument")
    assert ir.get(PADDING_FREE) == {}
    assert ir.get("acceleration.acceleration_framework_config_file") is None


def test_a_file_of_plugins_that_is_not_there_is_told_with_the_other_problems() -> None:
    loaded = load_mapping({"acceleration_framework_config_file": "none.yaml", "learning_rat": 1})
    with pytest.raises(ConfigError) as caught:
        with_plugins(loaded.ir, loaded.problems)
    assert [problem.path for problem in caught.value.problems] == [
        "learning_rat",
        "acceleration.acceleration_framework_config_file",
    ]


def problems(**settings: Any) -> list[str]:
    try:
        build_config(load_mapping(settings).ir, (unusable_stanzas,), rules=())
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_a_stanza_is_checked_with_the_configuration() -> None:
    told = problems(multipack=["many"], plugins={"peft": {"quantization": {"auto_gptq": {"kernle": 1}}}})
    assert any(
        line.startswith("acceleration.plugins.training.dataloader.multipack.num_processes: got 'many' (from argument)")
        for line in told
    )
    assert any("auto_gptq.kernle: got 1 (from argument)" in line and "'kernel'" in line for line in told)


@pytest.mark.parametrize("flag", [{"multipack": [1, 2]}, {"fast_moe": "yes"}, {"odm": 3}])
def test_a_flag_with_too_much_or_the_wrong_thing_is_refused(flag: dict[str, Any]) -> None:
    assert problems(**flag) != []


def test_what_a_plugin_requires_may_still_be_recommended() -> None:
    assert problems(multipack=16) == []


def test_use_acceleration_false_turns_every_plugin_off() -> None:
    settings = {"use_acceleration": False, "plugins": {"training": {"zebra": 1}}, "strict_plugins": True}
    assert problems(**settings) == []
    assert not framework_of(build_config(load_mapping(settings).ir, rules=())).active_plugins


def test_strict_plugins_refuses_what_is_not_installed() -> None:
    (told,) = problems(plugins={"training": {"zebra": {}}}, strict_plugins=True)
    assert told.startswith("acceleration.plugins.training.zebra: got {} (from argument); no installed plugin")


def test_a_misspelt_flag_is_told_with_the_right_one() -> None:
    (problem,) = load_mapping({"fast_kernel": [True]}).problems
    assert problem.hint == "Did you mean 'fast_kernels' or 'fast_moe'?"


def test_a_run_with_a_wrong_stanza_ends_before_torch(
    tmp_path: Path, tiny_config_only_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 8)
    words = [f"model_name_or_path={tiny_config_only_model}", "train_from_scratch=true"]
    words += [f"training_data_path={tmp_path / 'd.jsonl'}"]
    words += [f"output_dir={tmp_path / 'out'}", "auto_gptq=tritn"]
    assert main(words) == 1
    assert "auto_gptq.kernel: got 'tritn' (from command line); expected one of:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_json_text_is_taken_for_plugins_beside_a_file(tmp_path: Path) -> None:
    ir = IR.of(
        {
            "acceleration": {
                "plugins": '{"training": {"compile": {}}}',
                "acceleration_framework_config_file": fms_file(tmp_path, SAMPLE),
            }
        },
        "argument",
    )
    assert set(with_plugins(ir).get("acceleration.plugins.training")) == {
        "attention",
        "fused_ops_and_kernels",
        "compile",
    }
