"""A run of a tiny model in a process of its own: started, watched, and ended by a signal."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from benchmarks.tiny_model import write_tiny_model
from tuning.checkpoints.search import UNFINISHED, checkpoints
from tuning.trackers.event_log import read_records
from tuning.trackers.run_files import RunFiles

NUM_STEPS, SAVE_STEPS, EVAL_STEPS = 12, 3, 4
KINDS = {
    "full": ("peft_method=none",),
    "full, packed": ("peft_method=none", "packing=true"),
    "LoRA": ("peft_method=lora", "r=4", "lora_dropout=0.1", "learning_rate=0.01"),
    "LoRA, packed": ("peft_method=lora", "r=4", "lora_dropout=0.1", "learning_rate=0.01", "packing=true"),
}
"""Kinds of runs that are interrupted at many moments, and the settings of each."""
OTHERS = {
    "two datasets, mixed": ("mixed.json",),
    "two datasets, mixed while training": ("online.json",),
    "streamed": ("streaming=true",),
    "two datasets, mixed and streamed": ("mixed.json", "streaming=true"),
    "NEFTune": ("neftune_noise_alpha=5",),
    "Adafactor, cosine schedule": ("optim=adafactor", "lr_scheduler_type=cosine", "warmup_steps=3"),
    "best model kept": ("load_best_model_at_end=true", f"save_steps={2 * EVAL_STEPS}", "save_total_limit=1"),
    "rows read by workers": ("dataloader_num_workers=2",),
}
"""Kinds whose order of rows, random numbers or state is another; each is interrupted once by each signal."""
_ROWS = ("training_data_path=rows.jsonl", "validation_data_path=held_out.jsonl")
_SETTINGS = (
    *("model_name_or_path=model", "recommend=false", f"max_steps={NUM_STEPS}", "save_strategy=steps", "use_cpu=true"),
    *(f"save_steps={SAVE_STEPS}", "save_total_limit=2", "eval_strategy=steps", f"eval_steps={EVAL_STEPS}"),
    *("logging_steps=1", "per_device_train_batch_size=2", "gradient_accumulation_steps=2", "bf16=false"),
    *("max_length=128", "learning_rate=0.003", "baseline=false", "audit=off", "dataset_prepared_path=kept"),
)
_WORDS = ("the", "river", "waits", "for", "rain", "and", "every", "stone", "is", "round")
_GOING_ON = re.compile(r"going on from (\S+) ")


def write_inputs(folder: Path) -> None:
    """Write the model and the rows that all runs in a folder share."""
    _write_weights(write_tiny_model(folder / "model"))
    chance = random.Random(0)
    for name, num_rows in (("rows.jsonl", 40), ("held_out.jsonl", 6), ("more.jsonl", 40)):
        rows = ({"prompt": f"Say {n}: ", "completion": " ".join(chance.choices(_WORDS, k=8))} for n in range(num_rows))
        (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    _write_datasets(folder)


def _write_datasets(folder: Path) -> None:
    """Write the configurations of runs that mix two datasets: by fixed shares, and by shares that follow the losses."""
    stanza = {"update_interval": 3, "num_reward_rows": 4, "eta": 1.0}
    held_out = {"name": "held_out", "data_paths": ["held_out.jsonl"], "split": {"validation": 1}}
    trained = [{"name": file.partition(".")[0], "data_paths": [file]} for file in ("rows.jsonl", "more.jsonl")]
    mixed = {"datasets": [*({**each, "sampling": 0.5} for each in trained), held_out]}
    online = {"datasets": [*trained, held_out], "plugins": {"training": {"data": {"online_mixing": stanza}}}}
    for name, settings in (("mixed", mixed), ("online", online)):
        (folder / f"{name}.json").write_text(json.dumps(settings))


def _write_weights(model: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model)).save_pretrained(model)


@dataclass(frozen=True)
class Command:
    """A command that trains: the same words each time. `is_new`: Python is started for it, as a shell would.

    Otherwise it begins in a copy of a process that has imported everything, which saves the seconds of the imports.
    """

    root: Path
    kind: str
    folder: str
    tracking: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        chosen = (KINDS | OTHERS)[self.kind]
        files = [word for word in chosen if word.endswith(".json")]
        own = [word for word in chosen if word not in files]
        return [*files, *([] if files else _ROWS), *_SETTINGS, *own, *self.tracking, f"output_dir={self.folder}"]

    @property
    def run_dir(self) -> Path:
        return self.root / self.folder

    def start(self, is_new: bool = False) -> RunProcess:
        """Start it in a process of its own."""
        log = self.root / f"{self.folder}.log"
        process = multiprocessing.get_context("fork").Process(target=_run, args=(self, log, is_new))
        earlier = log.stat().st_size if log.exists() else 0
        process.start()
        return RunProcess(self, process, log, earlier)


def _run(command: Command, log: Path, is_new: bool) -> None:
    os.chdir(command.root)
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
    if is_new:
        os.execv(sys.executable, [sys.executable, "-m", "tuning.sft_trainer", *command.words])
    from tuning.sft_trainer import main

    code = main(command.words)
    sys.stdout.flush()
    os._exit(code)


@dataclass(frozen=True)
class RunProcess:
    """One attempt of a command; `logged_before` counts the bytes that earlier attempts have logged."""

    command: Command
    process: Any
    log: Path
    logged_before: int

    @property
    def seconds(self) -> float:
        """Seconds that it has computed; unlike those on the clock they do not depend on what else computes."""
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return times.user + times.system

    def goes_on(self) -> bool:
        """Tell whether it is still there and has not ended."""
        return self.process.is_alive()

    def wait(self, seconds: float = 300.0) -> int | None:
        """Wait for the end and return the exit code; negative: the number of the signal that ended it."""
        self.process.join(seconds)
        return self.process.exitcode

    def send(self, signum: int) -> None:
        """Send a signal; one that comes after the end is lost."""
        if self.goes_on():
            os.kill(self.process.pid, signum)

    def went_on_from(self) -> str | None:
        """Return the name of the checkpoint that this attempt began with."""
        with self.log.open("rb") as log:
            log.seek(self.logged_before)
            found = _GOING_ON.search(log.read().decode())
        return Path(found[1]).name if found else None

    def phase(self) -> str:
        """Say what the run does now, from what stands in its folder."""
        folder = self.command.run_dir
        if not RunFiles(folder).events.exists():
            return "starting, or making tokens"
        if list((folder / UNFINISHED).glob("checkpoint-*")):
            return "saving"
        traces = Traces(folder)
        if not traces.steps:
            return "loading"
        if traces.states and traces.states[-1] == "finished":
            return "ending"
        if traces.steps[-1] < NUM_STEPS:
            return "evaluating" if traces.is_evaluating else "training"
        return "after the last step"


class Traces:
    """What the attempts of a run have left in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        return list(read_records(RunFiles(self.folder).events)) if RunFiles(self.folder).events.exists() else []

    @property
    def steps(self) -> list[int]:
        """Steps whose losses were logged, in the order of the log."""
        return [step for step, _ in self._logged("train/loss")]

    @property
    def states(self) -> list[str]:
        return [record["state"] for record in self.records if record["type"] == "state"]

    @property
    def run_ids(self) -> set[str]:
        return {record["run_id"] for record in self.records if record["type"] == "run"}

    @property
    def is_evaluating(self) -> bool:
        evaluated = dict(self._logged("eval/loss"))
        return self.steps[-1] % EVAL_STEPS == 0 and self.steps[-1] not in evaluated

    @property
    def losses(self) -> dict[str, dict[int, float]]:
        """The last loss of each step, in training and in evaluation."""
        return {name: dict(self._logged(name)) for name in ("train/loss", "eval/loss")}

    def _logged(self, name: str) -> Sequence[tuple[int, float]]:
        found = [record for record in self.records if record["type"] == "metrics" and name in record["values"]]
        return [(record["step"], record["values"][name]) for record in found]

    @property
    def newest(self) -> str | None:
        """Name of the newest folder that has the name of a checkpoint."""
        found = checkpoints(self.folder)
        return found[-1].name if found else None

    def weights(self) -> str:
        """Return the SHA-256 of the saved weights; empty where there are none."""
        found = sorted((self.folder / "model").glob("*.safetensors"))
        return hashlib.sha256(b"".join(file.read_bytes() for file in found)).hexdigest() if found else ""
