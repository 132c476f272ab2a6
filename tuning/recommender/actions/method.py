"""What is trained: every weight, or adapters."""

from __future__ import annotations

from tuning.config.ir import IR
from tuning.config.peft_fields import FIELD_OWNERS
from tuning.config.sections import ADAPTER_METHODS, Peft
from tuning.recommender.action import Action, Kind, Level, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.values import by_user


class PeftMethod(Action):
    """The method whose fields are set, LoRA where the weights are or will be quantized; else full fine-tuning."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Read the method off the fields that the user set."""
        if facts.model is not None and facts.model.quantization_method:
            comment = f"The weights are quantized ({facts.model.quantization_method}); only adapters can be trained."
            source = "transformers refuses to train quantized weights"
            method = by_user(ir, "peft.peft_method")
            if method in ADAPTER_METHODS:
                return None
            return suggest({"peft.peft_method": "lora"}, comment, Kind.COMPATIBILITY, source, Level.MANDATORY)
        fields = (f"peft.{name}" for name in Peft.model_fields if name != "peft_method")
        given = [path.partition(".")[2] for path in fields if ir.is_set_by_user(path)]
        given += [name for name in ("load_in_4bit", "load_in_8bit") if by_user(ir, f"quantization.{name}") is True]
        if given:
            verb = "is" if len(given) == 1 else "are"
            method = _method_of(given)
            trained = "virtual tokens" if method == "pt" else "adapters"
            comment = f"{', '.join(given)} {verb} set, so {trained} are trained."
        elif by_user(ir, "peft.peft_method") is not None:
            return None  # fields that are left out say nothing against a method that was chosen
        else:
            method, comment = "none", "No field of LoRA is set, so every weight is trained."
        return suggest(
            {"peft.peft_method": method}, comment, Kind.COMPATIBILITY, "the meaning of the fields that are set"
        )


def _method_of(given: list[str]) -> str:
    """Name the method that fields belong to; those of aLoRA, of prompt tuning and of (IA)³ are of no other."""
    return next((FIELD_OWNERS[name] for name in FIELD_OWNERS if name in given), "lora")
