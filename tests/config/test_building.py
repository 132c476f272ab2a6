from __future__ import annotations

from typing import Any

import pytest

from tuning.config.building import build_config, complete, with_checked_values
from tuning.config.hf_fields import sft_config_fields
from tuning.config.ir import leaves
from tuning.config.loading import load_mapping
from tuning.config.names import ALIASES, RETIRED, field_paths, path_of
from tuning.config.schema import TuningConfig, sections
from tuning.errors import ConfigError

REQUIRED = {"model_name_or_path": "m", "training_data_path": "d.jsonl", "output_dir": "o"}


def build(**settings: Any) -> TuningConfig:
    loaded = load_mapping({**REQUIRED, **settings})
    return build_config(loaded.ir, problems=loaded.problems)


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigError) as error:
        build(**settings)
    return str(error.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"learning_rate": "fast"}, "training.learning_rate: got 'fast' (from argument); expected a number, above 0."),
        ({"learning_rate": 0}, "expected a number, above 0"),
        ({"learning_rate": True}, "expected a number, above 0"),
        ({"per_device_train_batch_size": 0}, "expected a whole number, at least 1"),
        ({"per_device_train_batch_size": 2.5}, "expected a whole number, at least 1"),
        ({"seed": -1}, "expected a whole number, at least 0"),
        ({"lr_scheduler_type": "cosin"}, "Did you mean 'cosine'"),
        ({"optim": "adamw_troch"}, "Did you mean 'adamw_torch'"),
        (
            {"peft_method": "lroa"},
            "got 'lroa' (from argument); expected one of: none, lora, alora, pt, ia3. Did you mean 'lora'",
        ),
        ({"peft_method": "ia3", "r": 8}, "is of peft_method=lora, and peft_method is ia3"),
        ({"peft_method": "pt", "use_dora": True}, "is of peft_method=lora, and peft_method is pt"),
        ({"peft_method": "pt", "target_modules": "q_proj"}, "is of peft_method=lora, and peft_method is pt"),
        ({"peft_method": "lora", "feedforward_modules": "down_proj"}, "is of peft_method=ia3"),
        ({"lora_dropout": 1.5}, "expected a number, at least 0, below 1"),
        ({"aim_remote_server_port": 99999}, "at most 65535"),
        ({"bf16": True, "fp16": True}, "conflicts with training.bf16"),
        ({"chat_template": "x", "chat_template_path": "y"}, "conflicts with model.chat_template"),
        ({"dataset_text_field": "x", "data_formatter_template": "y"}, "conflicts with data.dataset_text_field"),
        ({"max_steps": 0}, "at least 1 (or -1: by epochs)"),
        ({"use_cpu": True, "fp16": True}, "float16 does not train on a CPU"),
        ({"push_to_hub": True}, "training.push_to_hub: got True (from argument); is not done"),
        ({"train_from_scratch": True, "peft_method": "lora"}, "adapters need trained weights"),
        ({"exp_metadata": "not json"}, "metadata: got 'not json' (from argument); expected an object."),
    ],
)
def test_what_cannot_be_is_refused_with_field_value_and_source(settings: dict[str, Any], told: str) -> None:
    assert told in refusal(**settings)


@pytest.mark.parametrize(
    ("data_format", "field"),
    [
        ("instruction", "dataset_text_field"),
        ("chat", "data_formatter_template"),
        ("prompt_completion", "label_separator"),
        ("text", "dataset_conversation_field"),
    ],
)
def test_a_shape_of_rows_beside_a_field_that_says_another_is_refused(data_format: str, field: str) -> None:
    told = f"data.data_format: got '{data_format}' (from argument); conflicts with data.{field}"
    assert told in refusal(**{"data_format": data_format, field: "x"})


@pytest.mark.parametrize(
    ("data_format", "field"),
    [
        ("text", "dataset_text_field"),
        ("text", "data_formatter_template"),
        ("text", "label_separator"),
        ("chat", "dataset_conversation_field"),
    ],
)
def test_a_shape_of_rows_stands_beside_a_field_that_means_it(data_format: str, field: str) -> None:
    assert build(**{"data_format": data_format, field: "x"}).data.data_format == data_format


def test_all_problems_are_told_at_once() -> None:
    told = refusal(learning_rat=1, seed="x", optim="sdg", model_name_or_path=None)
    assert [line.partition(":")[0] for line in told.splitlines()] == [
        "learning_rat",
        "training.optim",
        "training.seed",
        "model.model_name_or_path",
    ]


@pytest.mark.parametrize("missing", sorted(REQUIRED))
def test_each_required_field_is_named_when_it_is_missing(missing: str) -> None:
    assert missing in refusal(**{missing: None})


def test_values_are_read_as_their_types() -> None:
    config = build(learning_rate="1e-06", bf16="True", target_modules="q_proj,v_proj", trackers="aim,none")
    assert config.training.learning_rate == 1e-6
    assert config.training.model_dump()["bf16"] is True
    assert config.peft.target_modules == ["q_proj", "v_proj"]
    assert config.tracking.trackers == ["aim"]


@pytest.mark.parametrize("field", ["chat_template", "response_template", "data_formatter_template"])
def test_typed_line_breaks_in_templates_become_line_breaks(field: str) -> None:
    section = field_paths()[field].partition(".")[0]
    assert getattr(getattr(build(**{field: "\\n### é"}), section), field) == "\n### é"


def test_flat_names_are_unique_over_all_sections() -> None:
    names = [name for section in sections().values() for name in section.model_fields]
    assert len(names) == len(set(names))


def test_every_field_of_sft_config_is_accepted_under_its_own_name() -> None:
    unknown = [name for name in sft_config_fields() if path_of(name) is None and name not in RETIRED]
    assert unknown == []


def test_every_field_says_what_it_means() -> None:
    schema = TuningConfig.json_schema()
    described = [schema, *schema["$defs"].values()]
    silent = [name for part in described for name, field in part["properties"].items() if not field.get("description")]
    assert sorted(set(silent) - set(sections())) == []


def test_the_complete_document_gives_every_value_one_source() -> None:
    loaded = load_mapping({**REQUIRED, "lr_scheduler_kwargs": {"num_cycles": 2}, "exp_metadata": '{"a": {"b": 1}}'})
    config = build_config(loaded.ir)
    document = complete(with_checked_values(loaded.ir, config), config)
    assert {path for path, _ in leaves(document.values)} == set(document.sources)
    assert document.sources["metadata.a.b"] == "argument"
    assert document.sources["training.num_train_epochs"] == "default"
    assert document.get("training.num_train_epochs") == 3.0


def test_a_complete_document_is_a_valid_configuration() -> None:
    loaded = load_mapping(REQUIRED)
    config = build_config(loaded.ir)
    again = load_mapping(complete(loaded.ir, config).values)
    assert again.problems == []
    assert build_config(again.ir).model.model_name_or_path == "m"


def test_the_json_schema_knows_flat_and_nested_names() -> None:
    schema = TuningConfig.json_schema()
    assert "learning_rate" in schema["properties"]
    assert "learning_rate" in schema["$defs"]["Training"]["properties"]
    assert schema["properties"]["learning_rate"]["description"].startswith("Peak learning rate")


def test_the_json_schema_knows_every_key_that_is_read_and_no_other() -> None:
    schema = TuningConfig.json_schema()
    assert {*field_paths(), *ALIASES, *RETIRED, "values", "sources"} <= schema["properties"].keys()
    assert not schema["additionalProperties"]
