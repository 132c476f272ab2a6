"""Adapters that begin by changing the base (PiSSA, OLoRA) are saved as plain LoRA on the base as it is.

What was trained is W - B₀A₀ + BA. That is W + [B, -B₀][A; A₀], a LoRA of twice the rank, which every program can load;
the adapter alone would need the base changed in the same way again, and PiSSA's fast form draws random numbers for
that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuning.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS

START_FOLDER = "adapter_at_start"
_CHANGING = ("pissa", "olora")
"""Beginnings of the values of init_lora_weights that change the base, and change it exactly. Source: PEFT 0.21."""
_A, _B = ("lora_A", "lora_embedding_A"), ("lora_B", "lora_embedding_B")
"""Parts of the names of the weights (rank, in) and (out, rank), of linear layers and of embeddings. Source: PEFT."""


def becomes_plain(init_lora_weights: object) -> bool:
    """Tell whether adapters that begin in this way are saved as plain LoRA."""
    return str(init_lora_weights).lower().startswith(_CHANGING)


def keep_start(model: Any, run_folder: Path) -> None:
    """Save what adapters begin as, before they are trained, where that will be needed."""
    config = getattr(model, "peft_config", {}).get("default")
    if becomes_plain(getattr(config, "init_lora_weights", None)):
        model.save_pretrained(str(run_folder / START_FOLDER))


def make_plain(folder: Path, run_folder: Path) -> None:
    """Turn a saved adapter into plain LoRA on the unchanged base, where its beginning has changed the base."""
    from safetensors.torch import load_file, save_file

    file = folder / ADAPTER_CONFIG
    if not file.is_file():
        return
    config = json.loads(file.read_text(encoding="utf-8"))
    if not becomes_plain(config.get("init_lora_weights")):
        return
    (name,) = ADAPTER_WEIGHTS
    now, before = load_file(folder / name), load_file(run_folder / START_FOLDER / name)
    save_file({key: _both(key, now[key], before[key]) for key in now}, folder / name, {"format": "pt"})
    file.write_text(f"{json.dumps(_of_twice_the_rank(config), indent=2)}\n", encoding="utf-8")


def _both(name: str, now: Any, before: Any) -> Any:
    import torch

    if any(part in name for part in _A):
        return torch.cat([now, before], 0)
    return torch.cat([now, -before], 1) if any(part in name for part in _B) else now


def _of_twice_the_rank(config: dict[str, Any]) -> dict[str, Any]:
    """Double ranks, and the alphas so that the scale stays: alpha / r, or alpha / sqrt(r) of rsLoRA."""
    times = 2**0.5 if config.get("use_rslora") else 2
    patterns = {"rank_pattern": 2, "alpha_pattern": times}
    doubled = {name: {key: n * by for key, n in (config.get(name) or {}).items()} for name, by in patterns.items()}
    return {
        **config,
        **doubled,
        "r": config["r"] * 2,
        "lora_alpha": config["lora_alpha"] * times,
        "init_lora_weights": True,
    }
