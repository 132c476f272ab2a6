from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuning.config.ir import IR
from tuning.recommender.adapters.accelerate_file import ACCELERATE_FILE, DISTRIBUTED_TYPES, KEYS, AccelerateAdapter
from tuning.recommender.adapters.documents import parse_document, render

FSDP2 = """
compute_environment: LOCAL_MACHINE
debug: false
distributed_type: FSDP
downcast_bf16: 'no'
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: LlamaDecoderLayer
  fsdp_reshard_after_forward: true
  fsdp_state_dict_type: SHARDED_STATE_DICT
machine_rank: 0
main_training_function: main
mixed_precision: bf16
num_machines: 1
num_processes: 8
rdzv_backend: static
same_network: true
use_cpu: false
"""
ZERO3 = """
distributed_type: DEEPSPEED
deepspeed_config:
  zero_stage: 3
  zero3_init_flag: true
  offload_optimizer_device: cpu
mixed_precision: fp16
num_machines: 2
machine_rank: 1
main_process_ip: 10.0.0.1
main_process_port: 29500
num_processes: 16
"""
ONE_GPU = """
distributed_type: 'NO'
mixed_precision: no
num_processes: 1
"""


def read(text: str) -> IR:
    return AccelerateAdapter().read(parse_document(text, "a.yaml"), "file a.yaml").ir


def test_what_has_a_field_goes_there_and_all_else_stays_accelerates() -> None:
    values = read(FSDP2).values
    assert values["compute"] == {"num_processes": 8, "num_nodes": 1}
    assert values["training"] == {"bf16": True, "fp16": False, "use_cpu": False}
    assert values["accelerate"]["fsdp_config"]["fsdp_version"] == 2
    assert "num_processes" not in values["accelerate"]


@pytest.mark.parametrize(
    ("text", "expected"), [(FSDP2, (True, False)), (ZERO3, (False, True)), (ONE_GPU, (False, False))]
)
def test_one_word_says_both_precisions(text: str, expected: tuple[bool, bool]) -> None:
    assert (read(text).get("training.bf16"), read(text).get("training.fp16")) == expected


def test_eight_bit_floats_stay_accelerates() -> None:
    assert read("distributed_type: 'NO'\nmixed_precision: fp8").values == {
        "accelerate": {"distributed_type": "NO", "mixed_precision": "fp8"}
    }


def test_what_a_launcher_fills_in_is_told_of() -> None:
    made = AccelerateAdapter().read({"distributed_type": "FSDP", "num_machines": "${WORLD_SIZE}"}, "file a")
    assert [(item.key, item.why) for item in made.unmapped] == [("num_machines", "is decided when the run is launched")]


def test_a_key_that_accelerates_loader_would_refuse_is_not_written() -> None:
    made = AccelerateAdapter().write(IR.of({"accelerate": {"distributed_type": "NO", "colour": "red"}}, "the user"))
    assert "colour" not in made.files[ACCELERATE_FILE]
    assert [item.key for item in made.unmapped] == ["accelerate.colour"]


@pytest.mark.slow
def test_every_key_and_kind_of_the_installed_accelerate_is_known() -> None:
    from accelerate.commands.config.config_args import ClusterConfig
    from accelerate.utils import DistributedType

    assert set(ClusterConfig.__dataclass_fields__) == KEYS
    assert {kind.value for kind in DistributedType} == DISTRIBUTED_TYPES


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        read(FSDP2).values,
        read(ZERO3).values,
        read(ONE_GPU).values,
        {},
        {"compute": {"num_nodes": 2, "num_gpus_per_node": 4}, "training": {"bf16": False, "fp16": False}},
    ],
)
def test_accelerates_own_loader_takes_the_file(values: dict[str, Any], tmp_path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    ir = IR.of(values, "the user")
    document = AccelerateAdapter().write(ir).files[ACCELERATE_FILE]
    (tmp_path / ACCELERATE_FILE).write_text(render(ACCELERATE_FILE, document))
    loaded = load_config_from_file(str(tmp_path / ACCELERATE_FILE))
    assert isinstance(document, dict)
    assert loaded.num_processes == document["num_processes"]
    assert loaded.mixed_precision == document.get("mixed_precision")
    assert loaded.fsdp_config == (ir.get("accelerate.fsdp_config") or {})
