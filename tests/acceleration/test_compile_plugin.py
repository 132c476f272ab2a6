from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tuning.acceleration.compile_plugin import PATH, CompilePlugin, CompileSettings


def losses(model_folder: Path, folder: Path, stanza: dict[str, Any] | None) -> tuple[list[float], Any]:
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    args = TrainingArguments(
        output_dir=str(folder), max_steps=3, logging_steps=1, use_cpu=True, report_to="none", save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    model: Any = AutoModelForCausalLM.from_pretrained(model_folder, dtype="float32")
    if stanza is not None:
        model, _ = CompilePlugin({PATH: stanza}).augmentation(model, args)
    rows: Any = [{"input_ids": list(range(5, 30)), "labels": list(range(5, 30))}] * 8
    trainer = Trainer(model, args, train_dataset=rows)
    trainer.train()
    trainer.save_model(str(folder / "model"))
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], trainer


@pytest.mark.slow
def test_a_compiled_model_learns_the_same_and_is_saved_under_the_same_names(tiny_model: Path, tmp_path: Path) -> None:
    import torch._dynamo
    from safetensors.torch import load_file

    torch._dynamo.reset()
    compiled, trainer = losses(tiny_model, tmp_path / "compiled", {"backend": "aot_eager"})
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # something was compiled
    assert trainer.accelerator.state.dynamo_plugin.backend.value == "AOT_EAGER"
    plain, _ = losses(tiny_model, tmp_path / "plain", None)
    assert compiled == pytest.approx(plain, abs=1e-4)
    saved = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("compiled", "plain")]
    assert saved[0].keys() == saved[1].keys()


def test_a_cpu_is_told_that_nothing_is_gained(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from transformers import TrainingArguments

    args, model = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none"), object()
    untouched: Any = model
    with caplog.at_level(logging.WARNING):
        found, _ = CompilePlugin({PATH: {"mode": "max-autotune"}}).augmentation(untouched, args)
    assert found is model and "on a CPU no gain was measured" in caplog.text
    assert (args.torch_compile, args.torch_compile_mode, args.torch_compile_backend) == (
        True, "max-autotune", "inductor",
    )  # fmt: skip


def test_a_mode_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match="max-autotune"):
        CompileSettings.model_validate({"mode": "fast"})
