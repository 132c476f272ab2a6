from __future__ import annotations

import pytest
import test_accelerate_file
import test_axolotl
import test_fms
import test_llamafactory
import test_torchtune
import test_trl_sft

from tuning.config.ir import DEFAULT, IR
from tuning.recommender.adapters import ADAPTERS, recognised_by
from tuning.recommender.adapters.adapter import Adapter
from tuning.recommender.adapters.axolotl import AxolotlAdapter
from tuning.recommender.adapters.documents import parse_document
from tuning.recommender.adapters.native import NativeAdapter

SAMPLES = [
    *(("fms", text) for text in (test_fms.TUNING, test_fms.DATA, test_fms.TEMPLATES)),
    *(("accelerate", text) for text in (test_accelerate_file.FSDP2, test_accelerate_file.ZERO3)),
    *(("trl", text) for text in (test_trl_sft.QLORA, test_trl_sft.FULL)),
    *(("llamafactory", text) for text in (test_llamafactory.LORA, test_llamafactory.FULL)),
    *(("axolotl", text) for text in (test_axolotl.QLORA, test_axolotl.FULL, test_axolotl.EIGHT_BIT)),
    *(("torchtune", text) for text in (test_torchtune.LORA, test_torchtune.QLORA, test_torchtune.FULL)),
    ("native", "training: {learning_rate: 1e-4}\nmodel: {model_name_or_path: org/model}"),
    ("native", "model_name_or_path: org/model\ntraining_data_path: a.jsonl\noutput_dir: out\nr: 8"),
]


@pytest.mark.parametrize(("name", "text"), SAMPLES)
def test_each_document_is_recognised_as_what_it_is(name: str, text: str) -> None:
    names = recognised_by(parse_document(text, "it.yaml"))
    assert [found for found in names if found != "native"] == ([name] if name != "native" else [])
    assert name in names


@pytest.mark.parametrize("text", ["{}", "colour: red", "data: 5", "datasets: []", "model: llama"])
def test_a_document_of_nobodys_is_not_recognised(text: str) -> None:
    assert recognised_by(parse_document(text, "it.yaml")) == []


def test_every_adapter_knows_its_name() -> None:
    assert set(ADAPTERS.names()) >= {"native", "fms", "accelerate", "trl", "llamafactory", "axolotl", "torchtune"}
    assert all(ADAPTERS.load(name)().name == name for name in ADAPTERS.names())


def test_the_base_carries_nothing_and_says_so() -> None:
    assert [item.key for item in Adapter().read({"a": 1}, "it").unmapped] == ["a"]
    assert [item.key for item in Adapter().write(IR.of({"peft": {"r": 8}}, "me")).unmapped] == ["peft"]
    assert not Adapter().recognises({"a": 1})


def test_every_value_names_the_file_that_it_was_read_from() -> None:
    ir = AxolotlAdapter().read({"base_model": "m", "adapter": "lora"}, "file a.yaml").ir
    assert set(ir.sources.values()) == {"file a.yaml"}


def test_a_default_that_nobody_chose_is_not_told_of() -> None:
    ir = IR.of({"tracking": {"finish_timeout": 30.0}}, DEFAULT).merge({"peft": {"exclude_modules": ["a"]}}, "me")
    assert [item.key for item in AxolotlAdapter().write(ir).unmapped] == ["peft.exclude_modules"]


def test_a_key_that_an_action_added_is_told_of() -> None:
    ir = IR.of({"peft": {"r": 8, "new": 1}, "beyond": {"a": 2}}, "action New")
    made = NativeAdapter().write(ir)
    assert made.files == {"config.json": {"peft": {"r": 8}}}
    assert {item.key for item in made.unmapped} == {"peft.new", "beyond"}


def test_our_own_document_is_read_in_any_spelling() -> None:
    made = NativeAdapter().read({"lora_r": 8, "training.seed": 1, "logging_dir": "x", "colour": "red"}, "it")
    assert made.ir.values == {"peft": {"r": 8}, "training": {"seed": 1}}
    assert {item.key for item in made.unmapped} == {"logging_dir", "colour"}


def test_the_record_of_a_run_is_read_too() -> None:
    assert NativeAdapter().read({"values": {"peft": {"r": 8}}, "sources": {}}, "it").ir.get("peft.r") == 8
