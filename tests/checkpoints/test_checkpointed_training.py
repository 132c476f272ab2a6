"""Real trainings of a tiny model in this process, whose checkpoints are looked at, broken and gone on from."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_files import files_of_at_most

from tuning.checkpoints.marker import why_torn
from tuning.checkpoints.search import UNFINISHED, checkpoints
from tuning.errors import DiskFullError, UserError

pytestmark = pytest.mark.slow


def trainer(model: Path, output_dir: Path, **settings: Any) -> Any:
    """Make the trainer of a run of four steps that saves after each second one."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.sft_config import SFTConfig

    from tuning.evaluation.scored_trainer import ScoredTrainer

    rows = Dataset.from_list([{"input_ids": [5 + n, 9, 7], "labels": [5 + n, 9, 7]} for n in range(20)])
    given = {"use_cpu": True, "report_to": "none", "bf16": False, "disable_tqdm": True, "max_steps": 4, "save_steps": 2}
    given |= {"dataset_kwargs": {"skip_prepare_dataset": True}, "per_device_train_batch_size": 2, "logging_steps": 1}
    return ScoredTrainer(
        AutoModelForCausalLM.from_pretrained(model),
        SFTConfig(output_dir=str(output_dir), **{**given, **settings}),
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(model),
    )


@pytest.fixture(scope="module")
def saved(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with two checkpoints, and one log entry at its end."""
    folder = tmp_path_factory.mktemp("saved")
    trainer(tiny_model, folder, logging_steps=4).train()
    return folder


def test_checkpoints_are_whole_and_nothing_is_left_beside_them(saved: Path) -> None:
    assert [(path.name, why_torn(path)) for path in checkpoints(saved)] == [
        ("checkpoint-2", None),
        ("checkpoint-4", None),
    ]
    assert not (saved / UNFINISHED).exists() and not list(saved.rglob("training_args.bin"))
    assert not (saved / "README.md").exists(), "a card of TRL's would say of the run folder what is true of a model"


def test_the_best_checkpoint_is_known_by_its_name_and_outlives_the_limit(tiny_model: Path, tmp_path: Path) -> None:
    best = {"eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "load_best_model_at_end": True}
    trainer(tiny_model, tmp_path, save_total_limit=2, learning_rate=0.0, **best).train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-1", "checkpoint-4"]
    state = json.loads((tmp_path / "checkpoint-1" / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(tmp_path / "checkpoint-1")


def test_a_disk_that_is_full_leaves_the_checkpoint_before_and_no_half_one(tiny_model: Path, tmp_path: Path) -> None:
    run = trainer(tiny_model, tmp_path)
    run.train()
    run.state.global_step = 6
    with files_of_at_most(200_000), pytest.raises(DiskFullError, match="the checkpoint of step 6 cannot be written to"):
        run._save_checkpoint(run.model, None)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-4"]
    assert why_torn(tmp_path / "checkpoint-4") is None and not any((tmp_path / UNFINISHED).glob("*"))


def test_a_checkpoint_takes_the_place_of_one_of_the_same_step(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "old").write_text("")
    trainer(tiny_model, tmp_path, max_steps=2).train()
    assert why_torn(tmp_path / "checkpoint-2") is None and not (tmp_path / "checkpoint-2" / "old").exists()


def test_what_was_not_logged_yet_counts_in_the_next_entry(saved: Path, tiny_model: Path, tmp_path: Path) -> None:
    resumed = trainer(tiny_model, tmp_path, logging_steps=4)
    resumed.train(resume_from_checkpoint=str(saved / "checkpoint-2"))
    unbroken = json.loads((saved / "checkpoint-4" / "trainer_state.json").read_text())["log_history"]
    assert [entry for entry in resumed.state.log_history if "loss" in entry] == [unbroken[0]]
    assert unbroken[0]["num_tokens"] == 4 * 2 * 3  # steps, rows, tokens
    assert {"entropy", "mean_token_accuracy"} <= unbroken[0].keys()


class Canary:
    """What a pickle could do to whoever loads it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_that_runs_code_is_refused(saved: Path, tiny_model: Path, tmp_path: Path, name: str) -> None:
    import torch

    checkpoint = tmp_path / "run" / "checkpoint-2"
    shutil.copytree(saved / "checkpoint-2", checkpoint)
    torch.save({"state": Canary(tmp_path / "canary")}, checkpoint / name)
    with pytest.raises(UserError, match=r"checkpoint-2: the checkpoint cannot be gone on from: Weights only load"):
        trainer(tiny_model, tmp_path / "run").train(resume_from_checkpoint=str(checkpoint))
    (checkpoint / name).write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    assert "is cut short" in str(why_torn(checkpoint)) or "of its" in str(why_torn(checkpoint))
    assert not (tmp_path / "canary").exists()


def test_a_state_of_another_release_is_refused_by_name(saved: Path, tiny_model: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoint-2"
    shutil.copytree(saved / "checkpoint-2", checkpoint)
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    (checkpoint / "trainer_state.json").write_text(json.dumps({**state, "of_tomorrow": 1}))
    with pytest.raises(UserError, match=r"checkpoint-2: the checkpoint cannot be gone on from: .*of_tomorrow"):
        trainer(tiny_model, tmp_path / "run").train(resume_from_checkpoint=str(checkpoint))
