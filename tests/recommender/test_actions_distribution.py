from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_facts import CPU, EIGHT_GPUS, GIB, LLAMA_8B, NOTHING, ONE_GPU, data, document, gpus, model

from tuning.config.ir import IR
from tuning.recommender.action import Level, Recommendation
from tuning.recommender.actions.distribution import Distribution
from tuning.recommender.engine import RuleEngine, recommend
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import HardwareFacts
from tuning.recommender.memory_plan import OFFLOADED, planned_step

LORA: dict[str, Any] = {"peft__peft_method": "lora", "training__bf16": True}
FULL: dict[str, Any] = {"training__bf16": True}
LLAMA_70B: dict[str, Any] = {
    **LLAMA_8B,
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "intermediate_size": 28672,
}
EIGHT_B = Facts(model(LLAMA_8B), data(20_000, 1000, 400), EIGHT_GPUS)
SEVENTY_B = replace(EIGHT_B, model=model(LLAMA_70B))
TWO_MACHINES = replace(EIGHT_GPUS, world_size=16, num_nodes=2)
TWO_SMALL_GPUS = gpus(2, 24, (8, 0))


def on(hardware: HardwareFacts | None, facts: Facts = EIGHT_B) -> Facts:
    return replace(facts, hardware=hardware)


def with_ram(gib: int, hardware: HardwareFacts = EIGHT_GPUS) -> HardwareFacts:
    return replace(hardware, ram_bytes=gib * GIB)


def accelerate(made: Recommendation | None) -> dict[str, Any]:
    return {} if made is None else dict(made.patch.get("accelerate", {}))


@pytest.mark.parametrize(
    ("facts", "ir", "kind", "shards"),
    [
        (EIGHT_B, document(**LORA), "MULTI_GPU", 1),
        (EIGHT_B, document(**FULL), "FSDP", 8),
        (on(TWO_MACHINES), document(**FULL), "FSDP", 8),
        (on(TWO_MACHINES), document(**LORA), "MULTI_GPU", 1),
        (on(replace(TWO_MACHINES, num_nodes=3)), document(**FULL), "FSDP", 16),
        (on(TWO_SMALL_GPUS), document(**LORA), "MULTI_GPU", 1),
        (on(TWO_SMALL_GPUS), document(**FULL), "FSDP", OFFLOADED),
        (SEVENTY_B, document(**LORA), "FSDP", 8),
        (on(gpus(2, 48, (8, 0)), SEVENTY_B), document(**LORA), "MULTI_GPU", 1),
        (on(with_ram(3000), SEVENTY_B), document(**FULL), "FSDP", OFFLOADED),
        (on(with_ram(64), SEVENTY_B), document(**FULL), "FSDP", 8),
        (on(replace(TWO_MACHINES, world_size=32, num_nodes=4), SEVENTY_B), document(**FULL), "FSDP", 32),
        (on(replace(CPU, world_size=2, local_world_size=2)), document(**FULL), "MULTI_GPU", 1),
    ],
)
def test_a_run_is_spread_in_the_fastest_way_that_fits(facts: Facts, ir: IR, kind: str, shards: int) -> None:
    made = Distribution().apply(ir, facts)
    assert made is not None and accelerate(made)["distributed_type"] == kind
    assert accelerate(made)["num_processes"] == (facts.hardware.world_size if facts.hardware else None)
    assert planned_step(ir.merge(made.patch, "action Distribution"), facts).num_shards == shards


@pytest.mark.parametrize(
    ("facts", "ir"),
    [
        (on(ONE_GPU), document(**FULL)),
        (on(CPU), document(**FULL)),
        (on(replace(EIGHT_GPUS, is_launched=True)), document(**FULL)),
        (on(replace(EIGHT_GPUS, world_size=1)), document(**FULL, compute__num_processes=1)),
        (on(HardwareFacts("other", world_size=8)), document(**FULL)),
        (on(None), document(**FULL)),
        (replace(EIGHT_B, model=None), document(**FULL)),
        (replace(EIGHT_B, model=model({})), document(**FULL)),
        (EIGHT_B, document(**FULL, training__fsdp="full_shard")),
        (EIGHT_B, document(**FULL, training__deepspeed="zero3.json")),
        (NOTHING, document(**FULL)),
    ],
)
def test_a_run_that_is_launched_or_alone_or_not_known_is_left_as_it_is(facts: Facts, ir: IR) -> None:
    assert Distribution().apply(ir, facts) is None


def test_gpus_that_one_process_cannot_use_are_told_of() -> None:
    made = Distribution().apply(document(**FULL), on(replace(EIGHT_GPUS, world_size=1)))
    assert made is not None and made.level is Level.USER_INTERVENTION and not made.patch
    assert "num_gpus_per_node=8" in made.comment


