"""Settings of LLaMA-Factory that several keys say together: quantization, precision, initialisation and rows."""

from __future__ import annotations

import re

from tuning.recommender.adapters.conversions import builder_of, names_at_commas, take_default
from tuning.recommender.adapters.mapping import Reading, Writing

_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}


def read_bits(reading: Reading) -> None:
    """Read the quantization, which bitsandbytes does here."""
    bits, method = reading.get("quantization_bit"), reading.get("quantization_method")
    if bits is None:
        return
    if method not in (None, "bnb", "bitsandbytes") or str(bits) not in ("4", "8"):
        reading.skip("quantization_bit", reading.take("quantization_bit"), "bitsandbytes quantizes to 4 or 8 bits")
        return
    reading.take("quantization_bit")
    reading.take("quantization_method")
    reading.put(f"quantization.load_in_{bits}bit", True, "quantization_bit")


def write_bits(writing: Writing) -> None:
    """Write the quantization; a flag that is off is left out there."""
    for bits in (4, 8):
        path = f"quantization.load_in_{bits}bit"
        if (value := writing.take(path)) is True:
            writing.document |= {"quantization_bit": bits, "quantization_method": "bnb"}
        elif value is False:
            writing.skip(path, value, "LLaMA-Factory leaves quantization_bit out instead")


def read_precision(reading: Reading) -> None:
    """Derive the weights' type: what LLaMA-Factory computes in, but float32 for weights that are trained whole."""
    if str(reading.get("pure_bf16")).lower() == "true":
        reading.take("pure_bf16")
        reading.put("model.dtype", "bfloat16", "pure_bf16")
        reading.put("training.bf16", False, "pure_bf16")
        return
    take_default(reading, "pure_bf16", False)
    for key in _DTYPES:
        if str(reading.get(key)).lower() == "true":
            reading.put("model.dtype", _dtype(key, reading.values.get("peft", {}).get("peft_method") == "lora"), key)


def write_precision(writing: Writing, method: str) -> None:
    """Write the weights' type where precision says it, or where it is pure bfloat16."""
    dtype = writing.get("model.dtype")
    on = [key for key in _DTYPES if writing.get(f"training.{key}") is True]
    if on and dtype == _dtype(on[0], method == "lora"):
        writing.take("model.dtype")
    elif not on and dtype == "bfloat16":
        writing.take("model.dtype")
        writing.take("training.bf16")
        writing.put("pure_bf16", True)


def _dtype(key: str, is_lora: bool) -> str:
    return _DTYPES[key] if is_lora else "float32"


def read_pissa(reading: Reading) -> None:
    """Read the initialisation of adapters by singular values; a number of iterations is a part of its name here."""
    if str(reading.get("pissa_init")).lower() != "true":
        take_default(reading, "pissa_init", False)
        return
    reading.take("pissa_init")
    steps = reading.take("pissa_iter")
    steps = 16 if steps is None else steps
    reading.put("peft.init_lora_weights", "pissa" if steps == -1 else f"pissa_niter_{steps}", "pissa_iter")


def write_pissa(writing: Writing) -> None:
    """Write the initialisation of adapters by singular values."""
    found = re.fullmatch(r"pissa(?:_niter_(\d+))?", str(writing.get("peft.init_lora_weights")))
    if found:
        writing.take("peft.init_lora_weights")
        writing.document |= {"pissa_init": True, "pissa_iter": int(found[1]) if found[1] else -1}


def read_names(reading: Reading, key: str, path: str) -> None:
    """Read names of datasets that are paths or Hub ids; a name of dataset_info.json says nothing by itself."""
    value = reading.take(key)
    names = names_at_commas(value) if value is not None else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        reading.refuse(key, value, "expected names with commas between them")
        return
    known = [name for name in names if "/" in name or builder_of(name) or reading.get("dataset_dir") == "ONLINE"]
    for name in (name for name in names if name not in known):
        reading.skip(key, name, f"is a name in dataset_info.json; give the rows themselves by {path.partition('.')[2]}")
    if known:
        reading.put(path, known, key)
        take_default(reading, "dataset_dir", ".", "ONLINE")
