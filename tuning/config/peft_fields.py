"""Which method of fine-tuning each field of the section peft is for."""

from __future__ import annotations

from tuning.config.sections import ALORA_FIELDS, PROMPT_FIELDS

FIELD_OWNERS = {
    **dict.fromkeys(ALORA_FIELDS, "alora"),
    **dict.fromkeys(PROMPT_FIELDS, "pt"),
    "feedforward_modules": "ia3",
}
"""Field -> the only method that has it."""
LORA_FIELDS = (
    *("r", "lora_alpha", "lora_dropout", "target_parameters", "bias", "use_rslora", "use_dora"),
    *("init_lora_weights", "loftq_config"),
)
"""Fields of low-rank adapters, which ia3 and pt have not."""
MODULE_FIELDS = ("target_modules", "exclude_modules", "modules_to_save")
"""Fields that choose among the modules, none of which pt changes."""
