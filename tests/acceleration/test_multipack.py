from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.acceleration.multipack import PATH, MultipackPlugin
from tuning.errors import UserError


def arguments(folder: Path, **chosen: Any) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(output_dir=str(folder), report_to="none", use_cpu=True, **chosen)


def sampled(count: int, seed: int = 0, **chosen: Any) -> Any:
    import numpy as np
    import torch
    from torch.utils.data import RandomSampler

    from tuning.acceleration.balanced_batches import BalancedBatchSampler

    lengths = np.array([random.Random(number).randint(1, 500) for number in range(count)])
    order = RandomSampler(range(count), generator=torch.Generator().manual_seed(seed))
    chosen = {"rows_per_batch": 3, "num_ranks": 2, "batches_per_step": 4, **chosen}
    return BalancedBatchSampler(order, lengths, **chosen)


@pytest.mark.parametrize("by_budget", [False, True])
@pytest.mark.parametrize("num_ranks", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 12, 35, 500])
def test_every_row_is_drawn_and_all_ranks_have_as_many_batches(count: int, num_ranks: int, by_budget: bool) -> None:
    sampler = sampled(count, num_ranks=num_ranks, by_budget=by_budget)
    batches = list(sampler)
    assert {row for batch in batches for row in batch} == set(range(count))
    assert len(batches) == len(sampler) and len(batches) % num_ranks == 0 and all(batches)
    drawn = sum(map(len, batches))
    assert drawn == count if num_ranks == 1 else (drawn - count < 6 and drawn % 6 == 0)


def test_rows_that_fill_no_batch_are_dropped_on_request() -> None:
    sampler = sampled(35, drop_last=True)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 10 and len({row for batch in batches for row in batch}) == 30


def test_each_step_has_the_rows_that_it_has_without_balance() -> None:
    sampler, unbalanced = sampled(48), list(sampled(48).sampler)
    batches = list(sampler)
    for step in range(4):
        rows = [row for batch in batches[4 * step : 4 * step + 4] for row in batch]
        assert sorted(rows) == sorted(unbalanced[12 * step : 12 * step + 12])


def test_a_budget_evens_batches_out_further_than_steps_do() -> None:
    spread = []
    for by_budget in (False, True):
        sampler = sampled(600, by_budget=by_budget)
        tokens = [int(sampler.lengths[batch].sum()) for batch in sampler]
        spread.append(max(tokens) - min(tokens))
    assert spread[1] < spread[0] / 2


@pytest.mark.parametrize("by_budget", [False, True])
def test_batches_depend_on_the_order_of_the_rows_alone(by_budget: bool) -> None:
    first, again, other = (list(sampled(100, seed, by_budget=by_budget)) for seed in (1, 1, 2))
    assert first == again != other


def test_tokens_are_counted_of_tables_and_of_lists() -> None:
    from datasets import Dataset

    from tuning.acceleration.balanced_batches import row_lengths

    rows = [{"input_ids": [1] * number, "labels": [1] * number} for number in (3, 1, 4)]
    table = Dataset.from_list(rows)
    assert row_lengths(rows).tolist() == row_lengths(table).tolist() == [3, 1, 4]
    assert row_lengths(table.select([2, 0])).tolist() == [4, 3]


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"train_sampling_strategy": "group_by_length"}, "train_sampling_strategy=group_by_length"),
        ({"accelerator_config": {"split_batches": True}}, "split_batches"),
    ],
)
def test_what_orders_rows_by_length_or_cuts_batches_is_refused(
    tmp_path: Path, chosen: dict[str, Any], told: str
) -> None:
    model: Any = None
    with pytest.raises(UserError, match=told):
        MultipackPlugin({PATH: {}}).augmentation(model, arguments(tmp_path, **chosen))


@pytest.mark.slow
def test_only_the_data_loader_of_the_training_is_balanced(tmp_path: Path, tiny_config_only_model: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, Trainer

    from tuning.acceleration.balanced_batches import BalancedBatchSampler

    model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny_config_only_model))
    rows: Any = [{"input_ids": [5] * number, "labels": [5] * number} for number in range(1, 40)]
    trainer, plugin = (
        Trainer(model, arguments(tmp_path), train_dataset=rows, eval_dataset=rows),
        MultipackPlugin({PATH: {}}),
    )
    plugin.augmentation(model, trainer.args)
    plugin.get_callbacks_and_ready_for_train(model, trainer.accelerator)
    trained, evaluated = trainer.get_train_dataloader(), trainer.get_eval_dataloader()
    assert isinstance(trained.batch_sampler, BalancedBatchSampler) and len(trained) == 5
    assert not isinstance(evaluated.batch_sampler, BalancedBatchSampler)


@pytest.fixture(scope="module")
def ranks(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Train on two ranks without balance, and with both kinds of it."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", port]
    script = str(Path(__file__).with_name("balanced_training.py"))
    root = str(Path(__file__).resolve().parents[2])
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    command = [sys.executable, *launch, script, str(tiny_model), str(folder)]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank{number}.json").read_text()) for number in range(2)]


def steps(ranks: list[dict[str, Any]], name: str) -> list[tuple[list[int], list[int]]]:
    """Return of each step the rows of both ranks, and the tokens of each rank; each step has two batches a rank."""
    found = []
    batches = [rank[name]["batches"] for rank in ranks]
    per_epoch = [len(each) // 2 for each in batches]
    for epoch in range(2):
        mine = [each[epoch * half : (epoch + 1) * half] for each, half in zip(batches, per_epoch, strict=True)]
        for start in range(0, len(mine[0]), 2):
            parts = [each[start : start + 2] for each in mine]
            rows = sorted(row for part in parts for batch in part for row in batch[0])
            found.append((rows, [sum(batch[1] for batch in part) for part in parts]))
    return found


@pytest.mark.slow
def test_two_ranks_learn_the_same_from_balanced_steps_and_have_nearer_tokens(ranks: list[dict[str, Any]]) -> None:
    without, balanced = steps(ranks, "without"), steps(ranks, "step")
    assert [rows for rows, _ in balanced] == [rows for rows, _ in without] and len(without) == 8
    assert ranks[0]["step"]["losses"] == pytest.approx(ranks[0]["without"]["losses"], abs=1e-4)
    idle = [sum(abs(first - second) for _, (first, second) in each) for each in (without, balanced)]
    assert idle[1] < idle[0] / 3


@pytest.mark.slow
def test_two_ranks_see_every_row_of_an_epoch_with_a_token_budget(ranks: list[dict[str, Any]]) -> None:
    found = steps(ranks, "budget")
    for epoch in (found[:4], found[4:]):
        assert {row for rows, _ in epoch for row in rows} == set(range(50))
    losses = ranks[0]["budget"]["losses"]
    assert len(losses) == 8 and losses[-1] < losses[0]


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_batches_that_it_left(tiny_model: Path, tmp_path: Path) -> None:
    import balanced_training

    model, chosen = str(tiny_model), {"save_strategy": "steps", "save_steps": 3}
    whole = balanced_training.trained(model, tmp_path, {}, **chosen)
    for folder in tmp_path.glob("checkpoint-*"):
        if folder.name != "checkpoint-3":
            folder.rename(tmp_path / f"left-{folder.name}")
    resumed = balanced_training.trained(model, tmp_path, {}, resume=True, **chosen)
    assert resumed["batches"] == whole["batches"][6:]
    assert resumed["losses"][3:] == pytest.approx(whole["losses"][3:], abs=1e-5)
