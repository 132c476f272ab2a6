"""One run that was trained on a base in 4 bits, exported in every way that a run can be."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tuning.cli import main as tune
from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.config.schema import TuningConfig
from tuning.errors import ConfigError, UserError
from tuning.export.of_run import export_run, unusable_export
from tuning.job import load_config

slow = pytest.mark.slow


@pytest.fixture(scope="session")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a LoRA on a base in 4 bits for three steps; returns the run's folder."""
    pytest.importorskip("bitsandbytes")
    from tuning.sft_trainer import train

    folder = tmp_path_factory.mktemp("run")
    rows = [{"prompt": f"What is {number} + 1?", "completion": f" {number + 1}"} for number in range(40)]
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    given = {"model_name_or_path": str(tiny_model), "training_data_path": str(folder / "rows.jsonl"), "use_cpu": True}
    given |= {"validation_fraction": 0.5, "max_steps": 3, "output_dir": str(folder / "first"), "audit": "off"}
    given |= {"peft_method": "lora", "load_in_4bit": True, "bf16": False, "learning_rate": 1e-2}
    train({**given, "dataset_prepared_path": str(folder / "prepared")})
    return folder / "first"


def asking(model: Path, **export: Any) -> TuningConfig:
    given = {"model_name_or_path": str(model), "training_data_path": "rows.jsonl", "output_dir": "out", **export}
    return build_config(load_mapping(given).ir)


@slow
def test_a_run_is_exported_and_compared_on_its_held_out_rows(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(["export", str(run), "--to", "torch", "--out", str(tmp_path / "out")]) == 0
    assert "most likely token the same at 100.0%" in capsys.readouterr().out
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert told["comparison"]["prompts"] == "held-out rows"
    assert told["comparison"]["max_difference"] <= 1e-4
    assert told["quantized_base"]["max_difference"] > 1e-3, "nf4 is not what was merged into"
    assert set(json.loads((tmp_path / "out" / "config.json").read_text())) >= {"architectures"}
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())


