from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_facts import CPU, TINY_LLAMA, data, document
from run_folders import append, write_run

from tuning.config.ir import IR
from tuning.errors import ConfigError
from tuning.recommender.actions import load_actions
from tuning.recommender.engine import RuleEngine
from tuning.recommender.facts import Facts, probe
from tuning.recommender.finished_runs import FinishedRun, load_history
from tuning.recommender.history import best_learning_rate, best_rank
from tuning.recommender.model_facts import read_model

LORA = {"peft__peft_method": "lora", "peft__lora_alpha": 32}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY_LLAMA))
    return folder


def facts_of(model: Path, history: tuple[FinishedRun, ...] = (), rows: int = 2000) -> Facts:
    about = replace(data(rows), format="prompt_completion")
    return Facts(read_model(TINY_LLAMA, model), about, CPU, history=history)


def asking(runs: Path | str, **values: Any) -> IR:
    return document(recommender__history=[str(runs)], training__output_dir="run", **values)


def evidence_on_rate(model: Path, runs: Path, rows: int = 2000, **values: Any) -> Any:
    ir = asking(runs, **values)
    return best_learning_rate(ir, facts_of(model, load_history(ir), rows))


def three_rates(runs: Path, model: Path, **settings: Any) -> Path:
    for name, rate, loss in (("low", 1e-4, 3.9), ("best", 3e-3, 3.1), ("high", 3e-2, 4.4)):
        write_run(runs / name, model, loss, training__learning_rate=rate, **settings)
    return runs


def test_the_rate_that_did_best_among_near_runs_is_taken_with_its_evidence(model: Path, tmp_path: Path) -> None:
    ir = asking(three_rates(tmp_path / "runs", model))
    final, recommendations = RuleEngine(load_actions()).run(ir, facts_of(model, load_history(ir)))
    (made,) = [made for made in recommendations if made.action == "LearningRateFromRuns"]
    assert final.get("training.learning_rate") == 3e-3
    assert made.comment.startswith("Held-out loss of 3 finished runs (llama, ")
    assert "0.003: 3.1 (best, best0123), 0.0001: 3.9 (low, low01234), 0.03: 4.4 (high, high0123)" in made.comment


def test_a_rate_of_the_users_stays_and_the_evidence_is_advice(model: Path, tmp_path: Path) -> None:
    ir = asking(three_rates(tmp_path / "runs", model), training__learning_rate=1e-5)
    final, recommendations = RuleEngine(load_actions()).run(ir, facts_of(model, load_history(ir)))
    (made,) = [made for made in recommendations if made.action == "LearningRateFromRuns"]
    assert final.get("training.learning_rate") == 1e-5
    assert made.declined[0].suggested == 3e-3


def test_completing_twice_with_history_changes_nothing_more(model: Path, tmp_path: Path) -> None:
    ir = asking(three_rates(tmp_path / "runs", model))
    facts = facts_of(model, load_history(ir))
    final, _ = RuleEngine(load_actions()).run(ir, facts)
    assert RuleEngine(load_actions()).run(final, facts)[0] == final


def test_without_runs_nearby_the_result_is_that_of_the_rules_byte_by_byte(model: Path, tmp_path: Path) -> None:
    three_rates(tmp_path / "runs", model, peft__peft_method="lora")
    (tmp_path / "empty").mkdir()
    outcomes = []
    for runs in (tmp_path / "runs", tmp_path / "empty"):
        history = load_history(asking(runs))
        final, made = RuleEngine(load_actions()).run(document(), facts_of(model, history))
        outcomes.append(json.dumps([final.values, final.sources, [one.to_dict() for one in made]]))
    assert outcomes[0] == outcomes[1]


