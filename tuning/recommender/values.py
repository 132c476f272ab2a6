"""Read decided values out of a document, for rules that must not trust their types."""

from __future__ import annotations

from typing import Any

from tuning.config.ir import IR
from tuning.config.sections import LORA_METHODS

PADDING_FREE = "acceleration.plugins.training.attention.padding_free"
FUSED_OPS = "acceleration.plugins.training.fused_ops_and_kernels"


def number(ir: IR, path: str) -> float | None:
    """Return the number at a path; None where there is none, or something else."""
    value = ir.get(path)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def whole(ir: IR, path: str) -> int | None:
    """Return the whole number of at least 1 at a path; None where there is none, or something else."""
    value = number(ir, path)
    return int(value) if value is not None and value >= 1 and value == int(value) else None


def by_user(ir: IR, path: str) -> Any:
    """Return the value that the user set; None where the user left it open."""
    return ir.get(path) if ir.is_set_by_user(path) else None


def is_lora(ir: IR) -> bool:
    """Tell whether low-rank adapters are trained instead of all weights."""
    return ir.get("peft.peft_method") in LORA_METHODS


def is_prompt_tuning(ir: IR) -> bool:
    """Tell whether only virtual tokens are trained."""
    return ir.get("peft.peft_method") == "pt"


def is_ia3(ir: IR) -> bool:
    """Tell whether only factors of activations are trained."""
    return ir.get("peft.peft_method") == "ia3"


def needs_rows_alone(ir: IR) -> bool:
    """Tell whether the method needs each row in a sequence of its own: aLoRA looks for one invocation in each."""
    return ir.get("peft.peft_method") in ("alora", "pt")


def takes_plugins(ir: IR) -> bool:
    """Tell whether acceleration plugins may act."""
    return ir.get("acceleration.use_acceleration") is not False


def is_padding_free(ir: IR) -> bool:
    """Tell whether the rows of a batch stand in one sequence, by TRL's field or by the plugin."""
    by_plugin = takes_plugins(ir) and ir.get(PADDING_FREE) not in (None, False)
    return by_plugin or ir.get("training.padding_free") is True


def is_from_scratch(ir: IR) -> bool:
    """Tell whether training starts from random weights."""
    return ir.get("model.train_from_scratch") is True


def has_validation(ir: IR) -> bool:
    """Tell whether there are held-out rows."""
    return has_validation_rows(ir) or (number(ir, "data.validation_fraction") or 0) > 0


def has_validation_rows(ir: IR) -> bool:
    """Tell whether rows are held out by name: files of their own, or shares of datasets."""
    datasets = ir.get("data.datasets")
    parts = [each.get("split") for each in datasets if isinstance(each, dict)] if isinstance(datasets, list) else []
    shares = [part.get("validation") for part in parts if isinstance(part, dict)]
    return bool(ir.get("data.validation_data_path")) or any(shares)


def wants_evaluation(ir: IR) -> bool:
    """Tell whether the user asked for evaluation in so many words."""
    strategy = by_user(ir, "training.eval_strategy")
    return strategy not in (None, "no") or by_user(ir, "training.load_best_model_at_end") is True


def refuses_evaluation(ir: IR) -> bool:
    """Tell whether the user asked for no evaluation."""
    return by_user(ir, "training.eval_strategy") == "no"


def two_digits(value: float) -> float:
    """Round to two digits that count: more would claim a precision that no rule has."""
    return float(f"{value:.1e}")


def power_of_two_up_to(value: float) -> int:
    """Return the largest power of two that is at most `value`, and at least 1."""
    return 1 << max(0, int(value).bit_length() - 1)


def power_of_two_from(value: float) -> int:
    """Return the smallest power of two that is at least `value`."""
    power = 1
    while power < value:
        power *= 2
    return power


def parameters(count: int) -> str:
    """Write a number of parameters as people say it: 8.03 billion."""
    for size, word in ((10**9, " billion"), (10**6, " million"), (10**3, " thousand")):
        if count >= size:
            return f"{count / size:.3g}{word}"
    return str(count)


def counted(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun: 1 row, 2,000 rows."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
