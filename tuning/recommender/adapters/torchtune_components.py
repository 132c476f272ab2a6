"""What torchtune's components say: the model and its adapters, optimizer, precision and steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tuning.recommender.adapters.conversions import drop_bias, method_of, take_default
from tuning.recommender.adapters.mapping import Reading, Writing

UNKNOWN_BUILDER = "torchtune.models.FAMILY."
_OPTIMIZERS = {
    "torch.optim.AdamW": "adamw_torch",
    "torch.optim.SGD": "sgd",
    "torch.optim.Adagrad": "adagrad",
    "bitsandbytes.optim.AdamW8bit": "adamw_bnb_8bit",
    "bitsandbytes.optim.PagedAdamW": "paged_adamw_32bit",
    "bitsandbytes.optim.PagedAdamW8bit": "paged_adamw_8bit",
    "torchao.optim.AdamW8bit": "adamw_torch_8bit",
    "torchao.optim.AdamW4bit": "adamw_torch_4bit",
    "torchao.prototype.low_bit_optim.AdamW8bit": "adamw_torch_8bit",
    "torchao.prototype.low_bit_optim.AdamW4bit": "adamw_torch_4bit",
}
_DTYPES = {"bf16": "bfloat16", "fp32": "float32"}
_ATTENTION = {"q_proj": "q_proj", "k_proj": "k_proj", "v_proj": "v_proj", "output_proj": "o_proj"}
_MLP = ("gate_proj", "up_proj", "down_proj")


def resolved(node: Any, document: Mapping[str, Any], depth: int = 0) -> Any:
    """Replace references to other keys, such as ${output_dir}, by what stands there; what is unknown stays."""
    if isinstance(node, Mapping):
        return {key: resolved(value, document, depth) for key, value in node.items()}
    if isinstance(node, list):
        return [resolved(value, document, depth) for value in node]
    if not isinstance(node, str) or depth > 8:
        return node
    whole = re.fullmatch(r"\$\{([\w.]+)\}", node)
    if whole:
        found = _at(document, whole[1])
        return node if found is None else resolved(found, document, depth + 1)
    return re.sub(r"\$\{([\w.]+)\}", lambda match: _text(_at(document, match[1]), match[0]), node)


def _at(document: Mapping[str, Any], key: str) -> Any:
    node: Any = document
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _text(value: Any, otherwise: str) -> str:
    return value if isinstance(value, str) and "${" not in value else otherwise


def read_model(reading: Reading) -> None:
    """Read the method off the builder's name, and the adapters' places off three flags."""
    builder = reading.take("model._component_")
    if not isinstance(builder, str):
        if reading.get("model") is not None or builder is not None:
            reading.refuse("model._component_", builder, "expected the name of a builder")
        return
    name = builder.rpartition(".")[2]
    quantized = name.startswith("qlora_") or reading.get("model.quantize_base") is True
    is_lora = quantized or name.startswith(("lora_", "dora_"))
    if name.startswith("dora_"):
        reading.put("peft.use_dora", True, "model._component_")
    reading.put("peft.peft_method", "lora" if is_lora else "none", "model._component_")
    take_default(reading, "model.quantize_base", True, False)
    if quantized:
        reading.put("quantization.load_in_4bit", True, "model._component_")
    _read_targets(reading)


def _read_targets(reading: Reading) -> None:
    names = reading.take("model.lora_attn_modules")
    mlp, output = reading.take("model.apply_lora_to_mlp"), reading.take("model.apply_lora_to_output")
    if names is None:
        return
    key = "model.lora_attn_modules"
    if not isinstance(names, list) or not set(map(str, names)) <= _ATTENTION.keys():
        reading.refuse(key, names, f"expected a list of {', '.join(_ATTENTION)}")
    elif set(names) == _ATTENTION.keys() and mlp and not output:
        reading.put("peft.target_modules", "all-linear", key)
    else:
        found = [ours for theirs, ours in _ATTENTION.items() if theirs in names]
        found += [*(_MLP if mlp else ()), *(["lm_head"] if output else [])]
        reading.put("peft.target_modules", found, key)


def write_model(writing: Writing) -> None:
    """Write a builder whose name says the method, for someone to fill in the family and the size."""
    method = method_of(writing)
    four_bit = method == "lora" and writing.get("quantization.load_in_4bit") is True
    if four_bit:
        writing.take("quantization.load_in_4bit")
    prefix = "" if method == "none" else "qlora_" if four_bit else "lora_"
    writing.put("model._component_", f"{UNKNOWN_BUILDER}{prefix}BUILDER")
    drop_bias(writing)
    _write_targets(writing)


def _write_targets(writing: Writing) -> None:
    targets = writing.take("peft.target_modules")
    if targets is None:
        return
    names = [*_ATTENTION.values(), *_MLP] if targets == "all-linear" else targets
    known = {*_ATTENTION.values(), *_MLP, "lm_head"}
    mlp = {name for name in _MLP if name in names}
    if not isinstance(names, list) or not set(names) <= known or mlp not in (set(), set(_MLP)):
        why = "torchtune adapts the four projections of attention, the whole MLP and the output"
        writing.skip("peft.target_modules", targets, why)
        return
    writing.put("model.lora_attn_modules", [theirs for theirs, ours in _ATTENTION.items() if ours in names])
    writing.put("model.apply_lora_to_mlp", bool(mlp))
    writing.put("model.apply_lora_to_output", "lm_head" in names)


def read_checkpointer(reading: Reading) -> None:
    """Pass over a checkpoint folder that is the run's, and over a tokenizer that lies in the model's folder."""
    if reading.get("checkpointer.output_dir") == reading.get("output_dir"):
        reading.take("checkpointer.output_dir")
    folder, path = reading.get("checkpointer.checkpoint_dir"), reading.get("tokenizer.path")
    target = reading.get("checkpointer.output_dir")
    if isinstance(folder, str) and isinstance(target, str) and folder.rstrip("/") == target.rstrip("/"):
        reading.skip(
            "checkpointer.output_dir", target, "is the folder of the model that is tuned, which stays as it is"
        )
        reading.take("checkpointer.output_dir")
    if isinstance(folder, str) and isinstance(path, str) and path.startswith(folder.rstrip("/") + "/"):
        reading.take("tokenizer.path")


def read_optimizer(reading: Reading) -> None:
    """Read the optimizer off its component."""
    name, fused = reading.take("optimizer._component_"), reading.get("optimizer.fused")
    if name is not None and str(name) not in _OPTIMIZERS:
        reading.skip("optimizer._component_", name, "is not an optimizer of transformers")
    elif name is not None:
        optim = _OPTIMIZERS[name]
        take_default(reading, "optimizer.fused", True, False)
        is_fused = fused is True and optim == "adamw_torch"
        reading.put("training.optim", "adamw_torch_fused" if is_fused else optim, "optimizer._component_")
    betas = reading.take("optimizer.betas")
    if isinstance(betas, list) and len(betas) == 2:
        reading.put("training.adam_beta1", betas[0], "optimizer.betas")
        reading.put("training.adam_beta2", betas[1], "optimizer.betas")
    elif betas is not None:
        reading.refuse("optimizer.betas", betas, "expected a list of two numbers")


def write_optimizer(writing: Writing) -> None:
    """Write the optimizer's component."""
    components = {optim: name for name, optim in reversed(_OPTIMIZERS.items())}
    optim = writing.take("training.optim")
    if optim == "adamw_torch_fused":
        writing.document["optimizer"] = {"_component_": components["adamw_torch"], "fused": True}
    elif optim in components:
        writing.put("optimizer._component_", components[optim])
    elif optim is not None:
        writing.skip("training.optim", optim, "torchtune has no component for it in its recipes")
    first, second = writing.get("training.adam_beta1"), writing.get("training.adam_beta2")
    if first is not None and second is not None:
        writing.take("training.adam_beta1")
        writing.take("training.adam_beta2")
        writing.put("optimizer.betas", [first, second])


