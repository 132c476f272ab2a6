"""Trainings in one process or several, by `tune RECIPE`: how one is started, killed, and read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.stores import ENVIRONMENT, ROOT, wait_for
from benchmarks.tiny_model import write_tiny_model

ON_CPU = ROOT / "tests" / "distributed" / "fsdp2_on_cpu"
"""Folder of the patch without which accelerate makes DDP of FSDP on CPUs."""
GLOBAL_BATCH = 8
"""Rows of one update, whatever the number of processes."""
STEPS, RESUMED_AT = 6, 3
LONGEST_RUN_SECONDS = 400.0
_RECIPES = {"full": "full_finetune", "LoRA": "lora_finetune"}
_RATES = {"full": 1e-3, "LoRA": 1e-2}


@dataclass(frozen=True)
class Way:
    """A way to share a model between processes, as a configuration asks for it.

    One process has these settings, too, where the way takes up no checkpoints but its own.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    package: str = "torch"
    takes_its_own_alone: bool = False


def _fsdp(state_dict_type: str) -> dict[str, Any]:
    config = {"fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "fsdp_reshard_after_forward": True}
    config |= {"fsdp_state_dict_type": state_dict_type, "fsdp_cpu_ram_efficient_loading": True}
    return {"accelerate": {"distributed_type": "FSDP", "fsdp_config": config}}


_ZERO3 = {"zero_stage": 3, "zero3_init_flag": True, "zero3_save_16bit_model": True}
DDP = Way("DDP")
FSDP2 = Way("FSDP2, whole checkpoints", _fsdp("FULL_STATE_DICT"))
FSDP2_PARTS = Way("FSDP2, checkpoints in parts", _fsdp("SHARDED_STATE_DICT"))
ZERO3 = Way(
    "DeepSpeed ZeRO-3",
    {
        "accelerate": {"distributed_type": "DEEPSPEED", "deepspeed_config": _ZERO3},
        "training": {"use_cpu": False, "ddp_backend": "gloo"},
    },
    "deepspeed",
    takes_its_own_alone=True,
)
WAYS = (DDP, FSDP2, FSDP2_PARTS, ZERO3)


def write_inputs(folder: Path) -> None:
    """Write a tiny model with weights, always the same ones, and 64 rows of different lengths."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    write_tiny_model(folder / "base")
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder / "base")).save_pretrained(folder / "base")
    rows = ({"prompt": f"Say {n}: ", "completion": f"{n} " * (1 + n % 5)} for n in range(64))
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))


def settings(inputs: Path, run: Path, method: str, way: Way, num_processes: int) -> dict[str, Any]:
    """Return the configuration of a training; the rows of an update are the same for any number of processes."""
    per_device = GLOBAL_BATCH // 2
    values: dict[str, Any] = {
        "model_name_or_path": str(inputs / "base"),
        "training_data_path": str(inputs / "rows.jsonl"),
        "dataset_prepared_path": str(inputs / "prepared"),
        "output_dir": str(run),
        "trackers": "none",
        "validation_fraction": 0,
        "learning_rate": _RATES[method],
        "lr_scheduler_type": "linear",
        "max_steps": STEPS,
        "save_strategy": "steps",
        "save_steps": RESUMED_AT,
        "save_total_limit": 10,
        "logging_steps": 1,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": GLOBAL_BATCH // per_device // num_processes,
    }
    lora = {"peft_method": "lora", "lora_dropout": 0} if method == "LoRA" else {"peft_method": "none"}
    return values | lora | (dict(way.settings) if num_processes > 1 or way.takes_its_own_alone else {})


def command(inputs: Path, run: Path, method: str, way: Way, num_processes: int, *more: str) -> list[str]:
    """Write the configuration of a training beside its run folder, and return the command that starts it."""
    file = run.with_suffix(".json")
    file.write_text(json.dumps(settings(inputs, run, method, way, num_processes)))
    words = [_RECIPES[method], "--config", str(file), "--nproc", str(num_processes), *more]
    return [sys.executable, "-m", "tuning.cli", *words]


def environment() -> dict[str, str]:
    """Return the environment of a training: no network, one thread for each process, FSDP2 on CPUs."""
    path = os.pathsep.join([str(ON_CPU), str(ROOT)])
    kept = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    return {**kept, **ENVIRONMENT, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "DS_ACCELERATOR": "cpu"}


def train(words: Sequence[str], log: Path) -> int:
    """Run a training to its end; returns its exit code."""
    with _started(words, log) as process:
        return process.wait(LONGEST_RUN_SECONDS)


def train_and_kill(words: Sequence[str], run: Path, log: Path, rank: int, seed: int) -> int:
    """Run a training, and kill one of its processes some time after the first checkpoint; returns its exit code."""
    with _started(words, log) as process:
        first = run / f"checkpoint-{RESUMED_AT}"
        wait_for(lambda: first.is_dir() or process.poll() is not None, LONGEST_RUN_SECONDS)
        time.sleep(random.Random(seed).random())
        for process_id in _processes(process.pid, rank):
            os.kill(process_id, signal.SIGKILL)
        return process.wait(LONGEST_RUN_SECONDS)


@contextlib.contextmanager
def _started(words: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as stream:
        process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=stream, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def _processes(parent: int, rank: int) -> list[int]:
    """Find the process of a rank below the command that launched it."""
    import psutil

    found = []
    for child in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "tuning.launch.rank" in child.cmdline() and child.environ().get("RANK") == str(rank):
                found.append(child.pid)
    return found


def go_on_from(run: Path, other: Path) -> None:
    """Make a run folder that holds what another one had saved in the middle."""
    checkpoint = f"checkpoint-{RESUMED_AT}"
    shutil.copytree(run / checkpoint, other / checkpoint)


def losses(run: Path, step: int = STEPS) -> list[float]:
    """Return the loss of each step up to a checkpoint, nats."""
    state = json.loads((run / f"checkpoint-{step}" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def weights(folder: Path) -> dict[str, Any]:
    """Load the model of a folder, or the adapter on its base, with transformers and PEFT alone; return its weights."""
    if (folder / "adapter_config.json").is_file():
        from peft import AutoPeftModelForCausalLM

        return dict(AutoPeftModelForCausalLM.from_pretrained(folder).state_dict())
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    model, told = loaded
    if told["missing_keys"] or told["unexpected_keys"]:
        raise ValueError(f"{folder}: {told}")
    return dict(model.state_dict())


def largest_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Return the largest difference between weights of the same names."""
    if ours.keys() != theirs.keys():
        raise ValueError(f"the models have different weights: {sorted(ours.keys() ^ theirs.keys())}")
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def digest(run: Path) -> str:
    """Return the SHA-256 of the weights that a run has saved."""
    (file,) = (run / "model").glob("*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def num_tracked_runs(run: Path) -> int:
    """Count the runs that are tracked in a run folder, those set aside included."""
    return len(list(run.glob("tracking*")))
