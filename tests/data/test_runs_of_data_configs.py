"""Whole runs on several datasets: what is trained on, and that a run that is taken up goes on in the same order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import tuning

pytestmark = pytest.mark.slow

WHOLE_ROW = (
    "{% for message in messages['messages'] %}<|{{ message['role'] }}|>{{ message['content'] + eos_token }}{% endfor %}"
)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def handler(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": {"remove_columns": "all", "batched": False, "fn_kwargs": arguments}}


def data_config(folder: Path, streaming: bool) -> str:
    """Write a data config of fms-hf-tuning: three shapes of rows, mixed by weight, and a dataset that is held out."""
    pairs = [{"input": f"word {n}", "output": f"answer {n}"} for n in range(90)]
    talks = [
        {"messages": [{"role": "user", "content": f"talk {n}"}, {"role": "assistant", "content": f"reply {n}"}]}
        for n in range(60)
    ]
    masking = handler("tokenize_and_apply_input_masking", input_column_name="input", output_column_name="output")
    chat = handler("apply_tokenizer_chat_template", dataset_text_field="out")
    datasets = [
        {"name": "pairs", "sampling": 0.5, "data_paths": [write(folder / "pairs.jsonl", pairs)]},
        {"name": "talks", "sampling": 0.3, "data_paths": [write(folder / "talks.jsonl", talks)]},
        {"name": "tokens", "sampling": 0.2, "data_paths": [write(folder / "tokens.jsonl", [{"input_ids": [5, 6, 7]}])]},
        {"name": "held", "split": {"validation": 0.1}, "data_paths": [str(folder / "pairs.jsonl")]},
    ]
    for dataset, step in zip(datasets, (masking, chat, None, masking), strict=True):
        dataset |= {"data_handlers": [step]} if step else {}
    processor = {"type": "default", "streaming": streaming, "chat_template": WHOLE_ROW, "seed": 3}
    (folder / "data.yaml").write_text(yaml.safe_dump({"dataprocessor": processor, "datasets": datasets}))
    return str(folder / "data.yaml")


def run(folder: Path, model: Path, data: str) -> list[float]:
    """Train and return the loss of each step."""
    settings = {
        **{"model_name_or_path": str(model), "data_config_path": data, "output_dir": str(folder), "use_cpu": True},
        **{"max_steps": 6, "save_steps": 3, "save_total_limit": 5, "logging_steps": 1, "learning_rate": 1e-2},
        **{"per_device_train_batch_size": 2, "dataset_prepared_path": str(folder.parent / "prepared"), "seed": 1},
        **{"eval_strategy": "no", "save_strategy": "steps"},
    }
    tuning.train(settings)
    lines = (folder / "tracking" / "events.jsonl").read_text().splitlines()
    records = [record["values"] for record in map(json.loads, lines) if record["type"] == "metrics"]
    return [values["train/loss"] for values in records if "train/loss" in values]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_data_config_trains_and_a_run_taken_up_goes_on_in_the_same_order(
    tiny_model: Path, tmp_path: Path, streaming: bool
) -> None:
    data = data_config(tmp_path, streaming)
    losses = run(tmp_path / "run", tiny_model, data)
    document = json.loads((tmp_path / "run" / "config.json").read_text())
    assert [dataset["name"] for dataset in document["values"]["data"]["datasets"]] == [
        "pairs",
        "talks",
        "tokens",
        "held",
    ]
    assert document["sources"]["data.datasets"] == document["sources"]["model.chat_template"] == f"data config {data}"
    assert json.loads((tmp_path / "run" / "eval.json").read_text())["eval_loss"] > 0
    shutil.rmtree(tmp_path / "run" / "checkpoint-6")
    shutil.rmtree(tmp_path / "run" / "tracking")
    assert run(tmp_path / "run", tiny_model, data) == pytest.approx(losses[3:], rel=1e-4)


def test_the_document_of_a_run_on_datasets_is_a_configuration_again(tiny_model: Path, tmp_path: Path) -> None:
    losses = run(tmp_path / "first", tiny_model, data_config(tmp_path, streaming=False))
    document = json.loads((tmp_path / "first" / "config.json").read_text())
    document["values"]["training"]["output_dir"] = str(tmp_path / "second")
    (tmp_path / "again.json").write_text(json.dumps(document))
    from tuning.sft_trainer import load_config, train

    train(load_config([str(tmp_path / "again.json")]))
    lines = (tmp_path / "second" / "tracking" / "events.jsonl").read_text().splitlines()
    records = [record["values"] for record in map(json.loads, lines) if record["type"] == "metrics"]
    assert [values["train/loss"] for values in records if "train/loss" in values] == pytest.approx(losses, rel=1e-4)
