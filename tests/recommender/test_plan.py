from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_facts import CPU, EIGHT_GPUS, LLAMA_8B, NOTHING, ONE_GPU, SMALL, data, decided, gpus, model

from tuning.config.ir import IR
from tuning.recommender.action import Kind, Level, suggest
from tuning.recommender.completion import Completed
from tuning.recommender.data_facts import DataFacts
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import Gpu, HardwareFacts
from tuning.recommender.memory import MemoryParts, Step, memory_parts
from tuning.recommender.memory_plan import budget_bytes, devices_needed
from tuning.recommender.plan import Plan, make_plan, rows_of
from tuning.recommender.plan_cli import main
from tuning.recommender.plan_report import bar, machine_text, plan_report, verdict
from tuning.recommender.token_lengths import RowLength

PARTS = ("weights", "gradients", "optimizer", "activations", "logits")


@pytest.fixture
def words(tmp_path: Path, tiny_config_only_model: Path) -> list[str]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"Two kettles and {n} herons."}) + "\n" for n in range(600)))
    return [f"model_name_or_path={tiny_config_only_model}", f"training_data_path={rows}", "train_from_scratch=true"]


def of(ir: IR, facts: Facts) -> Completed:
    """Take a document as it is for a completed one."""
    return Completed(ir, ir, (), facts, ())


def batch(rows: int, accumulation: int = 1, length: int = 128, **values: Any) -> IR:
    return decided(
        training__per_device_train_batch_size=rows,
        training__gradient_accumulation_steps=accumulation,
        training__max_length=length,
        **values,
    )


def test_a_plan_counts_updates_steps_and_tokens() -> None:
    facts = replace(SMALL, data=data(1000, tokens=100, supervised=40))
    plan = make_plan(of(batch(4, 2, training__num_train_epochs=3.0), facts))
    assert (plan.sequences_per_update, plan.num_steps) == (8, 375)
    assert plan.rows.num_tokens == 3 * 1000 * 100
    assert plan.rows.supervised_share == pytest.approx(0.4)


def test_a_run_that_counts_steps_sees_as_many_rows_as_its_updates_hold() -> None:
    facts = replace(SMALL, data=data(1000, tokens=100))
    assert rows_of(batch(4, 2, training__max_steps=10), facts).num_tokens == 10 * 8 * 100


def test_packed_sequences_are_full() -> None:
    packed = batch(4, 1, length=1000, training__max_steps=10, training__packing=True)
    assert rows_of(packed, replace(SMALL, data=data(1000, tokens=100))).num_tokens == 10 * 4 * 1000


def test_rows_that_are_cut_and_rows_without_an_answer_are_told() -> None:
    lengths = (RowLength(100, 50), RowLength(200, 150), RowLength(300, 100), RowLength(128, 28))
    facts = replace(SMALL, data=DataFacts(8, None, "text", 8, 4, lengths))
    rows = rows_of(batch(1, length=128, training__num_train_epochs=1.0), facts)
    assert rows.truncated_share == 0.5
    assert rows.unusable_share == 0.5 + 0.5 * 0.25
    assert rows.supervised_share == (50 + 78 + 0 + 28) / (100 + 3 * 128)
    assert rows.num_tokens == 4 * (100 + 3 * 128) // 4


def test_held_out_rows_are_not_trained_on() -> None:
    facts = replace(SMALL, data=data(1000))
    assert rows_of(batch(4, data__validation_fraction=0.1), facts).num_train_rows == 900


def test_memory_is_told_by_part() -> None:
    plan = make_plan(of(batch(4), SMALL))
    assert plan.memory is not None
    assert plan.memory.total == sum(getattr(plan.memory, part) for part in PARTS)
    assert plan.to_dict()["memory_bytes"].keys() == {*PARTS, "total"}


