"""Train two steps on the CPU in a process of their own and print the peak of their memory, bytes.

`python -m benchmarks.memory_process CASE`: CASE is JSON with `config` (as in config.json) and `step` (fields of Step).
The peak is VmHWM, reset when the imports are done and a tiny model has been trained, less what was resident then.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tiny_model import write_tiny_model

_STEPS = 2
"""The first one makes the optimizer's state, so that the second one holds all there is."""
_TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 300}
_TINY_NAMES = {"n_embd": 32, "n_layer": 1, "n_inner": 64}


def train(config: Mapping[str, Any], step: Mapping[str, Any], folder: Path, use_cpu: bool = True) -> None:
    """Train a model with random weights on full rows, as the product does: TRL's trainer, its loss, PEFT's adapters."""
    import torch
    from datasets import Dataset
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    values = dict(config)
    described = AutoConfig.for_model(values.pop("model_type"), **values)
    dtype = torch.float32 if step["dtype_bytes"] == 4 else torch.bfloat16
    rows, length = step["rows"], step["length"]
    args = SFTConfig(
        output_dir=str(folder / "out"),
        max_steps=_STEPS,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=step.get("gradient_accumulation_steps", 1),
        max_length=length,
        gradient_checkpointing=step.get("gradient_checkpointing", False),
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=step.get("autocast", False),
        optim="adamw_torch_fused",
        use_cpu=use_cpu,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    with torch.device("cpu" if use_cpu else "cuda"):
        model = AutoModelForCausalLM.from_config(described, dtype=dtype, attn_implementation="sdpa")
    trainer = SFTTrainer(
        model,
        args,
        train_dataset=Dataset.from_dict({"input_ids": [list(range(3, 203)) * (length // 200 + 1)] * (4 * rows)}),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=_adapters(step.get("r")),
    )
    trainer.train()


def peak_of(config: Mapping[str, Any], step: Mapping[str, Any]) -> int:
    """Return what training takes beyond what its imports take."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_tiny_model(Path(name))
        names = _TINY_NAMES if "n_embd" in config else _TINY
        tiny = {**config, **{key: value for key, value in names.items() if key in config}}
        train(tiny, {**step, "rows": 1, "length": 16}, folder)
        before = _settled()
        Path("/proc/self/clear_refs").write_text("5")
        train(config, step, folder)
    return _status("VmHWM") - before


def main(argv: Sequence[str]) -> int:
    """Measure one case."""
    case = json.loads(argv[0])
    print(json.dumps({"peak": peak_of(case["config"], case["step"])}))
    return 0


def _adapters(r: int | None) -> Any:
    from peft import LoraConfig

    return None if r is None else LoraConfig(task_type="CAUSAL_LM", r=r, target_modules="all-linear")


def _settled() -> int:
    """Give freed memory back to the system, and return what is resident."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) << 10


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
