"""One way to track: `python -m benchmarks.tracking_case NAME FOLDER STEPS` prints what it costs the training thread.

Every way is driven through Hugging Face's `CallbackHandler`, as a Trainer drives it, in a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NUM_SCALARS = 10
STEP_SECONDS = 0.01
"""Computing between two steps, less than in any training: a backend gets less time to itself than it would."""
MOST_COMPUTING_STEPS = 300

OURS = {"no-op": None, "ours: Aim": "aim", "ours: MLflow": "mlflow", "ours: W&B": "wandb"}
ALL_OURS = "ours: all three"
VENDORS = {"ours: Aim": "AimCallback", "ours: MLflow": "MLflowCallback", "ours: W&B": "WandbCallback"}
"""What each of ours is compared with."""


@dataclass
class Cost:
    """What one way to track costs; the milliseconds are those of one step with ten numbers.

    Steps follow one another at once, or as in a training, where computing has taken the processor's caches meanwhile.
    """

    name: str
    num_steps: int
    median_ms: float
    p99_ms: float
    median_computing_ms: float
    p99_computing_ms: float
    start_seconds: float
    end_seconds: float
    peak_mib: float


class Training:
    """The state of a training and the events that a Trainer sends, without any computing."""

    def __init__(self, folder: Path, callbacks: Sequence[Any]) -> None:
        from transformers import TrainerControl, TrainerState, TrainingArguments
        from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback

        self.args = TrainingArguments(output_dir=str(folder / "out"), report_to="none", use_cpu=True)
        self.state, self.control = TrainerState(), TrainerControl()
        self.handler = CallbackHandler([DefaultFlowCallback(), *callbacks], _model(), None, None, None)

    def begin(self) -> None:
        """Begin as a Trainer does."""
        for event in (self.handler.on_init_end, self.handler.on_train_begin):
            event(self.args, self.state, self.control)

    def step(self, number: int) -> float:
        """End one step and log its numbers; returns the milliseconds that this took."""
        self.state.global_step, self.state.epoch = number, number / 1000
        logs = {"loss": 1.0 / number, **{f"number_{index}": number + index for index in range(NUM_SCALARS - 1)}}
        begin = time.perf_counter()
        self.handler.on_step_end(self.args, self.state, self.control)
        self.handler.on_log(self.args, self.state, self.control, logs)
        return (time.perf_counter() - begin) * 1000

    def end(self) -> None:
        """End as a Trainer does."""
        self.handler.on_train_end(self.args, self.state, self.control)


def cost_of(name: str, folder: Path, num_steps: int) -> Cost:
    """Measure one way to track."""
    import torch  # noqa: F401  (every way has it in memory, as a training has)
    import transformers  # noqa: F401

    begin = time.perf_counter()
    callbacks, finish = _start(name, folder)
    training = Training(folder, callbacks)
    training.begin()
    start_seconds = time.perf_counter() - begin
    at_once = [training.step(number) for number in range(1, num_steps + 1)]
    last = num_steps + min(num_steps, MOST_COMPUTING_STEPS)
    computing = [_compute_and_step(training, number) for number in range(num_steps + 1, last + 1)]
    begin = time.perf_counter()
    training.end()
    finish()
    end_seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(name, num_steps, *_typical(at_once), *_typical(computing), start_seconds, end_seconds, peak)


def _typical(milliseconds: list[float]) -> tuple[float, float]:
    """Return the median and the 99th of a hundred."""
    return statistics.median(milliseconds), statistics.quantiles(milliseconds, n=100)[98]


def _compute_and_step(training: Training, number: int) -> float:
    import torch

    until = time.perf_counter() + STEP_SECONDS
    numbers = torch.ones(256, 256)
    while time.perf_counter() < until:
        numbers = torch.tanh(numbers @ numbers)
    return training.step(number)


def _start(name: str, folder: Path) -> tuple[list[Any], Callable[[], None]]:
    if name in VENDORS.values():
        return _start_vendor(name, folder)
    from tuning.trackers.tracker_factory import create_tracker

    trackers = [tracker for tracker in OURS.values() if tracker] if name == ALL_OURS else [OURS[name]]
    if trackers == [None]:
        return [], lambda: None
    places = {"mlflow_tracking_uri": _sqlite(folder), "finish_timeout": 120}
    tracker = create_tracker({"trackers": trackers, "experiment": "cost", **places}, folder / "run")
    return [tracker.get_hf_callback()], tracker.finish


def _start_vendor(name: str, folder: Path) -> tuple[list[Any], Callable[[], None]]:
    if name == "AimCallback":
        from aim.hugging_face import AimCallback

        # Its default would import a module that setuptools no longer has.
        return [AimCallback(repo=str(folder / "aim"), experiment="cost", log_system_params=False)], lambda: None
    if name == "MLflowCallback":
        from transformers.integrations import MLflowCallback

        os.environ.update(MLFLOW_TRACKING_URI=_sqlite(folder), MLFLOW_EXPERIMENT_NAME="cost")
        return [MLflowCallback()], lambda: None
    from transformers.integrations import WandbCallback

    os.environ.update(WANDB_MODE="offline", WANDB_DIR=str(folder), WANDB_SILENT="true")
    return [WandbCallback()], _finish_wandb


def _finish_wandb() -> None:
    import wandb

    wandb.finish()


def _sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def _model() -> Any:
    """Make a model of next to no size; the vendors' callbacks record its configuration."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=8, **sizes))


def main(argv: Sequence[str]) -> int:
    """Print the cost of one way as JSON."""
    name, folder, num_steps = argv
    print(json.dumps(asdict(cost_of(name, Path(folder), int(num_steps)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
