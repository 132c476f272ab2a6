from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuning.data.packing import check_rows_apart, packed
from tuning.errors import UserError

ROWS = [[5, 6, 7, 8, 9], [10, 11, 12], [13, 14, 15, 16], [17, 18]]
LENGTH = 8


def datasets_of(rows: list[list[int]]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": rows, "labels": rows})


def model_of(model_type: str, attention: str, **settings: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model(model_type, **{**sizes, "intermediate_size": 48, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


def batch_of(rows: Any) -> dict[str, Any]:
    """Lay packed sequences out with the collator that the trainer uses."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(list(rows))


def parts_of(sequences: Any) -> list[list[int]]:
    """Return the rows, or parts of rows, that packed sequences hold."""
    parts = []
    for sequence in sequences:
        ids = list(sequence["input_ids"])
        for length in sequence["seq_lengths"]:
            parts.append(ids[:length])
            ids = ids[length:]
    return parts


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["bfd", "bfd_split", "wrapped"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("llama", {}),
        ("mistral", {"sliding_window": 3, "num_key_value_heads": 2}),
        ("qwen3", {"head_dim": 16, "num_key_value_heads": 2}),
        ("gpt2", {}),
        ("gpt_neox", {}),
    ],
)
def test_the_logits_of_a_packed_row_are_those_of_the_row_alone(
    model_type: str, settings: dict[str, Any], attention: str, strategy: str
) -> None:
    import torch

    model = model_of(model_type, attention, **settings)
    sequences = packed(datasets_of(ROWS), LENGTH, strategy)
    assert len(sequences) < len(ROWS)
    parts = parts_of(sequences)
    with torch.no_grad():
        together = model(**{k: v for k, v in batch_of(sequences).items() if k != "labels"}, use_cache=False).logits[0]
        alone = torch.cat([model(torch.tensor([part]), use_cache=False).logits[0] for part in parts])
    assert torch.allclose(together[: len(alone)], alone, atol=1e-5)


@pytest.mark.parametrize("strategy", ["bfd", "bfd_split", "wrapped"])
def test_every_token_is_packed_once_and_lengths_add_up(strategy: str) -> None:
    sequences = packed(datasets_of(ROWS), LENGTH, strategy)
    assert sorted(token for part in parts_of(sequences) for token in part) == list(range(5, 19))
    assert all(sum(row["seq_lengths"]) == len(row["input_ids"]) == len(row["labels"]) <= LENGTH for row in sequences)


def test_wrapping_fills_sequences_and_remembers_where_rows_end() -> None:
    sequences = packed(datasets_of(ROWS), LENGTH, "wrapped")
    assert [row["seq_lengths"] for row in sequences] == [[5, 3], [4, 2]]
    longer = packed(datasets_of(ROWS), 6, "wrapped")
    assert [row["seq_lengths"] for row in longer] == [[5, 1], [2, 4], [2]]


def test_a_strategy_that_trl_does_not_know_is_refused() -> None:
    with pytest.raises(UserError, match=r"training\.packing_strategy"):
        packed(datasets_of(ROWS), LENGTH, "nothing")


@pytest.mark.slow
def test_a_model_that_keeps_rows_apart_may_pack() -> None:
    model = model_of("llama", "sdpa").train()
    check_rows_apart(model)
    assert model.training


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("mamba", {"state_size": 4, "time_step_rank": 2}),
        ("bloom", {}),
        ("falcon", {}),
        ("mpt", {"d_model": 32, "n_heads": 2, "n_layers": 2}),
        ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    ],
)
def test_a_model_in_which_rows_would_see_each_other_may_not_pack(model_type: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="rows of one sequence would see each other"):
        check_rows_apart(model_of(model_type, "eager", **settings))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [["packing=true"], ["packing=false", "eval_packing=true", "recommend=false"]])
def test_a_run_that_packs_measures_the_rows_as_one_that_does_not(
    tiny_model: Path, tmp_path: Path, settings: list[str]
) -> None:
    import json

    from tuning.sft_trainer import load_config, train

    rows = [{"prompt": f"{number} + 1 =", "completion": f" {number + 1}"} for number in range(40)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    words = [f"model_name_or_path={tiny_model}", f"training_data_path={file}", f"validation_data_path={file}"]
    words += ["max_length=64", "max_steps=1", "learning_rate=1e-9", "use_cpu=true", "save_strategy=no", "bf16=false"]
    words += [f"dataset_prepared_path={tmp_path / 'kept'}", "per_device_eval_batch_size=2"]

    def loss(name: str, *more: str) -> float:
        return train(load_config([*words, f"output_dir={tmp_path / name}", *more])).metrics["eval_loss"]

    assert loss("packed", *settings) == pytest.approx(loss("padded", "packing=false", "recommend=false"), abs=1e-5)
