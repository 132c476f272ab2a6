"""fms-hf-tuning's acceleration flags: short ways to write the stanzas of plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PLUGINS = "acceleration.plugins"

FLAGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "auto_gptq": ("peft.quantization.auto_gptq", ("kernel", "from_quantized")),
    "bnb_qlora": ("peft.quantization.bitsandbytes", ("quant_type", "no_peft_model")),
    "fast_kernels": (
        "training.fused_ops_and_kernels",
        ("fast_loss", "fast_rms_layernorm", "fast_rope_embeddings"),
    ),
    "fast_moe": ("training.moe.scattermoe", ("ep_degree",)),
    "fused_lora": ("training.fused_ops_and_kernels", ("base_layer", "fused_lora")),
    "multipack": ("training.dataloader.multipack", ("num_processes",)),
    "odm": ("training.odm", ()),
    "padding_free": ("training.attention.padding_free", ("method",)),
}
"""Flag -> the path of its stanza, and the settings that its values stand for, in their order.

Source: tuning/config/acceleration_configs of fms-hf-tuning.
"""


def settings_of_flag(name: str, value: Any) -> Iterator[tuple[str, Any]] | None:
    """Return paths of fields with their values for a flag; None where the name is no flag.

    `padding_free` with true, false or nothing is TRL's field of that name.
    """
    if name not in FLAGS or (name == "padding_free" and (value is None or _is_flag(value))):
        return None
    path, names = FLAGS[name]
    return _settings(f"{PLUGINS}.{path}", names, value)


def _settings(path: str, names: tuple[str, ...], value: Any) -> Iterator[tuple[str, Any]]:
    if value is None:
        yield from ((f"{path}.{name}", None) for name in names)
        yield from () if names else ((path, None),)
    elif _is_flag(value):
        yield path, ({} if str(value).lower() == "true" else False)
    elif isinstance(value, Mapping):
        yield path, value.get(path.rpartition(".")[2], value)
    elif names and len(given := value if isinstance(value, list) else [value]) <= len(names):
        yield from ((f"{path}.{name}", each) for name, each in zip(names, given, strict=False))
    else:  # which the check of the stanza refuses
        yield path, value


def _is_flag(value: Any) -> bool:
    return str(value).lower() in ("true", "false")