@pytest.mark.parametrize(
    ("needed", "budget", "fits"), [(10, 10, True), (11, 10, False), (None, 10, None), (10, None, None)]
)
def test_a_plan_fits_where_both_sides_are_known(needed: int | None, budget: int | None, fits: bool | None) -> None:
    memory = None if needed is None else MemoryParts(needed, 0, 0, 0, 0)
    assert Plan(Step(1, 1), rows_of(IR(), NOTHING), memory=memory, budget_bytes=budget).fits is fits


def test_the_least_number_of_devices_that_hold_a_step_is_found() -> None:
    facts = Facts(model(LLAMA_8B), None, gpus(1, 24, (8, 6)))
    step, budget = Step(rows=1, length=512, dtype_bytes=2, gradient_checkpointing=True), budget_bytes(facts.hardware)
    assert facts.model is not None and budget is not None
    count = devices_needed(step, facts, 1)
    assert count is not None and count > 1
    for number, holds in ((count, True), (count - 1, False)):
        parts = memory_parts(facts.model, replace(step, num_shards=number, num_replicas=number))
        assert parts is not None and (parts.total <= budget) is holds


def test_activations_that_no_number_of_devices_divides_need_another_plan() -> None:
    facts = Facts(model(LLAMA_8B), None, gpus(1, 24, (8, 6)))
    plan = make_plan(of(batch(1024, length=8192, model__dtype="bfloat16"), facts))
    assert (plan.fits, plan.num_devices_needed) == (False, None)
    assert verdict(plan, facts, IR()).startswith("It does not fit, on no number of devices")


def test_the_verdict_names_the_number_of_gpus() -> None:
    facts = Facts(model(LLAMA_8B), None, gpus(1, 24, (8, 6)))
    plan = make_plan(of(batch(1, length=512, model__dtype="bfloat16"), facts))
    assert f"it needs {plan.num_devices_needed} GPUs of this kind" in verdict(plan, facts, IR())


def test_the_verdict_on_a_cpu_names_the_memory_and_no_way_over_several_devices() -> None:
    facts = Facts(model(LLAMA_8B), None, CPU)
    told = verdict(make_plan(of(batch(1, length=512), facts)), facts, decided(peft__peft_method="none"))
    assert told.startswith("It does not fit: take LoRA, a smaller model or a machine with ")
    assert "GiB of memory" in told and "FSDP" not in told


def test_the_verdict_offers_lora_where_that_fits_and_no_method_is_chosen() -> None:
    facts = Facts(model(LLAMA_8B), None, gpus(1, 48, (8, 6)))
    ir = batch(1, length=512, model__dtype="bfloat16")
    plan = make_plan(of(ir, facts))
    assert "With peft_method=lora one row of 512 tokens needs about 1" in verdict(plan, facts, ir)
    chosen = IR.of({"peft": {"peft_method": "none"}}, "command line")
    assert "With peft_method=lora" not in verdict(plan, facts, chosen)


def test_a_plan_shows_what_only_the_user_can_put_right() -> None:
    made = suggest({}, "Mend the rows.", Kind.MODEL_QUALITY, "a test", Level.USER_INTERVENTION)
    found = replace(of(IR(), NOTHING), recommendations=(replace(made, action="Rows"),))
    assert "Only you can put right:\n  Mend the rows. (Rows)" in plan_report(found, make_plan(found))


@pytest.mark.parametrize(
    ("size", "drawn"),
    [(0, "[" + "." * 40 + "]"), (50, "[" + "#" * 20 + "." * 20 + "]"), (300, "[" + "#" * 40 + ">")],
)
def test_a_bar_shows_a_share_and_what_is_beyond_it(size: int, drawn: str) -> None:
    assert bar(size, 100) == drawn


