from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuning.cli import main

GREETING = (Path(__file__).parent / "greeting_recipe.py").read_text(encoding="utf-8")
ROWS = "".join(json.dumps({"prompt": f"Say {n}:\n<s>", "completion": str(n)}) + "\n" for n in range(16))
UNAIDED = ("recommend=false", "use_cpu=true", "bf16=false")
SHORT = ("num_train_epochs=4", "per_device_train_batch_size=4", "gradient_accumulation_steps=1", "logging_steps=1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_recipe.py").write_text(GREETING)
    (tmp_path / "my.yaml").write_text("to: world\n")
    (tmp_path / "configs" / "lora_finetune").mkdir(parents=True)
    (tmp_path / "configs" / "lora_finetune" / "mine.yaml").write_text("seed: 1  # a choice\n")
    return tmp_path


def tune(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tuning.cli", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_a_custom_recipe_in_a_file_runs_with_its_own_params(folder: Path) -> None:
    assert main(["./my_recipe.py", "--config", "my.yaml"]) == 0
    assert (folder / "greeting.txt").read_text() == "hello world\nhello world\n"


def test_a_custom_recipe_runs_from_a_shell_outside_the_package(folder: Path) -> None:
    done = tune("./my_recipe.py", "--config", "my.yaml", "--override", "times=1", "to=you", cwd=folder)
    assert (done.returncode, (folder / "greeting.txt").read_text()) == (0, "hello you\n")
    assert "recipe greeting: GreetingParams(to='you', times=1" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["my.yaml", "tims=3"], "tims: got 3 (from command line); there is no such field. Did you mean 'times'?"),
        (["my.yaml", "times=often"], "times: got 'often' (from command line)"),
        ([], "to: needs to be specified"),
    ],
)
def test_wrong_params_end_with_one_message_and_nothing_written(
    folder: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["my_recipe.py", *words]) == 1
    assert told in capsys.readouterr().err
    assert not (folder / "greeting.txt").exists()


def test_validate_checks_the_params_of_a_recipe_and_runs_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "my_recipe.py", "my.yaml"]) == 0
    assert "GreetingParams(to='world', times=2" in capsys.readouterr().out
    assert main(["validate", "my_recipe.py"]) == 1
    assert not (folder / "greeting.txt").exists()


def test_ls_lists_recipes_with_their_configs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "lora_finetune    Train low-rank adapters (LoRA) on the frozen model." in lines
    assert "  mine                           configs/lora_finetune/mine.yaml" in lines
    assert main(["ls", "prompt_tuning"]) == 0
    assert capsys.readouterr().out.startswith("prompt_tuning")


def test_cat_prints_a_config_as_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cat", "mine"]) == 0
    assert capsys.readouterr().out == "seed: 1  # a choice\n"


