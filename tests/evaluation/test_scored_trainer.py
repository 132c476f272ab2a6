from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scored_rows import made_up_rows, trainer_of

pytestmark = pytest.mark.slow

ROWS = made_up_rows(32)
SCRIPT = Path(__file__).with_name("scored_rows.py")
NAMES = ("eval_loss", "eval_token_accuracy", "eval_token_f1_micro", "eval_token_f1_macro")


def computed_from_all_logits(model: Any) -> dict[str, float]:
    """Score each row by itself with the whole logits, and F1 by scikit-learn."""
    import torch
    from sklearn.metrics import f1_score

    losses, labels, predictions = [], [], []
    model = model.eval()
    for row in ROWS:
        with torch.no_grad():
            logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1].double()
        wanted = torch.tensor(row["labels"][1:])
        mask = wanted != -100
        losses += torch.nn.functional.cross_entropy(logits[mask], wanted[mask], reduction="none").tolist()
        labels += wanted[mask].tolist()
        predictions += logits[mask].argmax(-1).tolist()
    hits = [label == prediction for label, prediction in zip(labels, predictions, strict=True)]
    found = sum(losses) / len(losses), sum(hits) / len(hits)
    f1 = (f1_score(labels, predictions, average=average) for average in ("micro", "macro"))
    return dict(zip(NAMES, (*found, *f1), strict=True))


def in_a_process_of_its_own(
    model: Path, folder: Path, rows: int, length: int, launcher: tuple[str, ...] = (), **settings: Any
) -> dict[str, float]:
    folder.mkdir()
    command = [sys.executable, *launcher, str(SCRIPT), str(model), str(folder), str(rows), str(length)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*command, json.dumps(settings)], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((folder / "metrics.json").read_text())


def loaded(folder: Path, **changes: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, **changes)


@pytest.mark.parametrize(
    "settings",
    [
        {"per_device_eval_batch_size": 1},
        {"per_device_eval_batch_size": 7},
        {"packing": True, "max_length": 64, "per_device_eval_batch_size": 2},
        {"padding_free": True, "max_length": None, "per_device_eval_batch_size": 7},
        {"loss_type": "dft"},
        pytest.param(
            {"label_smoothing_factor": 0.3},
            marks=pytest.mark.filterwarnings("ignore:.*label_smoothing_factor:FutureWarning"),
        ),
    ],
    ids=str,
)
def test_scores_equal_those_of_all_logits_however_rows_are_laid_out(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    model = loaded(tiny_model)
    wanted = computed_from_all_logits(model)
    found = trainer_of(model, tiny_model, tmp_path, ROWS, **settings).evaluate()
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    "settings", [{}, {"packing": True, "max_length": 64}, {"padding_free": True, "max_length": None}], ids=str
)
def test_scores_of_two_processes_equal_those_of_all_logits(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", port)
    found = in_a_process_of_its_own(
        tiny_model, tmp_path / "run", len(ROWS), 4, launcher, per_device_eval_batch_size=7, **settings
    )
    wanted = {**computed_from_all_logits(loaded(tiny_model)), "num_processes": 2}
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)


def test_an_adapter_is_scored_as_it_generates(tiny_model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    adapters = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, target_modules=["q_proj", "up_proj"])
    model = get_peft_model(loaded(tiny_model), adapters)
    wanted = computed_from_all_logits(model)
    found = trainer_of(model, tiny_model, tmp_path, ROWS, per_device_eval_batch_size=7).evaluate()
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)


def small(model_type: str, **settings: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    shape = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    set_seed(1)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **{**shape, **heads, **settings}))
    model.get_output_embeddings().weight.data *= 60  # so that scaling and capping matter
    return model


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("gemma2", {"final_logit_softcapping": 3.0}),
        ("granite", {"logits_scaling": 4.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2}),
    ],
)
def test_what_a_model_does_after_its_head_counts(
    tiny_model: Path, tmp_path: Path, model_type: str, settings: dict[str, Any]
) -> None:
    model = small(model_type, pad_token_id=3, bos_token_id=1, eos_token_id=2, **settings)
    wanted = computed_from_all_logits(model)
    found = trainer_of(model, tiny_model, tmp_path, ROWS, per_device_eval_batch_size=7).evaluate()
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=2e-6)


def with_cubed_logits(output: Any) -> Any:
    output.logits = output.logits**3 * 40
    return output


def test_a_model_that_changes_its_logits_in_a_way_of_its_own_is_scored_by_all_of_them(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = loaded(tiny_model)
    forward = model.forward
    model.forward = lambda *args, **kwargs: with_cubed_logits(forward(*args, **kwargs))
    wanted = computed_from_all_logits(model)
    found = trainer_of(model, tiny_model, tmp_path, ROWS, per_device_eval_batch_size=1).evaluate()
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    assert "changes its logits after the head" in caplog.text


def test_a_model_that_has_diverged_is_told_of_once_and_has_no_scores(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = loaded(tiny_model)
    model.model.norm.weight.data.fill_(float("nan"))
    found = trainer_of(model, tiny_model, tmp_path, ROWS).evaluate()
    assert [name for name in NAMES if not math.isnan(found[name])] == []
    warnings = [record.message for record in caplog.records if record.name.startswith("tuning")]
    assert warnings == ["evaluation: the loss is not a number: the model has diverged"]


def test_half_precision_is_scored_as_the_model_computes(tiny_model: Path, tmp_path: Path) -> None:
    import torch

    model = loaded(tiny_model, dtype=torch.bfloat16)
    wanted = computed_from_all_logits(model)
    found = trainer_of(model, tiny_model, tmp_path, ROWS, per_device_eval_batch_size=1).evaluate()
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)


def test_the_best_model_is_chosen_by_these_scores(tiny_model: Path, tmp_path: Path) -> None:
    settings = {"load_best_model_at_end": True, "metric_for_best_model": "eval_token_f1_macro", "max_steps": 4}
    steps = {"eval_strategy": "steps", "eval_steps": 2, "save_steps": 2, "learning_rate": 1e-3, "logging_steps": 1}
    trainer = trainer_of(loaded(tiny_model), tiny_model, tmp_path, ROWS, **settings, **steps)
    trainer.train()
    measured = [entry["eval_token_f1_macro"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(measured) == 2
    assert trainer.state.best_metric == max(measured)
    assert trainer.evaluate()["eval_token_f1_macro"] == pytest.approx(max(measured), abs=1e-6)


def test_memory_does_not_grow_with_the_number_of_rows(tiny_model: Path, tmp_path: Path) -> None:
    """The rows themselves take 2 MB more; kept logits would take 115 MB more, kept hidden states 23 MB."""
    few = in_a_process_of_its_own(tiny_model, tmp_path / "few", 100, 80, per_device_eval_batch_size=4)
    many = in_a_process_of_its_own(tiny_model, tmp_path / "many", 1000, 80, per_device_eval_batch_size=4)
    assert many["peak_kib"] - few["peak_kib"] < 16 * 1024
