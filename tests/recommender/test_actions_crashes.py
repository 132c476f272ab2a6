from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_facts import (
    CPU,
    LLAMA_8B,
    NOTHING,
    ONE_GPU,
    ONE_OLD_GPU,
    SMALL,
    TINY_LLAMA,
    data,
    decided,
    document,
    model,
    written,
)

from tuning.recommender.action import Level
from tuning.recommender.actions import load_actions
from tuning.recommender.actions.crashes import (
    AssistantOnlyLoss,
    BestCheckpointMetric,
    BestModelCadence,
    LoaderProcesses,
    OutputAdapter,
    PaddingFree,
    PositionTable,
    RouterLoss,
    SchedulerWithoutEvaluation,
    SelectiveCheckpointing,
)
from tuning.recommender.actions.device_crashes import (
    ActivationOffloading,
    AttentionKernel,
    Bf16OnCpu,
    Fp16Weights,
    Tf32,
)
from tuning.recommender.engine import RuleEngine
from tuning.recommender.facts import Facts

GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 400, "n_positions": 64}
MIXTRAL = {**TINY_LLAMA, "model_type": "mixtral", "num_local_experts": 4}
OPT = {"model_type": "opt", "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
OPT |= {"vocab_size": 400, "max_position_embeddings": 64, "word_embed_proj_dim": 32, "do_layer_norm_before": True}
GRANITE = {**MIXTRAL, "model_type": "granitemoehybrid", "layer_types": ["attention", "attention"]}
TABLED, EXPERTS, FORGETFUL = Facts(model(GPT2)), Facts(model(MIXTRAL)), Facts(model(OPT))
ON_CPU, ON_GPU, ON_OLD_GPU = Facts(hardware=CPU), Facts(hardware=ONE_GPU), Facts(hardware=ONE_OLD_GPU)
BEST = {"training__load_best_model_at_end": True}
STEPS, BY_BEST = {"training__eval_strategy": "steps"}, {"training__save_strategy": "best"}
PREFETCH, PERSISTENT = "training__dataloader_prefetch_factor", "training__dataloader_persistent_workers"
KWARGS = "training__gradient_checkpointing_kwargs"
ATTENTION = "model__attn_implementation"


def every(eval_steps: float, save_steps: float) -> dict[str, Any]:
    both = {"training__eval_steps": eval_steps, "training__save_steps": save_steps}
    return {**BEST, **STEPS, "training__save_strategy": "steps", **both}


@pytest.mark.parametrize(
    ("action", "facts", "values", "expected"),
    [
        (PaddingFree(), FORGETFUL, {"training__padding_free": True}, {"padding_free": False}),
        (
            PaddingFree(),
            FORGETFUL,
            {"training__packing": True, "training__eval_packing": True},
            {"packing": False, "eval_packing": False},
        ),
        (PaddingFree(), FORGETFUL, {"training__padding_free": False}, {}),
        (PaddingFree(), TABLED, {"training__padding_free": True}, {}),
        (PaddingFree(), NOTHING, {"training__padding_free": True}, {}),
        (PaddingFree(), NOTHING, {}, {}),
        (PositionTable(), TABLED, {"training__max_length": 65}, {"max_length": 64}),
        (PositionTable(), TABLED, {"training__max_length": 64}, {}),
        (PositionTable(), TABLED, {}, {}),
        (PositionTable(), Facts(model(LLAMA_8B)), {"training__max_length": 100_000}, {}),
        (PositionTable(), NOTHING, {"training__max_length": 100_000}, {}),
        (
            BestModelCadence(),
            NOTHING,
            {**BEST, "training__eval_strategy": "steps", "training__save_strategy": "epoch"},
            {"save_strategy": "steps"},
        ),
        (
            BestModelCadence(),
            NOTHING,
            {**BEST, "training__eval_strategy": "epoch", "training__save_strategy": "no"},
            {"save_strategy": "epoch"},
        ),
        (
            BestModelCadence(),
            NOTHING,
            every(7, 11),
            {"save_steps": 14},
        ),
        (
            BestModelCadence(),
            NOTHING,
            every(7, 3),
            {"save_steps": 7},
        ),
        (
            BestModelCadence(),
            NOTHING,
            every(7, 0.5),
            {"save_steps": 7},
        ),
        (
            BestModelCadence(),
            NOTHING,
            every(0.1, 0.25),
            {"save_steps": 0.2},
        ),
        (
            BestModelCadence(),
            NOTHING,
            every(0.07, 0.2),
            {"save_steps": 0.21},
        ),
        (BestModelCadence(), NOTHING, every(5, 10), {}),
        (BestModelCadence(), NOTHING, {"training__eval_strategy": "steps", "training__save_strategy": "epoch"}, {}),
        (
            BestModelCadence(),
            NOTHING,
            BEST | STEPS | BY_BEST,
            {},
        ),
        (BestCheckpointMetric(), NOTHING, {"training__save_strategy": "best"}, {"metric_for_best_model": "loss"}),
        (
            BestCheckpointMetric(),
            NOTHING,
            {"training__save_strategy": "best", "training__metric_for_best_model": "entropy"},
            {},
        ),
        (
            SchedulerWithoutEvaluation(),
            NOTHING,
            {"training__lr_scheduler_type": "reduce_lr_on_plateau"},
            {"lr_scheduler_type": "constant_with_warmup"},
        ),
        (
            SchedulerWithoutEvaluation(),
            NOTHING,
            {"training__lr_scheduler_type": "greedy", "training__eval_strategy": "epoch"},
            {},
        ),
        (SchedulerWithoutEvaluation(), NOTHING, {"training__lr_scheduler_type": "cosine"}, {}),
        (LoaderProcesses(), NOTHING, {PREFETCH: 2}, {"dataloader_num_workers": 1}),
        (LoaderProcesses(), NOTHING, {PERSISTENT: True}, {"dataloader_num_workers": 1}),
        (
            LoaderProcesses(),
            NOTHING,
            {PREFETCH: 2, PERSISTENT: True, "training__dataloader_num_workers": 0},
            {"dataloader_prefetch_factor": None, "dataloader_persistent_workers": None},
        ),
        (LoaderProcesses(), NOTHING, {PREFETCH: 2, "training__dataloader_num_workers": 1}, {}),
        (LoaderProcesses(), NOTHING, {PERSISTENT: False}, {}),
        (SelectiveCheckpointing(), NOTHING, {KWARGS: {"selective": True}}, {"gradient_checkpointing": True}),
        (
            SelectiveCheckpointing(),
            NOTHING,
            {KWARGS: {"selective": True, "use_reentrant": True}},
            {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
        ),
        (SelectiveCheckpointing(), NOTHING, {KWARGS: {"use_reentrant": True}}, {}),
        (AssistantOnlyLoss(), SMALL, {"training__assistant_only_loss": True}, {"assistant_only_loss": False}),
        (AssistantOnlyLoss(), NOTHING, {"training__assistant_only_loss": True}, {}),
        (
            AssistantOnlyLoss(),
            Facts(data=replace(data(9), format="chat")),
            {"training__assistant_only_loss": True},
            {},
        ),
        (
            OutputAdapter(),
            NOTHING,
            {"peft__peft_method": "lora", "peft__target_modules": ["q_proj", "model.lm_head"]},
            {"target_modules": ["q_proj"]},
        ),
        (
            OutputAdapter(),
            NOTHING,
            {"peft__peft_method": "lora", "peft__target_modules": ["lm_head"]},
            {"target_modules": "all-linear"},
        ),
        (OutputAdapter(), NOTHING, {"peft__peft_method": "lora", "peft__target_modules": ["q_proj"]}, {}),
        (OutputAdapter(), NOTHING, {"peft__target_modules": ["lm_head"]}, {}),
        (RouterLoss(), SMALL, {"training__router_aux_loss_coef": 0.01}, {"router_aux_loss_coef": None}),
        (RouterLoss(), EXPERTS, {"training__router_aux_loss_coef": 0.01}, {}),
        (RouterLoss(), NOTHING, {"training__router_aux_loss_coef": 0.01}, {}),
        (RouterLoss(), Facts(model(GRANITE)), {}, {"router_aux_loss_coef": 0.0}),
        (RouterLoss(), Facts(model(GRANITE)), {"training__router_aux_loss_coef": 0.01}, {"router_aux_loss_coef": 0.0}),
        (RouterLoss(), Facts(model({**GRANITE, "num_local_experts": 0})), {}, {"router_aux_loss_coef": 0.0}),
        (RouterLoss(), EXPERTS, {}, {}),
        (Bf16OnCpu(), ON_CPU, {"training__bf16": True}, {"use_cpu": True}),
        (Bf16OnCpu(), ON_CPU, {"training__bf16_full_eval": True, "training__use_cpu": False}, {"use_cpu": True}),
        (Bf16OnCpu(), ON_CPU, {"training__bf16": True, "training__use_cpu": True}, {}),
        (Bf16OnCpu(), ON_OLD_GPU, {"training__bf16": True}, {}),
        (Bf16OnCpu(), NOTHING, {"training__bf16": True}, {}),
        (Fp16Weights(), ON_GPU, {"training__fp16": True, "model__dtype": "float16"}, {"dtype": "float32"}),
        (
            Fp16Weights(),
            Facts(model({**TINY_LLAMA, "dtype": "float16"})),
            {"training__fp16": True, "model__dtype": "auto"},
            {"dtype": "float32"},
        ),
        (
            Fp16Weights(),
            ON_GPU,
            {"training__fp16": True, "model__dtype": "float16", "peft__peft_method": "lora"},
            {},
        ),
        (Fp16Weights(), ON_GPU, {"training__fp16": True}, {}),
        (Tf32(), ON_CPU, {"training__tf32": True}, {"tf32": False}),
        (Tf32(), ON_OLD_GPU, {"training__tf32": True}, {"tf32": False}),
        (Tf32(), ON_GPU, {"training__tf32": True}, {}),
        (Tf32(), ON_CPU, {"training__tf32": False}, {}),
        (AttentionKernel(), ON_CPU, {ATTENTION: "flash_attention_3"}, {"attn_implementation": "sdpa"}),
        (AttentionKernel(), ON_CPU, {ATTENTION: "flex_attention"}, {"attn_implementation": "sdpa"}),
        (AttentionKernel(), ON_CPU, {ATTENTION: "eager"}, {}),
        (AttentionKernel(), ON_CPU, {}, {}),
        (
            AttentionKernel(),
            replace(ON_GPU, kernels=frozenset()),
            {ATTENTION: "flash_attention_2"},
            {"attn_implementation": "sdpa"},
        ),
        (AttentionKernel(), replace(ON_GPU, kernels=frozenset({"flash_attn"})), {ATTENTION: "flash_attention_2"}, {}),
        (AttentionKernel(), replace(ON_GPU, kernels=frozenset({"kernels"})), {ATTENTION: "flash_attention_3"}, {}),
        (AttentionKernel(), ON_GPU, {ATTENTION: "flash_attention_2"}, {}),
        (
            AttentionKernel(),
            replace(ON_GPU, kernels=frozenset()),
            {ATTENTION: "flash_attention_2", "compute__num_gpus_per_node": 8},
            {},
        ),
        (ActivationOffloading(), ON_CPU, {"training__activation_offloading": True}, {"activation_offloading": False}),
        (ActivationOffloading(), ON_GPU, {"training__activation_offloading": True}, {}),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "apply") else None,
)
def test_what_would_crash_is_seen_and_mended_and_nothing_else(
    action: Any, facts: Facts, values: dict[str, Any], expected: dict[str, Any]
) -> None:
    made = action.apply(document(**values), facts)
    assert written(made) == expected
    assert made is None or (made.level is Level.MANDATORY and made.comment and made.source)


def test_what_is_mended_needs_no_mending_again() -> None:
    original = document(**{PREFETCH: 2, "training__dataloader_num_workers": 0, "training__padding_free": True})
    final, _ = RuleEngine(load_actions()).run(original, SMALL)
    assert [made for made in RuleEngine(load_actions()).run(final, SMALL)[1] if made.level is Level.MANDATORY] == []


def test_a_value_that_another_action_wrote_is_mended_without_a_word_of_the_user() -> None:
    final, recommendations = RuleEngine([PaddingFree()]).run(decided(training__packing=True), FORGETFUL)
    assert (final.get("training.packing"), recommendations[0].overridden) == (False, ())


CRASHES: dict[str, dict[str, Any]] = {
    "PaddingFree": {"padding_free": True, "model_name_or_path": "opt"},
    "PositionTable": {"max_length": 128, "model_name_or_path": "gpt2"},
    "BestModelCadence": {"load_best_model_at_end": True, "eval_strategy": "steps", "save_strategy": "epoch"},
    "BestCheckpointMetric": {"save_strategy": "best"},
    "SchedulerWithoutEvaluation": {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "no"},
    "LoaderProcesses": {"dataloader_prefetch_factor": 2, "dataloader_num_workers": 0},
    "SelectiveCheckpointing": {
        "gradient_checkpointing": False,
        "gradient_checkpointing_kwargs": {"selective": True},
    },
    "AssistantOnlyLoss": {"assistant_only_loss": True, "dataset_text_field": "prompt"},
    "OutputAdapter": {"peft_method": "lora", "target_modules": ["q_proj", "lm_head"], "train_from_scratch": False},
    "RouterLoss": {"model_name_or_path": "granite"},
    "Bf16OnCpu": {"bf16": True, "use_cpu": False},
    "Tf32": {"tf32": True},
    "AttentionKernel": {"attn_implementation": "flash_attention_2"},
    "ActivationOffloading": {"activation_offloading": True},
}
"""A configuration for each rule that a CPU can show to crash without it, and to run with it."""

PROGRAM = """
import json, sys
from tuning.sft_trainer import train
for name, job in json.load(open(sys.argv[1])).items():
    for recommend in (False, True):
        try:
            train({**job, "recommend": recommend, "output_dir": f"{name}-{recommend}"})
            print("OUTCOME", name, recommend, "ran")
        except Exception as error:
            print("OUTCOME", name, recommend, "crashed")
"""


@pytest.mark.slow
def test_each_rule_makes_a_run_start_that_crashes_without_it(
    tiny_model: Path, tiny_config_only_model: Path, tmp_path: Path
) -> None:
    for name, config in (("gpt2", GPT2), ("opt", OPT), ("granite", GRANITE)):
        shutil.copytree(tiny_config_only_model, tmp_path / name)
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a b c", "completion": "b c d"}\n' * 16)
    job = {"model_name_or_path": str(tiny_model), "training_data_path": "rows.jsonl", "train_from_scratch": True}
    job |= {"validation_fraction": 0.2, "max_steps": 1, "per_device_train_batch_size": 2, "save_strategy": "no"}
    job |= {"max_length": 32, "bf16": False, "eval_steps": 1}
    (tmp_path / "jobs.json").write_text(json.dumps({name: {**job, **crash} for name, crash in CRASHES.items()}))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "jobs.json"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    outcomes = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("OUTCOME")]
    ends = (("False", "crashed"), ("True", "ran"))
    expected = [[name, recommend, how] for name in CRASHES for recommend, how in ends]
    assert outcomes == expected, done.stderr[-3000:]


def test_every_rule_against_crashes_is_registered_and_shown() -> None:
    modules = ("tuning.recommender.actions.crashes", "tuning.recommender.actions.device_crashes")
    names = {action.name for action in load_actions() if type(action).__module__ in modules}
    assert names == {*CRASHES, "Fp16Weights"}  # whose crash needs a GPU
