from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tuning.acceleration.online_mixing import PATH, OnlineMixingPlugin
from tuning.errors import UserError


def rows(names: tuple[str, ...] = ("easy", "hard")) -> Any:
    """Make 60 rows that all begin alike, and 60 that do not; the first and second token number them."""
    import random

    from datasets import Dataset

    made, drawn = [], random.Random(0)
    for number in range(120):
        is_easy = number < 60
        tail = [7] * 10 if is_easy else drawn.choices(range(10, 300), k=10)
        ids = [5, 10 + number, *tail]
        made.append({"input_ids": ids, "labels": ids, "dataset": names[0 if is_easy else -1]})
    return Dataset.from_list(made)


def arguments(folder: Path, **chosen: Any) -> Any:
    from transformers import TrainingArguments

    given = {"max_steps": 12, "logging_steps": 1, "learning_rate": 0.02, "save_strategy": "no", "seed": 3}
    given |= {"output_dir": str(folder), "use_cpu": True, "report_to": "none", "disable_tqdm": True}
    return TrainingArguments(**{**given, **chosen})


def trained(model_folder: Path, args: Any, dataset: Any = None, resume: Any = None, **stanza: Any) -> Any:
    from transformers import AutoModelForCausalLM, Trainer, default_data_collator

    drawn: list[int] = []

    def collate(batch: list[dict[str, Any]]) -> Any:
        assert all(set(row) == {"input_ids", "labels"} for row in batch)
        drawn.extend(row["input_ids"][1] - 10 for row in batch)
        return default_data_collator(batch)

    plugin = OnlineMixingPlugin({PATH: {"update_interval": 3, "num_reward_rows": 4, "eta": 1.0, **stanza}})
    model: Any = AutoModelForCausalLM.from_pretrained(model_folder, dtype="float32")
    model, _ = plugin.augmentation(model, args)
    trainer = Trainer(model, args, train_dataset=rows() if dataset is None else dataset, data_collator=collate)
    for callback in plugin.get_callbacks_and_ready_for_train(model, trainer.accelerator):
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, drawn


def shares(trainer: Any, name: str) -> list[float]:
    return [entry[f"mixing/{name}"] for entry in trainer.state.log_history if f"mixing/{name}" in entry]


@pytest.mark.slow
@pytest.mark.parametrize("reward_type", ["validation_loss", "train_loss", "entropy"])
def test_the_dataset_that_is_harder_to_learn_is_drawn_more(tiny_model: Path, tmp_path: Path, reward_type: str) -> None:
    trainer, drawn = trained(tiny_model, arguments(tmp_path), reward_type=reward_type)
    hard = shares(trainer, "hard")
    assert len(hard) == 12 and hard[0] == pytest.approx(0.5) and hard[-1] > hard[0] + 0.1
    assert shares(trainer, "easy") == pytest.approx([1 - share for share in hard], abs=1e-5)
    assert len(set(drawn)) > 60


@pytest.mark.slow
def test_rows_whose_loss_is_the_reward_are_not_trained_on(tiny_model: Path, tmp_path: Path) -> None:
    args = arguments(tmp_path, max_steps=-1, num_train_epochs=8)
    _, drawn = trained(tiny_model, args, reward_type="validation_loss", eta=0.01)
    untouched = set(range(120)) - set(drawn)
    assert len([row for row in untouched if row < 60]) == len([row for row in untouched if row >= 60]) == 4


@pytest.mark.slow
def test_a_resumed_run_draws_the_rows_and_has_the_shares_that_it_would_have_had(
    tiny_model: Path, tmp_path: Path
) -> None:
    args = arguments(tmp_path, max_steps=20, save_strategy="steps", save_steps=5, gradient_accumulation_steps=2)
    whole, drawn = trained(tiny_model, args)
    for step, seen in ((5, 5 * 16), (10, 120 + 2 * 16)):  # an epoch is 120 rows: 8 steps, the last of them with 8 rows
        resumed, later = trained(tiny_model, args, resume=str(tmp_path / f"checkpoint-{step}"))
        assert shares(resumed, "hard") == pytest.approx(shares(whole, "hard"), abs=1e-5)
        assert later == drawn[seen:]


