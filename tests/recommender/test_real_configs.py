"""What is recommended, handed to the classes that it is meant for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_up_facts import CPU, CPU_WITH_BF16, LARGE, NOTHING, SMALL, document

from tuning.config.hf_fields import sft_config_fields
from tuning.config.ir import IR
from tuning.recommender.engine import recommend
from tuning.recommender.facts import Facts

USE_CPU = {"training__use_cpu": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ir", "facts"),
    [
        (document(), SMALL),
        (document(**USE_CPU), NOTHING),
        (document(**USE_CPU, peft__r=4), SMALL),
        (document(**USE_CPU), Facts(LARGE.model, LARGE.data, CPU)),
        (document(model__train_from_scratch=True), Facts(SMALL.model, SMALL.data, CPU_WITH_BF16)),
        (document(**USE_CPU, training__load_best_model_at_end=True), NOTHING),
        (document(**USE_CPU, training__load_best_model_at_end=True, training__eval_steps=7), SMALL),
        (document(training__load_best_model_at_end=True, training__save_steps=11), SMALL),
        (document(training__load_best_model_at_end=True, training__save_strategy="epoch"), SMALL),
        (document(training__max_steps=3), SMALL),
    ],
)
def test_trl_and_peft_take_what_is_recommended(ir: IR, facts: Facts, tmp_path: Path) -> None:
    from peft import LoraConfig
    from trl import SFTConfig

    final, _ = recommend(ir, facts)
    training: dict[str, Any] = {name: value for name, value in final.values["training"].items() if name != "output_dir"}
    assert training.keys() <= sft_config_fields().keys()
    precision = (
        {"bf16": False} if facts is NOTHING else {}
    )  # nothing known: TRL's own default stays, which a CPU refuses
    args = SFTConfig(output_dir=str(tmp_path), report_to="none", **{**training, **precision})
    assert args.learning_rate == final.get("training.learning_rate")
    peft = {name: value for name, value in final.values["peft"].items() if name != "peft_method"}
    assert LoraConfig(task_type="CAUSAL_LM", **peft).r == peft.get("r", 8)