@slow
def test_the_numbers_of_the_card_are_those_of_the_evaluation(run: Path, tmp_path: Path) -> None:
    assert tune(["export", str(run), "--to", "torch", "--out", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    scores = {name: json.loads(value) for name, value in re.findall(r"^\| `(\w+)` \| (\S+) \|$", card, re.MULTILINE)}
    measured = json.loads((run / "eval.json").read_text())
    assert scores["eval_loss"] == measured["eval_loss"]
    assert scores.items() <= measured.items()
    assert '| `peft.peft_method` | "lora" |' in card
    assert str(run.parent) not in card


@slow
def test_the_formats_that_a_configuration_asks_for_are_made_again(run: Path, tmp_path: Path, tiny_model: Path) -> None:
    config = asking(tiny_model, export_formats=["torch", "adapter"], export_dir=str(tmp_path / "exports"))
    for _ in range(2):
        made = export_run(config, run / "model", run)
        assert [one.folder.name for one in made] == ["torch", "adapter"]
    assert sorted(path.name for path in (tmp_path / "exports").iterdir()) == ["adapter", "torch"]


@slow
def test_a_format_that_fails_does_not_keep_the_others(run: Path, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "gguf-q8_0").mkdir()
    exports = {"export_formats": "gguf,adapter", "export_quantize": "Q8_0", "export_dir": str(tmp_path)}
    with pytest.raises(UserError, match=r"export to gguf: .* it is there already"):
        export_run(asking(tiny_model, **exports), run / "model", run)
    assert (tmp_path / "adapter" / "export.json").is_file()


def test_nothing_is_exported_where_nobody_asks(tmp_path: Path, tiny_config_only_model: Path) -> None:
    assert export_run(asking(tiny_config_only_model), tmp_path / "none", tmp_path) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"export_formats": "gguff"}, "expected some of: adapter, gguf, onnx, tensorflow, torch"),
        ({"export_formats": "gguf", "export_quantize": "q9_0"}, "expected one of: f32"),
        ({"export_formats": "adapter"}, "the model is no adapter"),
        ({"export_formats": "torch", "peft_method": "pt"}, "PROMPT_TUNING adds tokens"),
        ({"export_formats": "adapter", "peft_method": "ia3"}, "vLLM serves LoRA adapters alone"),
        ({"export_formats": "adapter", "peft_method": "lora", "add_special_tokens": "<t>"}, "embeddings whole"),
        ({"export_formats": "adapter", "peft_method": "lora", "init_lora_weights": "loftq"}, "changed the base"),
        ({"export_formats": "torch", "export_max_shard_size": "big"}, "expected a size"),
        ({"export_formats": "torch", "export_quantize": "q8_0"}, "none of export_formats has types; gguf has"),
        ({"export_formats": "torch", "deepspeed": {"zero_optimization": {"stage": 3}}}, "with ZeRO stage 3"),
        ({"export_formats": "torch", "export_dir": "n" * 300}, "it cannot be a folder: File name too long"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_run_could_not_export_is_told_before_it_trains(
    settings: dict[str, Any], told: str, tiny_config_only_model: Path
) -> None:
    (problem,) = unusable_export(asking(tiny_config_only_model, **settings))
    assert told in str(problem)


def test_the_missing_extras_of_all_formats_are_told_at_once(
    tiny_config_only_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told = [str(problem) for problem in unusable_export(asking(tiny_config_only_model, export_formats="gguf,onnx"))]
    assert len(told) == 2
    for extra, one in zip(("gguf", "onnx"), told, strict=True):
        assert f"pip install 'tuning[{extra}]'" in one


def test_a_folder_that_is_taken_is_told_before_training(tiny_config_only_model: Path, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    config = asking(tiny_config_only_model, export_formats="torch", export_dir=str(tmp_path))
    assert [problem.path for problem in unusable_export(config)] == ["export.export_dir"]
    (tmp_path / "torch" / "export.json").write_text("{}")
    assert list(unusable_export(config)) == [], "an earlier export is replaced"


def test_a_base_that_is_quantized_on_disk_is_told_before_training(tiny_config_only_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_config_only_model, base)
    document = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**document, "quantization_config": {"quant_method": "gptq"}}))
    (problem,) = unusable_export(asking(base, export_formats="torch,adapter", peft_method="lora"))
    assert "its weights are quantized (gptq)" in str(problem)


def test_a_base_from_the_hub_is_known_by_the_copy_that_is_kept(tiny_config_only_model: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--base" / "snapshots" / ("a" * 40)
    shutil.copytree(tiny_config_only_model, snapshot)
    hub: dict[str, Any] = {"revision": "a" * 40, "cache_dir": str(tmp_path), "export_formats": "adapter"}
    (problem,) = unusable_export(asking(Path("org/base"), **hub))
    assert "the model is no adapter" in str(problem)


def test_the_method_is_known_when_formats_are_judged(tiny_config_only_model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "The heron waits."}\n')
    base = tmp_path / "base"
    shutil.copytree(tiny_config_only_model, base)
    save_file({"w": np.zeros(3, np.float32)}, base / "model.safetensors")
    given = {"model_name_or_path": str(base), "training_data_path": str(tmp_path / "rows.jsonl"), "use_cpu": True}
    given |= {"output_dir": str(tmp_path / "out")}
    assert load_config({**given, "r": 4, "export_formats": "adapter"}).config.peft.peft_method == "lora"
    with pytest.raises(ConfigError, match="PROMPT_TUNING adds tokens"):
        load_config({**given, "num_virtual_tokens": 4, "export_formats": "torch"})


def test_a_lora_may_become_everything(tiny_config_only_model: Path) -> None:
    lora = {"export_formats": "torch,adapter,gguf", "peft_method": "lora", "r": 4, "add_special_tokens": "<s>"}
    for start in (None, "pissa"):
        config = asking(tiny_config_only_model, **lora, init_lora_weights=start)
        assert list(unusable_export(config)) == []