def sampler(mixture: Any, **chosen: Any) -> Any:
    import numpy as np

    from tuning.acceleration.mixed_batches import MixedBatchSampler

    sizes = {"num_batches": 200, "rows_per_batch": 5, "batches_per_step": 2, "rows_at_once": 1, "seed": 0}
    return MixedBatchSampler([np.arange(30), np.arange(30, 100)], mixture, **{**sizes, **chosen})


def mixture(shares: tuple[float, ...] = (0.3, 0.7)) -> Any:
    from tuning.acceleration.mixture import Mixture

    return Mixture(["a", "b"], shares, 5.0, 0.0)


def test_rows_are_drawn_by_the_shares_of_their_step() -> None:
    chosen = mixture()
    chosen.update([1.0, 0.0], from_step=50)
    drawn = [Counter(row < 30 for row in itertools.chain(*half))[True] / 500 for half in _halves(list(sampler(chosen)))]
    assert drawn[0] == pytest.approx(0.3, abs=0.06) and drawn[1] == pytest.approx(chosen.shares["a"], abs=0.06)
    assert drawn[1] > 0.9


def _halves(batches: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    return batches[:100], batches[100:]


def test_a_dataset_is_drawn_whole_before_any_of_its_rows_comes_again() -> None:
    counts = Counter(itertools.chain(*sampler(mixture())))
    first = [counts[row] for row in range(30)]
    assert max(first) - min(first) <= 1 and min(first) > 1


def test_rows_depend_on_seed_and_epoch_alone_and_several_are_drawn_at_once_on_request() -> None:
    first, again, other = sampler(mixture()), sampler(mixture()), sampler(mixture())
    other.epoch = 1
    assert list(first) == list(again) != list(other)
    assert all(len({row < 30 for row in batch}) == 1 for batch in sampler(mixture(), rows_at_once=5))


@pytest.mark.parametrize(
    ("chosen", "told"), [({"train_sampling_strategy": "sequential"}, "train_sampling_strategy=sequential")]
)
def test_another_order_of_the_rows_is_refused(tmp_path: Path, chosen: dict[str, Any], told: str) -> None:
    model: Any = None
    with pytest.raises(UserError, match=told):
        OnlineMixingPlugin({PATH: {}}).augmentation(model, arguments(tmp_path, **chosen))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "stanza", "told"),
    [
        (lambda found: found.remove_columns("dataset"), {}, "need a column 'dataset'"),
        (lambda found: found.select(range(60)), {}, "all rows are from one dataset"),
        (lambda found: found.select(range(62)), {}, "dataset hard has 2 rows; num_reward_rows takes 4"),
    ],
)
def test_rows_that_cannot_be_mixed_are_refused(
    tiny_model: Path, tmp_path: Path, change: Any, stanza: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        trained(tiny_model, arguments(tmp_path), change(rows()), **stanza)


def written(folder: Path) -> list[dict[str, Any]]:
    datasets = []
    for name, completion in (("same", "yes yes yes"), ("numbers", "{0} {1} {2}")):
        found = [{"prompt": f"{n}: ", "completion": completion.format(n * 7, n * 31, n * 17)} for n in range(40)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, found)))
        datasets.append({"name": name, "data_paths": [str(folder / f"{name}.jsonl")]})
    return datasets


@pytest.mark.slow
def test_a_run_mixes_its_datasets_and_tracks_their_shares(tiny_model: Path, tmp_path: Path) -> None:
    from tuning.sft_trainer import train

    given = {"model_name_or_path": str(tiny_model), "datasets": written(tmp_path), "output_dir": str(tmp_path / "out")}
    given |= {"max_steps": 12, "per_device_train_batch_size": 4, "learning_rate": 0.02, "logging_steps": 1}
    given |= {"use_cpu": True, "bf16": False, "recommend": False}
    stanza = {"update_interval": 3, "num_reward_rows": 4, "eta": 1.0}
    train({**given, "plugins": {"training": {"data": {"online_mixing": stanza}}}})
    lines = (tmp_path / "out" / "tracking" / "events.jsonl").read_text().splitlines()
    values = [record["values"] for record in map(json.loads, lines) if record["type"] == "metrics"]
    shares = [found[name] for found in values for name in found if name.endswith("mixing/numbers")]
    assert len(shares) == 12 and shares[0] == pytest.approx(0.5) and shares[-1] > 0.6
