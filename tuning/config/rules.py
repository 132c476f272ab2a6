"""What fields must hold together: required ones, and ones that exclude or need each other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tuning.config.peft_fields import FIELD_OWNERS, LORA_FIELDS, MODULE_FIELDS
from tuning.config.schema import TuningConfig
from tuning.config.sections import ADAPTER_METHODS
from tuning.errors import Problem

_SOURCES = ("training_data_path", "datasets", "data_config_path")
"""Fields that name the rows to train on; one of them does."""

_SAYING_A_SHAPE = {
    "text": ("dataset_text_field", "data_formatter_template", "label_separator"),
    "chat": ("dataset_conversation_field",),
}
"""data_format -> the fields that mean it."""


def required(config: TuningConfig) -> Iterator[Problem]:
    """Name the fields that nobody but the user can decide."""
    if config.model.model_name_or_path is None:
        yield Problem("model.model_name_or_path", "a model is required", hint="Give a folder or a Hub id.")
    if not any(_given(config, f"data.{name}") for name in (*_SOURCES, "task_type")):
        hint = "Give a file, folder or Hub id, or datasets."
        yield Problem("data.training_data_path", "training data is required", hint=hint)
    if config.training.output_dir is None:
        yield Problem("training.output_dir", "a run folder is required", hint="For example output_dir=runs/first.")


def only_one_of(config: TuningConfig) -> Iterator[Problem]:
    """Refuse fields that say the same thing in two ways."""
    pairs = (
        *((f"data.{first}", f"data.{second}") for first, second in itertools.combinations(_SOURCES, 2)),
        ("model.chat_template", "model.chat_template_path"),
        ("data.dataset_text_field", "data.data_formatter_template"),
        ("data.dataset_text_field", "data.dataset_conversation_field"),
        ("data.validation_data_path", "data.validation_fraction"),
        ("training.bf16", "training.fp16"),
        ("quantization.load_in_4bit", "quantization.load_in_8bit"),
    )
    for first, second in pairs:
        if _given(config, first) and _given(config, second):
            yield Problem(second, f"conflicts with {first}; keep one")


def shapes_of_rows(config: TuningConfig) -> Iterator[Problem]:
    """Refuse a shape of rows beside a field that says another."""
    datasets = config.data.datasets or ()
    sections = [("data", config.data), *((f"data.datasets[{n}]", each) for n, each in enumerate(datasets))]
    for where, rows in sections:
        for shape, names in _SAYING_A_SHAPE.items():
            for name in names:
                if rows.data_format not in (None, shape) and getattr(rows, name):
                    hint = f"Leave one of the two out; {name} means rows of the format {shape}."
                    yield Problem(f"{where}.data_format", f"conflicts with {where}.{name}", rows.data_format, hint=hint)


def steps(config: TuningConfig) -> Iterator[Problem]:
    """Refuse a number of steps that means nothing."""
    if config.training.max_steps is not None and config.training.max_steps < 1 and config.training.max_steps != -1:
        yield Problem("training.max_steps", "expected a whole number, at least 1 (or -1: by epochs)")


def streaming(config: TuningConfig) -> Iterator[Problem]:
    """Refuse rows that are read while training where their number would have to be known."""
    if not config.data.streaming:
        return
    if config.training.max_steps is None or config.training.max_steps < 1:
        hint = "Give the number of steps."
        yield Problem("training.max_steps", "is required with data.streaming: an epoch has no known length", hint=hint)
    if config.data.validation_fraction:
        hint = "Give validation_data_path, or a dataset that is held out."
        yield Problem("data.validation_fraction", "rows that are streamed cannot be parted", hint=hint)


def precision(config: TuningConfig) -> Iterator[Problem]:
    """Refuse half precision that a CPU cannot train in."""
    training = dict(config.training)
    if training["use_cpu"] and training["fp16"]:
        yield Problem("training.fp16", "float16 does not train on a CPU", hint="Use bf16 or leave it out.")


def scratch(config: TuningConfig) -> Iterator[Problem]:
    """Refuse adapters on random weights: the base is never saved, so they could not be loaded again."""
    if config.model.train_from_scratch and config.peft.peft_method in ADAPTER_METHODS:
        yield Problem("peft.peft_method", "adapters need trained weights under them; train_from_scratch has none")


def adapters(config: TuningConfig) -> Iterator[Problem]:
    """Refuse fields of another method, and what a method lacks or cannot be trained with."""
    peft, method = config.peft, config.peft.peft_method
    if method is None:
        return
    owners = {**FIELD_OWNERS, **(dict.fromkeys(LORA_FIELDS, "lora") if method in ("ia3", "pt") else {})}
    owners |= dict.fromkeys(MODULE_FIELDS, "lora") if method == "pt" else {}
    for name, owner in owners.items():
        if owner != method and getattr(peft, name) is not None:
            yield Problem(f"peft.{name}", f"is of peft_method={owner}, and peft_method is {method}", hint="Keep one.")
    if method == "alora" and (peft.alora_invocation_string is None) == (peft.alora_invocation_tokens is None):
        hint = "Give one of alora_invocation_string and alora_invocation_tokens."
        yield Problem("peft.alora_invocation_string", "peft_method=alora needs to know what invokes it", hint=hint)
    if peft.prompt_tuning_init == "TEXT" and peft.prompt_tuning_init_text is None:
        yield Problem("peft.prompt_tuning_init_text", "prompt_tuning_init=TEXT needs the text")
    if method in ("alora", "pt"):
        training = dict(config.training)
        for name in ("packing", "eval_packing", "padding_free"):
            if training[name]:
                hint = f"Leave {name} out."
                yield Problem(f"training.{name}", f"{method} needs each row in a sequence of its own", hint=hint)
        if method == "alora" and training["gradient_checkpointing"]:
            expected = "PEFT's aLoRA allows no evaluation between steps that checkpoint"
            yield Problem("training.gradient_checkpointing", expected, hint="Leave it out.")


def quantization(config: TuningConfig) -> Iterator[Problem]:
    """Refuse to quantize weights that are trained: only adapters on them can learn."""
    field = quantizes(config)
    if field is None:
        return
    if config.model.train_from_scratch:
        yield Problem(field, "random weights are trained whole, and quantized ones cannot be", hint="Leave it out.")
    elif config.peft.peft_method == "none":
        hint = f"Set peft_method=lora, or leave {field.rpartition('.')[2]} out."
        yield Problem("peft.peft_method", "quantized weights cannot be trained; adapters on them can", hint=hint)


def quantizes(config: TuningConfig) -> str | None:
    """Name the field that asks for quantized weights; None where none does."""
    asked = (name for name in ("load_in_4bit", "load_in_8bit") if getattr(config.quantization, name))
    return next((f"quantization.{name}" for name in asked), None)


def folders(config: TuningConfig) -> Iterator[Problem]:
    """Refuse one folder for the run and for the model: both have a config.json."""
    run, model = config.training.output_dir, config.training.save_model_dir
    if (
        run is not None
        and model is not None
        and Path(os.path.expanduser(run)).resolve() == Path(os.path.expanduser(model)).resolve()
    ):
        hint = "Leave it out, and the model is saved in its folder 'model'."
        yield Problem("training.save_model_dir", "is the run folder, and both have a config.json", hint=hint)


def pushing(config: TuningConfig) -> Iterator[Problem]:
    """Refuse transformers' own upload: of the whole run folder, with the model's config.json in place of the run's."""
    if dict(config.training)["push_to_hub"]:
        hint = "After the run: tune export RUN --to torch --push_to_hub --hub_repo ORG/NAME."
        yield Problem("training.push_to_hub", "is not done: transformers would send the whole run folder", hint=hint)