def read_dtype(reading: Reading) -> None:
    """Read the one type of weights and arithmetic as a type of weights without mixed precision."""
    word = reading.take("dtype")
    if word is None:
        return
    if str(word) not in _DTYPES:
        reading.refuse("dtype", word, f"expected one of: {', '.join(_DTYPES)}")
        return
    reading.put("model.dtype", _DTYPES[word], "dtype")
    for name in ("bf16", "fp16"):
        reading.put(f"training.{name}", False, "dtype")


def write_dtype(writing: Writing) -> None:
    """Write the type of the weights, where there is no mixed precision over it."""
    words = {name: word for word, name in _DTYPES.items()}
    mixed = [name for name in ("bf16", "fp16") if writing.get(f"training.{name}") is True]
    dtype = writing.get("model.dtype")
    if dtype in words and not mixed:
        writing.put("dtype", words[dtype])
        for path in ("model.dtype", "training.bf16", "training.fp16"):
            writing.take(path)


def read_steps(reading: Reading) -> None:
    """Read limits and cadences; a limit of steps per epoch is one of the run where there is one epoch."""
    limit, epochs = reading.take("max_steps_per_epoch"), reading.get("epochs")
    if limit is not None and epochs == 1:
        reading.put("training.max_steps", limit, "max_steps_per_epoch")
    elif limit is not None:
        reading.skip("max_steps_per_epoch", limit, "cuts every epoch short; max_steps counts over all of them")
    every = reading.take("run_val_every_n_steps")
    if every is not None:
        reading.put("training.eval_strategy", "steps", "run_val_every_n_steps")
        reading.put("training.eval_steps", every, "run_val_every_n_steps")


def write_steps(writing: Writing) -> None:
    """Write limits and cadences, where torchtune can count so."""
    if writing.get("training.num_train_epochs") == 1 and (limit := writing.get("training.max_steps")) not in (None, -1):
        writing.take("training.max_steps")
        writing.put("max_steps_per_epoch", limit)
    every = writing.get("training.eval_steps")
    if writing.get("training.eval_strategy") == "steps" and every is not None and every >= 1 and every == int(every):
        writing.take("training.eval_strategy")
        writing.take("training.eval_steps")
        writing.put("run_val_every_n_steps", int(every))
