"""The main job as a user runs it: commands in processes of their own, real data, real trackers, real launches."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

LOAD_AND_GENERATE = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
if sys.argv[2] == "lora":
    from peft import AutoPeftModelForCausalLM as AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
tokens = tokenizer("### Question: 1+1?", return_tensors="pt", return_token_type_ids=False)
out = model.generate(**tokens, max_new_tokens=4, min_new_tokens=4, do_sample=False)
assert "tuning" not in sys.modules
print(out.shape[1] - tokens["input_ids"].shape[1])
"""


def run(*words: str, cwd: Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def trainer(*words: str, cwd: Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return run("-m", "tuning.sft_trainer", *words, cwd=cwd, environ=environ)


def events(run_folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (run_folder / "tracking" / "events.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["type"] == kind]


def losses(run_folder: Path) -> list[float]:
    return [
        record["values"]["train/loss"] for record in events(run_folder, "metrics") if "train/loss" in record["values"]
    ]


@pytest.fixture
def flat_json(tiny_model: Path, shared_data: Path, tmp_path: Path) -> Path:
    """Write a configuration as fms-hf-tuning's users have it: flat, with names of that stack."""
    settings = {
        "model_name_or_path": str(tiny_model),
        "training_data_path": str(shared_data / "math_gsm8k_train.jsonl"),
        "data_formatter_template": "### Question: {{question}}\n\n### Answer: {{answer}}",
        "response_template": "\n### Answer:",
        "output_dir": str(tmp_path / "out"),
        "save_model_dir": str(tmp_path / "saved"),
        "max_steps": 50,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-2,
        "max_seq_length": 256,
        "torch_dtype": "float32",
        "use_flash_attn": False,
        "packing": False,
        "evaluation_strategy": "no",
        "logging_strategy": "steps",
        "logging_steps": 5,
        "include_tokens_per_second": True,
        "use_cpu": True,
        "exp_metadata": '{"team": "tests", "deep": {"er": 1}}',
    }
    file = tmp_path / "run.json"
    file.write_text(json.dumps(settings))
    return file


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("full", {"peft_method": "none"}),
        ("lora", {"peft_method": "lora", "r": 8, "lora_alpha": 32, "target_modules": ["all-linear"]}),
    ],
)
def test_a_flat_json_trains_and_the_model_loads_without_us(
    flat_json: Path, tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    flat_json.write_text(json.dumps({**json.loads(flat_json.read_text()), **settings}))
    done = trainer(str(flat_json), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "out")[-1] < losses(tmp_path / "out")[0]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    loaded = run("-c", LOAD_AND_GENERATE, str(tmp_path / "saved"), method, cwd=elsewhere)
    assert loaded.stdout.strip().endswith("4"), loaded.stderr


def test_the_environment_gives_the_file_and_a_failure_its_cause(flat_json: Path, tmp_path: Path) -> None:
    cause = tmp_path / "termination-log"
    environ = {"SFT_TRAINER_CONFIG_JSON_PATH": str(flat_json), "TERMINATION_LOG_FILE": str(cause)}
    done = trainer("response_template=not there", cwd=tmp_path, environ=environ)
    assert done.returncode == 1
    assert "does not stand in the text of the row" in cause.read_text()
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_goes_on_from_its_newest_checkpoint_as_the_same_run(flat_json: Path, tmp_path: Path) -> None:
    words = (str(flat_json), "logging_steps=1", "save_steps=2")
    assert trainer(*words, "max_steps=4", cwd=tmp_path).returncode == 0
    torn = tmp_path / "out" / "checkpoint-9"
    torn.mkdir()
    done = trainer(*words, "max_steps=6", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "checkpoint-9 is not complete" in done.stderr
    runs = events(tmp_path / "out", "run")
    assert [record["run_id"] for record in runs] == [runs[0]["run_id"]] * 2
    steps = [record["step"] for record in events(tmp_path / "out", "metrics") if "train/loss" in record["values"]]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_that_is_started_again_trains_nothing_more(flat_json: Path, tmp_path: Path) -> None:
    words = (str(flat_json), "max_steps=2", "save_steps=1")
    assert trainer(*words, cwd=tmp_path).returncode == 0
    weights = (tmp_path / "saved" / "model.safetensors").read_bytes()
    again = trainer(*words, cwd=tmp_path)
    assert (again.returncode, "nothing is left to train" in again.stderr) == (0, True), again.stderr
    assert (tmp_path / "saved" / "model.safetensors").read_bytes() == weights
    assert not (tmp_path / "out" / "checkpoint-3").exists()


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_are_learnt_under_lora(flat_json: Path, tiny_model: Path, tmp_path: Path, tied: bool) -> None:
    model = _with_embeddings(tiny_model, tmp_path / "base", tied)
    rows = [{"prompt": f"<tool> {number}: ", "completion": "<tool>"} for number in range(16)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = (f"model_name_or_path={model}", "training_data_path=rows.jsonl", "data_formatter_template=null")
    settings = ("response_template=null", "peft_method=lora", "add_special_tokens=<tool>", "max_steps=4")
    done = trainer(str(flat_json), *words, *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code = (
        "import sys; from peft import AutoPeftModelForCausalLM as M; m = M.from_pretrained(sys.argv[1])\n"
        "head, table = m.get_output_embeddings().weight, m.get_input_embeddings().weight\n"
        "print(bool((head == table).all()), head.shape[0])"
    )
    loaded = run("-c", code, str(tmp_path / "saved"), cwd=tmp_path)
    assert loaded.stdout.split()[0] == str(tied), loaded.stderr


def test_packing_that_leaves_nothing_to_learn_is_refused(flat_json: Path, tmp_path: Path) -> None:
    done = trainer(str(flat_json), "packing=true", "max_length=8", "max_steps=1", cwd=tmp_path)
    assert (done.returncode, "rows have no response within max_length=8" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("word", ["target_modules=nope", "init_lora_weights=pisssa"])
def test_what_trl_or_peft_refuse_is_told_without_a_traceback(flat_json: Path, tmp_path: Path, word: str) -> None:
    done = trainer(str(flat_json), "peft_method=lora", word, "max_steps=1", cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr


def test_a_run_that_starts_anew_is_another_run(flat_json: Path, tmp_path: Path) -> None:
    words = (str(flat_json), "max_steps=2", "save_steps=2", "resume_from_checkpoint=false")
    assert [trainer(*words, cwd=tmp_path).returncode for _ in range(2)] == [0, 0]
    assert (tmp_path / "out" / "tracking.1").is_dir()
    assert (tmp_path / "out" / "earlier.1" / "checkpoint-2").is_dir()
    assert (tmp_path / "out" / "earlier.1" / "audit.json").is_file()
    assert len(events(tmp_path / "out", "run")) == 1


def test_two_processes_on_a_cpu_train_one_run(flat_json: Path, tmp_path: Path) -> None:
    launch = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", _port())
    done = run(*launch, "-m", "tuning.sft_trainer", str(flat_json), "max_steps=4", "save_steps=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "world size 2, device cpu" in done.stderr
    assert len(events(tmp_path / "out", "run")) == 1
    assert sorted(folder.name for folder in (tmp_path / "out").glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    assert done.stdout.count("Results") == 1


def test_a_launch_that_starts_fewer_processes_than_asked_for_is_an_error(flat_json: Path, tmp_path: Path) -> None:
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2")
    done = run(*launch, "-m", "tuning.sft_trainer", str(flat_json), cwd=tmp_path)
    assert done.returncode == 1
    assert "2 processes were asked for, and 1 started" in done.stderr
    assert not (tmp_path / "out").exists()


def test_from_scratch_says_so_and_needs_no_weights(
    flat_json: Path, tiny_config_only_model: Path, tmp_path: Path
) -> None:
    words = (str(flat_json), f"model_name_or_path={tiny_config_only_model}", "max_steps=2")
    refused = trainer(*words, cwd=tmp_path)
    assert (refused.returncode, "Set train_from_scratch=true" in refused.stderr) == (1, True)
    done = trainer(*words, "train_from_scratch=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the weights of" in done.stderr and "are random" in done.stderr


@pytest.mark.parametrize(
    "data", ["chat_messages.jsonl", "code_prompt_completion.jsonl", "text_wikipedia.jsonl", "formats/a.parquet"]
)
def test_each_shape_of_data_trains(flat_json: Path, shared_data: Path, tmp_path: Path, data: str) -> None:
    import tuning

    settings = {**json.loads(flat_json.read_text()), "training_data_path": str(shared_data / data)}
    settings |= {"data_formatter_template": None, "response_template": None, "max_steps": 2, "logging_steps": 1}
    tuning.train(settings)
    assert len(losses(tmp_path / "out")) == 2


def test_a_fault_of_ours_ends_with_203_and_a_traceback(flat_json: Path, tmp_path: Path) -> None:
    code = (
        "import sys, tuning.sft_trainer as t\n"
        "def fault(*_, **__): raise RuntimeError('broken\\nsecond line')\n"
        "t.load_model = fault\n"
        "sys.exit(t.main(sys.argv[1:]))"
    )
    done = run("-c", code, str(flat_json), cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (203, True)
    state = events(tmp_path / "out", "state")[-1]
    assert (state["state"], state["error"]) == ("failed", "RuntimeError: broken")


def test_the_library_call_is_equal_to_the_command(flat_json: Path, tmp_path: Path) -> None:
    import tuning

    settings = {**json.loads(flat_json.read_text()), "max_steps": 4, "logging_steps": 1}
    result = tuning.train({**settings, "output_dir": str(tmp_path / "library")}, additional_metrics={"mine": 7.0})
    assert trainer(str(flat_json), "max_steps=4", "logging_steps=1", cwd=tmp_path).returncode == 0
    assert losses(tmp_path / "library") == losses(tmp_path / "out")
    assert result.global_step == 4
    tracked = [record["values"] for record in events(tmp_path / "library", "metrics")]
    assert any(values.get("additional/mine") == 7.0 for values in tracked)


def _with_embeddings(model: Path, folder: Path, tied: bool) -> Path:
    """Save a model of the same shape whose head shares the embeddings' weights, or has its own."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    shape = AutoConfig.from_pretrained(model)
    shape.tie_word_embeddings = tied
    AutoModelForCausalLM.from_config(shape).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


def _port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])
