from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuning.trackers.event_log import read_records
from tuning.trackers.replay import read_series
from tuning.trackers.tracker_factory import create_tracker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trainer_of() -> Any:
    """Make a Trainer of a model with one weight; `folder` is where its checkpoints and its log stand."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    class Line(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = torch.nn.Linear(1, 1, bias=False)

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            predicted = self.slope(x)
            return {"loss": ((predicted - labels) ** 2).mean(), "logits": predicted}

    rows = [{"x": torch.tensor([float(i)]), "labels": torch.tensor([2.0 * i])} for i in range(8)]

    def trainer_of(folder: Path, tracker: Any, max_steps: int, resume: bool = False) -> None:
        args = transformers.TrainingArguments(
            output_dir=str(folder / "out"), max_steps=max_steps, logging_steps=1, eval_strategy="steps", eval_steps=2,
            save_steps=2, per_device_train_batch_size=2, report_to="none", use_cpu=True, disable_tqdm=True,
            gradient_accumulation_steps=2, learning_rate=1e-3,
        )  # fmt: skip
        trainer = transformers.Trainer(
            Line(), args, train_dataset=rows, eval_dataset=rows, callbacks=[tracker.get_hf_callback()]
        )
        trainer.train(resume_from_checkpoint=resume)

    return trainer_of


def test_a_training_is_recorded_with_its_steps_and_names(trainer_of: Any, tmp_path: Path) -> None:
    tracker = create_tracker({}, tmp_path)
    trainer_of(tmp_path, tracker, max_steps=4)
    tracker.track(1.0, "after")
    tracker.finish()
    series = read_series(tmp_path / "tracking/events.jsonl")
    every_step = {"train/loss", "train/learning_rate", "train/grad_norm", "train/epoch", "train/step_seconds"}
    for name in {*every_step, "train/samples_per_second"}:
        assert [step for step, _ in series[name]] == [1, 2, 3, 4]
    assert [step for step, _ in series["eval/loss"]] == [2, 4] and series["after"] == [(4, 1.0)]
    assert {"summary/loss", "summary/runtime"} <= set(series)


def test_checkpoints_are_recorded_where_they_stand(trainer_of: Any, tmp_path: Path) -> None:
    tracker = create_tracker({}, tmp_path)
    trainer_of(tmp_path, tracker, max_steps=2)
    tracker.finish()
    saved = [record for record in read_records(tmp_path / "tracking/events.jsonl") if record["type"] == "checkpoint"]
    assert [record["step"] for record in saved] == [2] and Path(saved[0]["path"]).is_dir()


def test_a_resumed_training_goes_on_at_its_step(trainer_of: Any, tmp_path: Path) -> None:
    for max_steps in (3, 6):
        tracker = create_tracker({}, tmp_path)
        trainer_of(tmp_path, tracker, max_steps, resume=max_steps == 6)
        tracker.finish()
    series = read_series(tmp_path / "tracking/events.jsonl")
    assert [step for step, _ in series["train/loss"]] == [1, 2, 3, 4, 5, 6]