@pytest.mark.parametrize(
    ("hardware", "text"),
    [
        (None, "not known"),
        (HardwareFacts("other"), "an accelerator that is not looked into, 1 process"),
        (CPU, "a CPU with 16 GiB, 1 process"),
        (EIGHT_GPUS, "8 x a GPU (80 GiB, compute capability 9.0), 8 processes"),
        (replace(ONE_GPU, num_nodes=2), "1 x a GPU (80 GiB, compute capability 8.0), 2 machines, 1 process"),
        (HardwareFacts("cuda", (Gpu("X"),)), "1 x X (memory not known, compute capability not known), 1 process"),
    ],
)
def test_a_machine_is_described_in_a_line(hardware: HardwareFacts | None, text: str) -> None:
    assert machine_text(hardware) == text


def test_nothing_known_is_said_to_be_unknown() -> None:
    found = of(IR(), NOTHING)
    told = plan_report(found, make_plan(found))
    assert "It is not known whether this fits" in told
    assert "update    not known" in told


def test_a_run_that_fits_ends_with_0(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "learning_rate=0.5"]) == 0
    told = capsys.readouterr().out
    assert told.endswith("\nIt fits.\n")
    assert "learning_rate" in told and "0.5  (command line)" in told
    assert "(action BatchSize)" in told and "weights" in told


def test_a_run_that_does_not_fit_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "ram_gib=0.0001", "num_gpus_per_node=0"]) == 2
    assert "It does not fit" in capsys.readouterr().out


def test_a_run_of_which_that_is_not_known_ends_with_3(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "gpus=2"]) == 3
    assert "It is not known whether this fits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["learning_rate=fast"], "training.learning_rate: got 'fast' (from command line)"),
        (["--memory", "guessed"], "--memory: expected one of estimated, traced; got 'guessed'"),
        (["--memory"], "--memory: expected estimated or traced after it"),
        (["--format=xml"], "--format: expected one of table, json, yaml; got 'xml'"),
        (["num_train_epochs=1e308"], "too large"),
        (["gpus=9999999"], "compute.num_gpus_per_node: got 9999999 (from command line); expected at most 1,024"),
        (["--probe=yes"], "--probe: takes no value"),
        (["--probe", "gpus=1", "gpu_memory_gib=80"], "--probe: the plan is for 'cuda'"),
    ],
)
def test_what_the_user_can_mend_ends_with_1(
    words: list[str], more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *more]) == 1
    assert message in capsys.readouterr().err


def test_a_plan_is_also_json(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["fits"] is True
    assert plan["step"]["rows"] * plan["gradient_accumulation_steps"] == plan["sequences_per_update"]
    assert {"path": "model.train_from_scratch", "value": True, "from": "command line"} in plan["values"]


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "2 it does not fit" in capsys.readouterr().out


def test_nothing_dear_is_imported(words: list[str]) -> None:
    dear = ("torch", "transformers", "datasets", "huggingface_hub", "trl", "peft", "pyarrow")
    code = (
        "import sys; from tuning.recommender.plan_cli import main; code = main(sys.argv[1:]); "
        f"print([name for name in {dear} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


@pytest.mark.slow
def test_a_probe_times_real_steps_and_leaves_nothing_behind(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = sorted(tmp_path.iterdir())
    assert main([*words, "--probe", "--format", "json", "max_steps=20"]) == 0
    plan = json.loads(capsys.readouterr().out)
    passes = 20 * plan["gradient_accumulation_steps"]
    assert plan["seconds_of_training"] == pytest.approx(passes * plan["seconds_per_pass"])
    assert 0 < plan["seconds_per_pass"] < 60
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_a_probe_that_the_trainer_refuses_passes_its_reason_on(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--probe", "train_from_scratch=false"]) == 1
    assert "--probe: the trainer ended before it had trained:" in capsys.readouterr().err


@pytest.mark.slow
def test_traced_memory_is_told_by_the_same_parts(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--memory", "traced", "--format", "json"]) == 0
    memory = json.loads(capsys.readouterr().out)["memory_bytes"]
    assert memory["total"] == sum(memory[part] for part in PARTS) > 0