def test_cp_copies_and_never_overwrites_without_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cp", "mine"]) == 0
    (folder / "mine.yaml").write_text("mine")
    assert main(["cp", "mine", "."]) == 1
    assert "replace it with --force" in capsys.readouterr().err
    assert (folder / "mine.yaml").read_text() == "mine"
    assert main(["cp", "mine", "mine.yaml", "--force"]) == 0
    assert (folder / "mine.yaml").read_text() == "seed: 1  # a choice\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["cp"], "expected a config"),
        (["cp", "mine", "nowhere/a.yaml"], "cannot be written: No such file"),
        (["cp", "mine", "configs/lora_finetune/mine.yaml", "--force"], "is the config itself"),
        (["cat"], "expected one config"),
        (["cat", "mien"], "Did you mean 'mine'?"),
        (["ls", "--long"], "there is no such flag"),
        (["lora_finetune", "--nproc", "0"], "--nproc: expected a whole number, at least 1"),
        (["my_recipe.py", "my.yaml", "--nproc", "2"], "runs in one process"),
        (["lora_finetune", "--nproc"], "--nproc: expected a number after it"),
        (["lora_finetune", "--nproc", "2"], "model.model_name_or_path: a model is required"),
        (["lora_finetun"], "Did you mean 'lora_finetune'"),
        (["full_finetune", "--config", "mien"], "--config: No such file: 'mien', nor a config of that name. Did you"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_message(
    folder: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_a_recipe_tells_its_help(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lora_finetune", "--help"]) == 0
    assert "example:\n  tune lora_finetune --config " in capsys.readouterr().out
    assert main(["my_recipe.py", "--help"]) == 0
    assert "params:\n  to: str\n  times: int\n  output: " in capsys.readouterr().out


@pytest.fixture
def settings(tiny_model: Path, folder: Path) -> tuple[str, ...]:
    (folder / "rows.jsonl").write_text(ROWS)
    data = ("training_data_path=rows.jsonl", "validation_fraction=0.25", "dataset_prepared_path=prepared")
    return (f"model_name_or_path={tiny_model}", *data, "baseline=true", *SHORT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("prompt_tuning", ["prompt_tuning_init_text=Say a number", "num_virtual_tokens=4"]),
        ("prompt_tuning", ["prompt_tuning_init=RANDOM", "learning_rate=0.03", *UNAIDED]),
        ("alora_finetune", ["alora_invocation_string=<s>"]),
        ("alora_finetune", ["alora_invocation_tokens=[1]", "learning_rate=0.01", "r=8", *UNAIDED]),
    ],
)
def test_an_adapter_of_a_recipe_learns_and_is_loaded_again(
    folder: Path, settings: tuple[str, ...], recipe: str, words: list[str]
) -> None:
    done = tune(recipe, *settings, *words, "output_dir=out", "save_strategy=no", cwd=folder)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "out" / "eval.json").read_text())
    assert results["difference"]["eval_loss"] < -0.01
    assert main(["evaluate", "out/model", "--config", "out/config.json", "--output-dir", "again"]) == 0
    again = json.loads((folder / "again" / "eval.json").read_text())
    assert again["eval_loss"] == pytest.approx(results["eval_loss"], rel=1e-4)
    assert main(["generate", "out/model", "--prompt", "Say 3:\n<s>", "--max-new-tokens", "4"]) == 0


@pytest.mark.slow
def test_alora_without_its_invocation_in_the_rows_is_refused(folder: Path, settings: tuple[str, ...]) -> None:
    done = tune("alora_finetune", *settings, "alora_invocation_string=heron", "output_dir=out", cwd=folder)
    assert done.returncode == 1
    assert "stand in none of the first" in done.stderr


@pytest.mark.slow
def test_nproc_starts_accelerate_s_launcher(folder: Path, settings: tuple[str, ...]) -> None:
    done = tune("lora_finetune", "--nproc", "2", *settings, "use_cpu=true", "output_dir=out", "max_steps=2", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "world size 2, device cpu" in done.stderr
    sources = json.loads((folder / "out" / "config.json").read_text())["sources"]
    assert sources["peft.peft_method"] == "recipe lora_finetune"


@pytest.mark.slow
def test_the_recipes_of_a_trained_model_take_their_params_from_a_file(
    folder: Path, settings: tuple[str, ...], tiny_model: Path
) -> None:
    (folder / "generate.yaml").write_text(
        f"model: {tiny_model}\nprompts: [Say, The]\nmax_new_tokens: 3\noutput: o.jsonl\n"
    )
    written = tune("generate", "--config", "generate.yaml", cwd=folder)
    assert written.returncode == 0, written.stderr
    assert len((folder / "o.jsonl").read_text().splitlines()) == 2
    values = {"validation_data_path": "rows.jsonl", "max_length": 64}
    (folder / "evaluate.json").write_text(json.dumps({"model": str(tiny_model), "settings": values, "output_dir": "e"}))
    measured = tune("evaluate", "--config", "evaluate.json", cwd=folder)
    assert measured.returncode == 0, measured.stderr
    assert "eval_loss" in json.loads((folder / "e" / "eval.json").read_text())
