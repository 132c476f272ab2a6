from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_facts import LARGE, LLAMA_8B, NOTHING, decided, document, model, written

from tuning.config.ir import IR
from tuning.recommender.actions import load_actions
from tuning.recommender.actions.packing import Packing
from tuning.recommender.data_facts import DataFacts
from tuning.recommender.engine import RuleEngine, recommend
from tuning.recommender.facts import Facts
from tuning.recommender.token_lengths import RowLength

FLASH: dict[str, Any] = {
    "peft__peft_method": "lora",
    "training__bf16": True,
    "training__num_train_epochs": 3.0,
    "model__dtype": "bfloat16",
    "model__attn_implementation": "flash_attention_2",
}
PACKED = {"packing": True, "packing_strategy": "bfd", "padding_free": True, "eval_packing": False}


def uneven(num_rows: int | None, *lengths: int) -> DataFacts:
    sampled = tuple(RowLength(tokens, tokens // 2) for tokens in (lengths or (20, 30, 40, 900)) * 200)
    return DataFacts(num_rows=num_rows, format="text", num_sampled_rows=len(sampled), row_lengths=sampled)


MANY = replace(LARGE, data=uneven(40_000))


def with_model(**fields: Any) -> Facts:
    return replace(MANY, model=model({**LLAMA_8B, **fields}))


@pytest.mark.parametrize(
    ("facts", "ir", "packed"),
    [
        (MANY, decided(**FLASH), True),
        (MANY, decided(**{**FLASH, "model__attn_implementation": "flash_attention_3"}), True),
        (MANY, decided(**{**FLASH, "model__attn_implementation": "sdpa"}), False),
        (MANY, decided(**{**FLASH, "model__attn_implementation": None}), False),
        (replace(MANY, data=uneven(40_000, 500)), decided(**FLASH), False),
        (replace(MANY, data=uneven(2_000)), decided(**FLASH), False),
        (replace(MANY, data=uneven(None)), decided(**FLASH), False),
        (replace(MANY, data=DataFacts(num_rows=40_000)), decided(**FLASH), False),
        (replace(MANY, data=None), decided(**FLASH), False),
        (replace(MANY, model=None), decided(**FLASH), False),
        (NOTHING, decided(**FLASH), False),
        (with_model(model_type="jamba"), decided(**FLASH), False),
        (with_model(model_type="falcon"), decided(**FLASH), False),
        (with_model(model_type="a type of my own"), decided(**FLASH), False),
        (MANY, document(**FLASH, training__max_steps=500), True),
        (MANY, document(**FLASH, training__max_steps=100_000), False),
        (MANY, document(**FLASH, training__padding_free=False), False),
        (MANY, document(**FLASH, training__per_device_train_batch_size=1), False),
    ],
)
def test_rows_are_packed_where_padding_wastes_a_fifth_and_a_kernel_keeps_them_apart(
    facts: Facts, ir: IR, packed: bool
) -> None:
    assert written(Packing().apply(ir, facts)) == (PACKED if packed else {})


def test_the_users_refusal_stays_and_the_advice_is_kept() -> None:
    final, (made,) = RuleEngine([Packing()]).run(document(**FLASH, training__packing=False), MANY)
    assert final.get("training.packing") is False
    assert [(told.path, told.user, told.suggested) for told in made.declined] == [("training.packing", False, True)]


def test_rows_are_never_cut_in_the_middle_unless_the_user_says_so() -> None:
    assert written(Packing().apply(document(training__packing=True), NOTHING)) == {"packing_strategy": "bfd"}
    ir = document(training__packing=True, training__packing_strategy="wrapped")
    final, (made,) = RuleEngine([Packing()]).run(ir, NOTHING)
    assert final.get("training.packing_strategy") == "wrapped"
    assert "wrapped cuts them in the middle" in str(made.declined[0])


def test_packing_settles_with_everything_else_and_counts_packed_steps() -> None:
    facts = replace(MANY, kernels=frozenset({"flash_attn"}))
    ir = IR.of({"peft": {"peft_method": "lora"}}, "command line")
    final, _ = recommend(ir, facts)
    assert final.get("training.packing") is True
    assert final.get("training.train_sampling_strategy") is None
    assert final.get("training.max_length") >= 1024
    again, made = RuleEngine(load_actions()).run(final, facts)
    assert again == final and not any(each.json_patch for each in made)


@pytest.mark.slow
def test_trl_packs_as_recommended_and_evaluates_row_by_row(tiny_model: Path, tmp_path: Path) -> None:
    from tuning.sft_trainer import train

    rows = [{"prompt": f"Count to {n}.", "completion": " ".join(map(str, range(n)))} for n in (2, 3, 5, 20) * 20]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = {"training_data_path": str(tmp_path / "rows.jsonl"), "output_dir": str(tmp_path / "run")}
    lengths = {"max_steps": 2, "max_length": 128, "validation_fraction": 0.25, "per_device_eval_batch_size": 4}
    result = train({"model_name_or_path": str(tiny_model), "use_cpu": True, **files, **lengths, **PACKED})
    assert result.global_step == 2
    assert 0 < result.metrics["eval_loss"] < 20
