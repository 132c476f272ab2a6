"""What holds for every built-in action."""

from __future__ import annotations

import json
from typing import Any

import pytest
from made_up_facts import LARGE, NOTHING, SMALL, decided

from tuning.config.ir import IR, leaves, nested
from tuning.recommender.action import Action
from tuning.recommender.actions import ACTIONS, load_actions
from tuning.recommender.engine import RuleEngine, recommend
from tuning.recommender.facts import Facts
from tuning.recommender.values import FUSED_OPS, PADDING_FREE

ALL = load_actions()
OF_THE_USER = {
    **dict.fromkeys([PADDING_FREE, FUSED_OPS], False),
    **dict.fromkeys(["training.num_train_epochs", "training.logging_steps", "training.weight_decay"], 0.123),
    **dict.fromkeys(["training.learning_rate", "data.validation_fraction", "peft.lora_dropout"], 0.321),
    **dict.fromkeys(["training.eval_steps", "training.save_steps", "training.warmup_steps", "peft.lora_alpha"], 17),
    **dict.fromkeys(["peft.r", "training.max_length", "training.save_total_limit"], 19),
    **dict.fromkeys(["training.bf16", "training.fp16"], False),
    **dict.fromkeys(["training.dataloader_pin_memory", "training.gradient_checkpointing"], True),
    "training.gradient_checkpointing_kwargs.use_reentrant": True,
    "model.dtype": "auto",
    "peft.peft_method": "lora",
    "peft.target_modules": ["q_proj"],
    "training.eval_strategy": "epoch",
    "training.gradient_accumulation_steps": 3,
    "training.lr_scheduler_type": "linear",
    "training.optim": "sgd",
    "training.per_device_eval_batch_size": 3,
    "training.per_device_train_batch_size": 3,
    "training.save_strategy": "epoch",
    "training.train_sampling_strategy": "sequential",
}
LORA: dict[str, Any] = {"peft__peft_method": "lora"}


def test_the_actions_stand_in_their_order_and_are_registered() -> None:
    names = [action.name for action in ALL]
    assert names[0] == "PeftMethod"
    assert set(names) == set(ACTIONS.names())
    assert names.index("BatchSize") < names.index("LearningRate") < names.index("Saving")


@pytest.mark.parametrize("facts", [NOTHING, SMALL, LARGE, Facts(model=LARGE.model), Facts(data=SMALL.data)])
@pytest.mark.parametrize("ir", [IR(), decided(**LORA), IR.of({"training": "x", "peft": [], "data": 1}, "file")])
def test_every_action_copes_with_what_is_not_known(facts: Facts, ir: IR) -> None:
    for made in filter(None, (action.apply(ir, facts) for action in ALL)):
        assert json.dumps(made.to_dict(), allow_nan=False)
        assert made.comment.endswith(".") and made.source


@pytest.mark.parametrize("facts", [SMALL, LARGE])
@pytest.mark.parametrize("ir", [IR(), decided(**LORA).merge({"peft": {"r": 4}}, "file")])
def test_every_value_can_be_set_by_the_user_instead(facts: Facts, ir: IR) -> None:
    _, recommendations = recommend(ir, facts)
    for path in {path for made in recommendations for path, _ in leaves(made.patch)}:
        chosen = OF_THE_USER[path]
        final, again = RuleEngine(ALL).run(ir.merge(nested(path, chosen), "command line"), facts)
        assert (final.get(path), final.sources[path]) == (chosen, "command line")
        assert all(found.user == chosen for made in again for found in made.declined if found.path == path)


def test_an_action_of_another_package_joins_at_the_end() -> None:
    from tuning.recommender import actions

    class Extra(Action):
        pass

    before = dict(actions.ACTIONS._registered)
    try:
        actions.ACTIONS.register("Extra")(Extra)
        assert [type(action) for action in load_actions()][-1] is Extra
    finally:
        actions.ACTIONS._registered.clear()
        actions.ACTIONS._registered.update(before)
