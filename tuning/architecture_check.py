"""Look at what a model is before anything is written and any weight is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuning.config.schema import TuningConfig
from tuning.errors import UserError, reason_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")


def check_architecture(config: TuningConfig) -> None:
    """Refuse a model that is no causal language model, or whose `config.json` cannot be used.

    Raises:
        UserError: says why.
    """
    from transformers import AutoConfig

    model, name = config.model, str(config.model.model_name_or_path)
    options = {"revision": model.revision, "cache_dir": model.cache_dir, "trust_remote_code": model.trust_remote_code}
    try:
        reason = _why_not(AutoConfig.from_pretrained(name, **options), model.trust_remote_code)
    except Exception as error:  # what libraries raise on a file that is wrong may be of any type
        reason = reason_of(error)
    if reason is not None:
        raise UserError(f"model.model_name_or_path: the config.json of '{name}' cannot be used: {reason}")


def _why_not(found: PreTrainedConfig, trust_remote_code: bool) -> str | None:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    own_code = trust_remote_code and "AutoModelForCausalLM" in (getattr(found, "auto_map", None) or {})
    if type(found) not in MODEL_FOR_CAUSAL_LM_MAPPING and not own_code:
        return f"{found.model_type} is no causal language model"
    is_encoder = type(found) in MODEL_FOR_MASKED_LM_MAPPING and not found.is_encoder_decoder
    if is_encoder and not getattr(found, "is_decoder", False):
        return f"{found.model_type} is an encoder (is_decoder is not true): each token sees those after it"
    text = found.get_text_config()
    wrong = [
        f"{size} is {value}" for size in _SIZES if isinstance(value := getattr(text, size, None), int) and value < 1
    ]
    return ", ".join(wrong) or _why_not_quantized_so(found)


def _why_not_quantized_so(found: PreTrainedConfig) -> str | None:
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    described = getattr(found, "quantization_config", None)
    if described is None:
        return None
    method = described.get("quant_method") if isinstance(described, dict) else getattr(described, "quant_method", None)
    method = str(getattr(method, "value", method))
    if any(known == method or known.startswith(f"{method}_") for known in AUTO_QUANTIZATION_CONFIG_MAPPING):
        return None
    return f"transformers knows no quantization_config with quant_method {method}"
