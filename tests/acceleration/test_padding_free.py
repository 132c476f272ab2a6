from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from kernel_families import joined, rows, tiny
from short_runs import arguments, dataset, tokenizer, trained

from tuning.acceleration.joined_rows import JoiningCollator, JoinRowsCallback, keeps_rows_apart
from tuning.acceleration.padding_free import PaddingFreePlugin
from tuning.acceleration.varlen_attention import ATTENTION, register_varlen_attention

PATH = "training.attention.padding_free"


def plugin() -> PaddingFreePlugin:
    return PaddingFreePlugin({PATH: {"method": "huggingface"}})


def trl_args(**changes: Any) -> Any:
    defaults = {"padding_free": False, "packing": False, "max_length": 512, "dataset_kwargs": None}
    return SimpleNamespace(**{**defaults, **changes})


def test_trl_joins_rows_and_does_not_cut_them() -> None:
    model, args = tiny("llama"), trl_args()
    plugin().augmentation(model, args)
    assert (args.padding_free, args.max_length) == (True, None)
    assert model.config._attn_implementation == ATTENTION


@pytest.mark.parametrize("prepared", [True, False])
def test_a_length_that_trl_can_no_longer_cut_to_is_told(prepared: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        plugin().augmentation(tiny("llama"), trl_args(dataset_kwargs={"skip_prepare_dataset": prepared}))
    assert ("cut them to 512 tokens before" in caplog.text) is not prepared


def test_virtual_tokens_and_invocations_keep_the_rows_padded() -> None:
    from peft import LoraConfig, PromptTuningConfig

    prompt = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    for peft_config in (prompt, LoraConfig(task_type="CAUSAL_LM", alora_invocation_tokens=[5])):
        model, args = tiny("llama"), trl_args()
        assert plugin().augmentation(model, args, (peft_config,)) == (model, (peft_config,))
        assert (args.padding_free, args.max_length, model.config._attn_implementation) == (False, 512, "sdpa")


def test_packed_sequences_keep_their_length() -> None:
    args = trl_args(packing=True)
    plugin().augmentation(tiny("llama"), args)
    assert args.max_length == 512


def test_an_attention_that_the_user_has_chosen_stays(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny("llama")
    model.set_attn_implementation("eager")
    with caplog.at_level(logging.WARNING):
        plugin().augmentation(model, trl_args())
    assert model.config._attn_implementation == "eager"
    assert "attends by eager over the whole batch" in caplog.text


def test_an_unknown_model_attends_as_before_with_its_rows_apart(caplog: pytest.LogCaptureFixture) -> None:
    model, args = tiny("stablelm"), trl_args()
    with caplog.at_level(logging.WARNING):
        plugin().augmentation(model, args)
    assert model.config._attn_implementation == "sdpa"
    assert "has not been compared" in caplog.text
    assert args.padding_free


@pytest.mark.parametrize("model_type", ["mamba", "bloom"])
def test_a_model_whose_rows_would_see_each_other_is_padded(model_type: str, caplog: pytest.LogCaptureFixture) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(model_type, vocab_size=97, hidden_size=32, num_hidden_layers=2, n_head=4, state_size=4)
    )
    args = trl_args()
    assert not keeps_rows_apart(model)
    with caplog.at_level(logging.WARNING):
        plugin().augmentation(model, args)
    assert (args.padding_free, args.max_length) == (False, 512)
    assert "so they are padded instead" in caplog.text


def test_a_model_that_counts_positions_through_the_sequence_keeps_no_rows_apart() -> None:
    model = tiny("gpt2")
    model.register_forward_pre_hook(_forget_positions, with_kwargs=True)
    model.set_attn_implementation(register_varlen_attention())
    assert not keeps_rows_apart(model)


def _forget_positions(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Keep the first of the rows from being seen, by a mask, and count on in the second."""
    num_tokens = kwargs["input_ids"].shape[1]
    mask = torch.full((num_tokens, num_tokens), -1e9).triu(1)
    mask[-4:, :-4] = -1e9
    return args, {**kwargs, "position_ids": torch.arange(num_tokens)[None], "attention_mask": mask[None, None]}


def padded(features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pad to a multiple of 8, as collators do."""
    from transformers import DataCollatorForSeq2Seq

    return DataCollatorForSeq2Seq(tokenizer(), pad_to_multiple_of=8, return_tensors="pt")(list(features))


def test_rows_are_joined_without_their_padding() -> None:
    parts = rows((5, 3))
    features = [
        {"input_ids": part.tolist(), "labels": part.tolist(), "attention_mask": [1] * len(part)} for part in parts
    ]
    batch = JoiningCollator(padded)(features)
    for name, wanted in joined(parts).items():
        assert batch[name].tolist() == wanted.tolist()
    assert [batch["labels"][0, 0], batch["labels"][0, 5]] == [-100, -100]
    assert batch["labels"][0, 1:5].tolist() == parts[0][1:].tolist()


def test_batches_that_hold_more_than_tokens_are_padded() -> None:
    features = [{"input_ids": [3, 4], "labels": [3, 4], "token_type_ids": [0, 0]}] * 2
    assert "attention_mask" in JoiningCollator(padded)(features)
    assert "position_ids" not in JoiningCollator(padded)(features)


def test_the_collator_is_wrapped_once() -> None:
    from accelerate import Accelerator
    from torch.utils.data import DataLoader

    prepared = Accelerator(cpu=True).prepare(DataLoader(dataset(), collate_fn=padded, batch_size=2))
    for _ in range(2):
        JoinRowsCallback().on_train_begin(train_dataloader=prepared)
    assert prepared.base_dataloader.collate_fn.collate_row is padded
    assert next(iter(prepared))["position_ids"].shape[0] == 1


def run(folder: Path, plugins: list[Any]) -> tuple[list[float], Any, list[tuple[int, ...]]]:
    """Train and evaluate with transformers' own trainer, as fms-acceleration's README does."""
    from transformers import Trainer, TrainingArguments

    model, args = tiny("llama"), TrainingArguments(**arguments(folder))
    for each in plugins:
        each.augmentation(model, args)
    shapes: list[tuple[int, ...]] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))
    trainer = Trainer(model, args, data_collator=padded, train_dataset=dataset(), eval_dataset=dataset(1))
    return trained(trainer, model=model, plugins=plugins), trainer, shapes


@pytest.mark.slow
def test_the_plain_trainer_has_the_losses_of_padded_training(tmp_path: Path) -> None:
    from tuning.acceleration.fused_ops import FusedOpsPlugin

    wanted, reference, padded_shapes = run(tmp_path / "padded", [])
    found, trainer, shapes = run(tmp_path / "fast", [plugin(), FusedOpsPlugin({"training.fused_ops_and_kernels": {}})])
    assert len(wanted) == 10
    assert found == pytest.approx(wanted, abs=1e-4)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(reference.evaluate()["eval_loss"], abs=1e-4)
    in_training = padded_shapes[: len(wanted)], shapes[: len(found)]
    assert all(rows > 1 for rows, _ in in_training[0]) and all(rows == 1 for rows, _ in in_training[1])


def test_a_row_of_one_token_is_a_row() -> None:
    batch = JoiningCollator(padded)([{"input_ids": [5], "labels": [5], "attention_mask": [1]}] * 2)
    assert batch["position_ids"].tolist() == [[0, 0]]
    assert torch.equal(batch["labels"], torch.tensor([[-100, -100]]))