def test_a_document_that_names_no_history_reads_none(model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    three_rates(tmp_path / "runs", model)
    monkeypatch.chdir(tmp_path)
    assert probe(document(training__use_cpu=True)).history == ()


def test_the_facts_of_a_document_hold_its_history(model: Path, tmp_path: Path) -> None:
    found = probe(asking(three_rates(tmp_path / "runs", model), training__use_cpu=True)).history
    assert [(run.name, run.method, run.sequences_per_update) for run in found] == [
        ("best", "full", 16),
        ("high", "full", 16),
        ("low", "full", 16),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"rows": 9000},
        {"peft__peft_method": "lora"},
        {"model__train_from_scratch": True},
        {"training__per_device_train_batch_size": 64},
        {"data__data_formatter_template": "{{prompt}}"},
    ],
)
def test_runs_of_another_kind_are_no_evidence(model: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    three_rates(tmp_path / "runs", model, **settings)
    assert evidence_on_rate(model, tmp_path / "runs", training__per_device_train_batch_size=16) is None


@pytest.mark.parametrize("changed", [{"model_type": "qwen2"}, {"hidden_size": 256, "intermediate_size": 512}])
def test_runs_of_another_family_or_size_are_no_evidence(model: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({**TINY_LLAMA, **changed}))
    assert evidence_on_rate(model, three_rates(tmp_path / "runs", other)) is None


def test_one_rate_alone_is_no_evidence(model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name, model, 3.0)
    assert evidence_on_rate(model, tmp_path / "runs") is None


def test_runs_that_differ_in_more_than_the_rate_are_not_compared(model: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", model, 3.0, training__learning_rate=1e-3)
    write_run(tmp_path / "runs" / "b", model, 2.0, training__learning_rate=1e-2, training__num_train_epochs=9.0)
    assert evidence_on_rate(model, tmp_path / "runs") is None


def test_the_nearest_setup_decides(model: Path, tmp_path: Path) -> None:
    for rows, best in ((5000, 1e-2), (2100, 1e-3)):
        for rate in (1e-2, 1e-3):
            loss = 2.0 if rate == best else 3.0
            write_run(tmp_path / "runs" / f"{rows}-{rate}", model, loss, rows, training__learning_rate=rate)
    for folder in (tmp_path / "runs").glob("5000-*"):
        log = folder / "tracking" / "events.jsonl"
        log.write_text(log.read_text().replace('"sha256":"d"', '"sha256":"e"'))
    assert evidence_on_rate(model, tmp_path / "runs").value == 1e-3
    assert evidence_on_rate(model, tmp_path / "runs", rows=6000).value == 1e-2


def test_the_least_rank_that_did_as_well_as_any_is_taken(model: Path, tmp_path: Path) -> None:
    for rank, loss in ((8, 3.30), (32, 3.01), (128, 3.00)):
        write_run(tmp_path / "runs" / f"r{rank}", model, loss, peft__r=rank, **LORA)
    ir = asking(tmp_path / "runs", **LORA)
    facts = facts_of(model, load_history(ir))
    found = best_rank(ir, facts)
    assert found is not None and found.value == 32
    final, _ = RuleEngine(load_actions()).run(ir, facts)
    assert final.get("peft.r") == 32
    assert final.sources["peft.r"] == "action RankFromRuns"


def test_runs_whose_adapters_have_another_scale_are_no_evidence(model: Path, tmp_path: Path) -> None:
    three_rates(tmp_path / "runs", model, peft__r=16, peft__peft_method="lora", peft__lora_alpha=64)
    assert evidence_on_rate(model, tmp_path / "runs", **LORA) is None
    assert evidence_on_rate(model, tmp_path / "runs", **{**LORA, "peft__lora_alpha": 64}).value == 3e-3


@pytest.mark.parametrize("state", ["failed", "killed", "preempted", None])
def test_only_runs_that_ended_well_count(model: Path, tmp_path: Path, state: str | None) -> None:
    folder = write_run(tmp_path / "runs" / "a", model, 3.0)
    append(folder, {"type": "run", "name": "again"}, *([{"type": "state", "state": state}] if state else []))
    assert load_history(asking(tmp_path / "runs")) == ()


@pytest.mark.parametrize("loss", [None, "NaN", "Infinity", True])
def test_a_run_without_a_held_out_loss_does_not_count(model: Path, tmp_path: Path, loss: Any) -> None:
    write_run(tmp_path / "runs" / "a", model, loss)
    assert load_history(asking(tmp_path / "runs")) == ()


def test_the_runs_own_folder_is_no_evidence_for_it(model: Path, tmp_path: Path) -> None:
    own = write_run(tmp_path / "runs" / "own", model, 3.0)
    write_run(tmp_path / "runs" / "other", model, 3.0)
    ir = document(recommender__history=[str(tmp_path / "runs")], training__output_dir=str(own))
    assert [run.name for run in load_history(ir)] == ["other"]


def replaced(old: str, new: str) -> Callable[[Path], Any]:
    return lambda file: file.write_text(file.read_text().replace(old, new))


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


CONFIG, LOG = "config.json", "tracking/events.jsonl"
SPOILT: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "torn config": (CONFIG, lambda file: file.write_text(file.read_text()[:50])),
    "no config": (CONFIG, Path.unlink),
    "foreign config": (CONFIG, lambda file: file.write_text('{"architectures": ["LlamaForCausalLM"]}')),
    "deep config": (CONFIG, lambda file: file.write_text("[" * 100_000)),
    "a config that is a pipe": (CONFIG, piped),
    "values of other types": (
        CONFIG,
        lambda file: file.write_text('{"values": {"training": 7, "data": [], "peft": 0}}'),
    ),
    "huge numbers": (CONFIG, replaced("0.001", "1e999")),
    "a negative rate": (CONFIG, replaced("0.001", "-0.001")),
    "a binary log": (LOG, lambda file: file.write_bytes(bytes(range(256)) * 20)),
    "params of other types": (LOG, replaced('"values":{"training":{', '"values":{"training":[{}],"x":{')),
    "a line without end": (LOG, lambda file: file.write_bytes(b'{"type":"run","name":"' + b"x" * (3 << 20))),
    "a model that is gone": (LOG, replaced("/model", "/gone")),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_folder_that_is_not_as_a_run_writes_it_is_left_out_with_a_line(
    model: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path / "runs" / "good", model, 3.0)
    file, spoil = SPOILT[how]
    spoil(write_run(tmp_path / "runs" / "spoilt", model, 3.0) / file)
    with caplog.at_level(logging.INFO, "tuning.recommender"):
        assert [run.name for run in load_history(asking(tmp_path / "runs"))] == ["good"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "spoilt is left out: " in line


def test_a_line_that_was_cut_short_is_passed_over(model: Path, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs" / "a", model, 3.0)
    with (folder / "tracking" / "events.jsonl").open("a") as log:
        log.write('{"seq":9,"type":"state","sta')
    assert [run.name for run in load_history(asking(tmp_path / "runs"))] == ["a"]


def test_links_in_a_circle_end_nothing(model: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", model, 3.0)
    (tmp_path / "runs" / "a" / "again").symlink_to(tmp_path / "runs")
    assert [run.name for run in load_history(asking(tmp_path / "runs"))] == ["a"]


def test_a_name_that_would_write_on_the_terminal_is_shown_without_what_does(model: Path, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs" / "a", model, 3.0)
    log = folder / "tracking" / "events.jsonl"
    log.write_text(log.read_text().replace('"name":"a"', '"name":"\\u001b[2Jevil' + "x" * 500 + '"'))
    (run,) = load_history(asking(tmp_path / "runs"))
    assert run.name.startswith("[2Jevil") and len(run.name) == 60


def test_a_folder_of_history_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recommender.history: got .*missing.* \(from command line\); there is no"):
        load_history(asking(tmp_path / "missing"))


@pytest.mark.slow
def test_real_runs_are_read_as_evidence(tiny_model: Path, tmp_path: Path) -> None:
    from tuning.sft_trainer import load_config, train

    rows = (json.dumps({"prompt": f"Say {number}: ", "completion": str(number)}) for number in range(60))
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    job = {"model_name_or_path": str(tiny_model), "training_data_path": str(tmp_path / "rows.jsonl"), "max_steps": 4}
    job |= {"use_cpu": True, "eval_strategy": "epoch", "save_strategy": "no", "per_device_train_batch_size": 8}
    for rate in (1e-5, 1e-2):
        train({**job, "learning_rate": rate, "output_dir": str(tmp_path / "runs" / str(rate))})
    job |= {"output_dir": str(tmp_path / "next"), "history": [str(tmp_path / "runs")]}
    assert load_config(job).document.get("training.learning_rate") == 1e-2
