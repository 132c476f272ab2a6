"""Make GPTQ checkpoints of tiny models, exactly as the format stores them, beside the dense model they stand for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def pack(values: Tensor, bits: int, dim: int) -> Tensor:
    """Pack integers into words of 32 bits along a dimension, the first into the lowest bits."""
    count = 32 // bits
    groups = values.long().unflatten(dim, (-1, count)).movedim(dim + 1, -1)
    words = (groups << torch.arange(0, 32, bits)).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def quantize(weight: Tensor, bits: int, group_size: int, act_order: bool) -> tuple[dict[str, Tensor], Tensor]:
    """Round `(out, in)` to integers; returns integers, scales, zeros and groups, and the dense weight of them."""
    columns, largest = weight.T.double(), 2**bits - 1
    order = torch.randperm(len(columns)) if act_order else torch.arange(len(columns))
    g_idx = torch.empty(len(columns), dtype=torch.int32)
    g_idx[order] = (torch.arange(len(columns)) // group_size).int()
    members = [columns[g_idx == number] for number in range(int(g_idx.max()) + 1)]
    low = torch.stack([each.amin(0).clamp(max=0) for each in members])
    high = torch.stack([each.amax(0).clamp(min=0) for each in members])
    scales = ((high - low) / largest).half().float().clamp(min=2**-14)
    zeros = (-low / scales).round().clamp(0, largest)
    group = g_idx.long()
    integers = (columns / scales[group] + zeros[group]).round().clamp(0, largest)
    dense = ((integers - zeros[group]) * scales[group]).float().T.contiguous()
    return {"integers": integers, "scales": scales, "zeros": zeros, "g_idx": g_idx}, dense


def packed(found: dict[str, Tensor], bits: int, checkpoint_format: str) -> dict[str, Tensor]:
    """Write one layer as GPTQ stores it: the first format stores each zero point less one."""
    stored = found["zeros"].long() - int(checkpoint_format == "gptq")
    return {
        "qweight": pack(found["integers"], bits, 0),
        "qzeros": pack(stored & (2**bits - 1), bits, 1),
        "scales": found["scales"].half(),
        "g_idx": found["g_idx"],
    }


def write_gptq(
    model: Path, folder: Path, bits: int = 4, checkpoint_format: str = "gptq", desc_act: bool = False, **fields: Any
) -> Path:
    """Write `folder/packed`, a GPTQ checkpoint of a model, and `folder/dense`, the same weights unpacked."""
    torch.manual_seed(0)
    dense, stored = load_file(model / "model.safetensors"), {}
    for name in list(dense):
        if not name.endswith("_proj.weight"):
            stored[name] = dense[name]
            continue
        found, dense[name] = quantize(dense[name], bits, 32, desc_act)
        layer = name.removesuffix(".weight")
        stored |= {f"{layer}.{part}": tensor for part, tensor in packed(found, bits, checkpoint_format).items()}
    document = json.loads((model / "config.json").read_text())
    described = {"quant_method": "gptq", "bits": bits, "group_size": 32, "desc_act": desc_act}
    described |= {"checkpoint_format": checkpoint_format, **fields}
    for name, tensors, extra in (("dense", dense, {}), ("packed", stored, {"quantization_config": described})):
        shutil.copytree(model, folder / name)
        save_file(tensors, folder / name / "model.safetensors", {"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps({**document, **extra}))
    return folder / "packed"