def evaluation(config: TuningConfig) -> Iterator[Problem]:
    """Refuse a best model that is never looked for."""
    training = dict(config.training)
    if training["load_best_model_at_end"] and training["eval_strategy"] == "no":
        yield Problem("training.load_best_model_at_end", "needs evaluation; eval_strategy is 'no'")


def held_out_rows(config: TuningConfig) -> Iterator[Problem]:
    """Refuse an evaluation without rows. For a completed configuration: the recommender may hold some out."""
    parts = (dataset.split for dataset in config.data.datasets or ())
    if config.data.validation_data_path or config.data.validation_fraction or any(p and p.validation for p in parts):
        return
    training = dict(config.training)
    for name in ("eval_strategy", "load_best_model_at_end", "eval_on_start"):
        if training[name] not in (None, False, "no"):
            hint = "Give validation_data_path, or validation_fraction above 0."
            yield Problem(f"training.{name}", "needs held-out rows, and there are none", hint=hint)


def _given(config: TuningConfig, path: str) -> bool:
    section, _, name = path.partition(".")
    return getattr(getattr(config, section), name) not in (None, False, 0, [])


RULES: tuple[Callable[[TuningConfig], Iterable[Problem]], ...] = (
    required,
    only_one_of,
    shapes_of_rows,
    steps,
    streaming,
    precision,
    scratch,
    adapters,
    quantization,
    folders,
    pushing,
    evaluation,
)
