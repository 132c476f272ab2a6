"""What fields must hold together: required ones, and ones that exclude or need each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tuning.config.schema import TuningConfig
from tuning.errors import Problem


def required(config: TuningConfig) -> Iterator[Problem]:
    """Name the fields that nobody but the user can decide."""
    if config.model.model_name_or_path is None:
        yield Problem("model.model_name_or_path", "a model is required", hint="Give a folder or a Hub id.")
    if not config.data.training_data_path:
        yield Problem("data.training_data_path", "training data is required", hint="Give a file, folder or Hub id.")
    if config.training.output_dir is None:
        yield Problem("training.output_dir", "a run folder is required", hint="For example output_dir=runs/first.")


def only_one_of(config: TuningConfig) -> Iterator[Problem]:
    """Refuse fields that say the same thing in two ways."""
    pairs = (
        ("model.chat_template", "model.chat_template_path"),
        ("data.dataset_text_field", "data.data_formatter_template"),
        ("data.dataset_text_field", "data.dataset_conversation_field"),
        ("data.validation_data_path", "data.validation_fraction"),
        ("training.bf16", "training.fp16"),
    )
    for first, second in pairs:
        if _given(config, first) and _given(config, second):
            yield Problem(second, f"conflicts with {first}; keep one")


def steps(config: TuningConfig) -> Iterator[Problem]:
    """Refuse a number of steps that means nothing."""
    if config.training.max_steps is not None and config.training.max_steps < 1 and config.training.max_steps != -1:
        yield Problem("training.max_steps", "expected a whole number, at least 1 (or -1: by epochs)")


def precision(config: TuningConfig) -> Iterator[Problem]:
    """Refuse half precision that a CPU cannot train in."""
    training = config.training.model_dump()
    if training["use_cpu"] and training["fp16"]:
        yield Problem("training.fp16", "float16 does not train on a CPU", hint="Use bf16 or leave it out.")


def scratch(config: TuningConfig) -> Iterator[Problem]:
    """Refuse adapters on random weights: the base is never saved, so they could not be loaded again."""
    if config.model.train_from_scratch and config.peft.peft_method == "lora":
        yield Problem("peft.peft_method", "adapters need trained weights under them; train_from_scratch has none")


def evaluation(config: TuningConfig) -> Iterator[Problem]:
    """Refuse an evaluation without rows, and a best model that is never looked for."""
    training = config.training.model_dump()
    wants_rows = training["eval_strategy"] not in (None, "no") or training["load_best_model_at_end"]
    if wants_rows and config.data.validation_fraction == 0:
        yield Problem("data.validation_fraction", "evaluation was asked for, and it leaves no rows for it")
    if training["load_best_model_at_end"] and training["eval_strategy"] == "no":
        yield Problem("training.load_best_model_at_end", "needs evaluation; eval_strategy is 'no'")


def _given(config: TuningConfig, path: str) -> bool:
    section, _, name = path.partition(".")
    return getattr(getattr(config, section), name) not in (None, False, 0)


RULES: tuple[Callable[[TuningConfig], Iterable[Problem]], ...] = (
    required,
    only_one_of,
    steps,
    precision,
    scratch,
    evaluation,
)
