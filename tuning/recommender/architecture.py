"""What the installed transformers says of a model type, read from the text of its source; nothing is imported."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.recommender.kernel_facts import liger_model_types, package_folder, source_text

_MODEL_TYPE = re.compile(r"[\w-]+")
_NOT_TEXT = re.compile(r"vision|audio|image|speech", re.IGNORECASE)
_FUSED_EXPERTS = ("gate_up_proj", "down_proj")


@dataclass(frozen=True)
class Architecture:
    """What a model type can do; None: not known, because transformers has no such type.

    `no_split_modules` are the classes of its blocks, `flash_implementations` the only FlashAttention kernels that it
    works with (empty: any). `is_stateful`: it carries a state from token to token, as Mamba does. `fused_experts` are
    parameters that hold all experts of a block at once. `has_num_experts`: its configuration tells their number under
    that name, by which TRL looks for it.
    """

    no_split_modules: tuple[str, ...] | None = None
    supports_flash_attn: bool | None = None
    flash_implementations: tuple[str, ...] = ()
    supports_sdpa: bool | None = None
    is_stateful: bool | None = None
    fused_experts: tuple[str, ...] = ()
    has_self_attn: bool | None = None
    can_group_experts: bool | None = None
    router_aux_loss_coef: float | None = None
    has_num_experts: bool | None = None
    has_liger_kernels: bool = False


def read_architecture(model_type: Any) -> Architecture:
    """Read what the installed packages say of a model type; all unknown where there is no such type."""
    if not isinstance(model_type, str) or not _MODEL_TYPE.fullmatch(model_type):
        return Architecture()
    folder = _folder_of(model_type)
    code = source_text(folder / f"modeling_{folder.name}.py") if folder is not None else ""
    if folder is None or not code:
        return Architecture()
    configuration = source_text(folder / f"configuration_{folder.name}.py")
    return Architecture(
        no_split_modules=_blocks(code),
        supports_flash_attn=_attribute(code, "_supports_flash_attn") is True,
        flash_implementations=tuple(_attribute(code, "_compatible_flash_implementations") or ()),
        supports_sdpa=_attribute(code, "_supports_sdpa") is True,
        is_stateful=_attribute(code, "_is_stateful") is True,
        fused_experts=_fused_experts(code),
        has_self_attn=bool(re.search(r"\bself\.self_attn = ", code) and re.search(r"\bself\.\w*q\w*_proj\b", code)),
        can_group_experts="@use_experts_implementation" in code,
        router_aux_loss_coef=_router_aux_loss_coef(configuration),
        has_num_experts=bool(re.search(r"\bnum_experts\b", configuration)),
        has_liger_kernels=model_type in liger_model_types(),
    )


def _folder_of(model_type: str) -> Path | None:
    """Find the folder of a model type; types of a model's parts, such as gemma3_text, share that of the model."""
    package = package_folder("transformers")
    models = package / "models" if package is not None else None
    if models is None:
        return None
    folder = models / model_type.replace("-", "_")
    if folder.is_dir():
        return folder
    mappings = source_text(models / "auto" / "auto_mappings.py").partition("SPECIAL_MODEL_TYPE_TO_MODULE_NAME")[2]
    found = re.search(rf'\("{re.escape(model_type)}", "(\w+)"\)', mappings)
    return models / found[1] if found else None


def _blocks(code: str) -> tuple[str, ...] | None:
    """Name the classes that are kept whole; only those of text, because no others are in a causal language model."""
    names = _attribute(code, "_no_split_modules")
    if not isinstance(names, list):
        return None
    kept = [str(name) for name in names if not _NOT_TEXT.search(str(name))]
    return tuple(kept) if kept and all(re.search(rf"^class {name}\(", code, re.MULTILINE) for name in kept) else None


def _attribute(code: str, name: str) -> Any:
    """Read an attribute of the first class that sets it, which is the base of the file's models."""
    found = re.search(rf"^    {name}\b[^=\n]*=\s*(\[[^\]]*\]|\w+)", code, re.MULTILINE)
    try:
        return ast.literal_eval(found[1]) if found else None
    except (ValueError, SyntaxError):
        return None


def _fused_experts(code: str) -> tuple[str, ...]:
    fused = all(re.search(rf"\bself\.{name} = nn\.Parameter\(", code) for name in _FUSED_EXPERTS)
    return tuple(f"experts.{name}" for name in _FUSED_EXPERTS) if fused and "self.experts = " in code else ()


def _router_aux_loss_coef(configuration: str) -> float | None:
    """Read the weight that the balance of the router has by default; None where the model returns no router logits."""
    found = re.search(r"^    router_aux_loss_coef\b[^=\n]*=\s*([\d.e-]+)", configuration, re.MULTILINE)
    return float(found[1]) if found and "output_router_logits" in configuration else None
