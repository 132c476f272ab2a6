from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import run_config

from tuning.checkpoints.room import Need, check_room, least_need
from tuning.config.ir import IR
from tuning.config.loading import load_mapping
from tuning.errors import ConfigError
from tuning.full_disk import free_bytes
from tuning.recommender.model_facts import ModelFacts
from tuning.recommender.shape import Shape

SHAPE = Shape(64, 2, 4, 2, 16, 128, 1000)
MODEL = ModelFacts(num_parameters=1_000, shape=SHAPE)


def document(**settings: Any) -> IR:
    return load_mapping({"dtype": "float32", "output_dir": "out", **settings}).ir


@pytest.mark.parametrize(
    ("settings", "need"),
    [
        ({}, Need(12_000, 4_000)),
        ({"dtype": "bfloat16"}, Need(6_000, 2_000)),
        ({"optim": "sgd"}, Need(4_000, 4_000)),
        ({"optim": "adamw_8bit"}, Need(4_000, 4_000)),
        ({"save_only_model": True}, Need(4_000, 4_000)),
        ({"save_strategy": "no"}, Need(0, 4_000)),
    ],
)
def test_a_checkpoint_holds_the_weights_and_two_states_of_adamw_for_each(settings: Any, need: Need) -> None:
    assert least_need(document(**settings), MODEL) == need


def test_adapters_need_little() -> None:
    need = least_need(document(peft_method="lora", r=1, target_modules=["q_proj"]), MODEL)
    assert need == Need(12 * 2 * (64 + 64), 4 * 2 * (64 + 64))


def test_a_model_that_is_not_known_is_not_judged() -> None:
    assert least_need(document(), ModelFacts()) is None


def test_a_run_whose_checkpoint_cannot_fit_is_refused(tiny_config_only_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_config_only_model, tmp_path / "model")
    config = (tmp_path / "model" / "config.json").read_text()
    huge = config.replace('"intermediate_size": 128', '"intermediate_size": 100000')
    huge = huge.replace('"num_hidden_layers": 2', '"num_hidden_layers": 50000')
    (tmp_path / "model" / "config.json").write_text(huge)
    settings = {"model_name_or_path": str(tmp_path / "model"), "output_dir": str(tmp_path / "out")}
    with pytest.raises(ConfigError, match=r"training.output_dir.*one checkpoint takes at least .* free. Make room"):
        check_room(run_config(tmp_path / "out"), document(**settings))
    assert not (tmp_path / "out").exists()


def test_where_there_is_room_nothing_is_told(
    tiny_config_only_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_room(run_config(tmp_path), document(model_name_or_path=str(tiny_config_only_model)))
    assert caplog.text == "" and free_bytes(tmp_path) == pytest.approx(free_bytes(tmp_path / "a" / "b"), rel=0.1)