def test_weights_are_divided_in_accelerates_own_words() -> None:
    made = accelerate(Distribution().apply(document(**FULL), on(with_ram(1024))))
    assert (made["num_machines"], made["mixed_precision"]) == (1, "bf16")
    assert made["fsdp_config"] == {
        "fsdp_version": 2,
        "fsdp_reshard_after_forward": True,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer",
        "fsdp_state_dict_type": "FULL_STATE_DICT",
        "fsdp_cpu_ram_efficient_loading": True,
        "fsdp_offload_params": False,
        "fsdp_activation_checkpointing": False,
    }
    assert "parallelism_config" not in made


def test_machines_hold_copies_of_each_other() -> None:
    made = accelerate(Distribution().apply(document(**FULL), on(TWO_MACHINES)))
    sizes = {name.removeprefix("parallelism_config_"): size for name, size in made["parallelism_config"].items()}
    assert sizes == {"dp_replicate_size": 2, "dp_shard_size": 8}
    assert (made["num_machines"], made["machine_rank"]) == (2, 0)


def test_what_fits_nowhere_says_how_many_gpus_it_needs() -> None:
    ir, facts = document(**FULL), on(with_ram(64), SEVENTY_B)
    made = Distribution().apply(ir, facts)
    assert made is not None and made.level is Level.USER_INTERVENTION
    found = re.search(r"it needs (\d+) such GPUs", made.comment)
    assert found is not None
    enough = on(gpus(int(found[1]), 80, (9, 0)), SEVENTY_B)
    too_few = on(gpus(int(found[1]) - 1, 80, (9, 0)), SEVENTY_B)
    levels = [
        made.level for made in (Distribution().apply(ir, with_little_ram(each)) for each in (enough, too_few)) if made
    ]
    assert levels[1] is Level.USER_INTERVENTION
    assert "it needs" not in str(Distribution().apply(ir, with_little_ram(enough)))


def with_little_ram(facts: Facts) -> Facts:
    assert facts.hardware is not None
    return replace(facts, hardware=with_ram(64, facts.hardware))


def test_rows_that_no_number_of_gpus_holds_are_told_of() -> None:
    ir = document(**FULL, training__max_length=10_000_000)
    made = Distribution().apply(ir, on(with_ram(64)))
    assert made is not None and "not even 4,096 hold it: shorten the rows" in made.comment


def test_a_state_that_one_machine_cannot_hold_is_saved_in_shards() -> None:
    made = Distribution().apply(document(**FULL), on(with_ram(64)))
    assert accelerate(made)["fsdp_config"]["fsdp_state_dict_type"] == "SHARDED_STATE_DICT"
    assert made is not None and "join a checkpoint elsewhere with tune export" in made.comment


@pytest.mark.parametrize(
    ("given", "suggested", "is_filled"),
    [
        ({"distributed_type": "MULTI_GPU"}, "FSDP", False),
        ({"distributed_type": "DEEPSPEED"}, "FSDP", False),
        ({"distributed_type": "FSDP"}, None, True),
        ({"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 1}}, None, False),
    ],
)
def test_the_users_way_stays_and_the_advice_is_kept(given: Any, suggested: str | None, is_filled: bool) -> None:
    ir = document(**FULL, accelerate=given)
    final, (made,) = RuleEngine([Distribution()]).run(ir, EIGHT_B)
    assert final.get("accelerate.distributed_type") == given["distributed_type"]
    told = {declined.path: declined.suggested for declined in made.declined}
    assert told.get("accelerate.distributed_type") == suggested
    assert (final.get("accelerate.fsdp_config.fsdp_reshard_after_forward") is True) is is_filled


def test_a_whole_document_plans_with_what_the_shards_leave_free() -> None:
    final, made = recommend(document(), EIGHT_B)
    assert final.get("model.dtype") == "float32"
    assert final.get("accelerate.distributed_type") == "FSDP"
    assert not any("Even one row" in each.comment for each in made)
    assert recommend(final, EIGHT_B)[0] == final


@pytest.mark.slow
@pytest.mark.parametrize("facts", [EIGHT_B, on(TWO_MACHINES), on(TWO_SMALL_GPUS), on(replace(CPU, world_size=2))])
def test_accelerate_takes_the_file(facts: Facts, tmp_path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    file = tmp_path / "accelerate.json"
    file.write_text(json.dumps(accelerate(Distribution().apply(document(**FULL), facts))))
    config: Any = load_config_from_file(str(file))
    assert config.num_processes == (facts.hardware.world_size if facts.hardware else None)
    assert config.distributed_type.value in ("FSDP", "MULTI_GPU")


@pytest.mark.parametrize(
    "values", [{"quantization__load_in_4bit": False}, {"quantization__load_in_8bit": True, "model__dtype": "bfloat16"}]
)
def test_4_bits_are_no_way_out_where_the_user_wants_others(values: dict[str, Any]) -> None:
    made = Distribution().apply(document(**LORA, **values), on(gpus(2, 48, (8, 0)), SEVENTY_B))
    assert made is not None and accelerate(made)["distributed_type"] == "FSDP"
    assert "4 bits" not in made.comment
