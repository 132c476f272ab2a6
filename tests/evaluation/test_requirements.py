from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tuning.config.schema import TuningConfig
from tuning.evaluation.code_execution import unlockable
from tuning.evaluation.requirements import rows_to_ask, unusable_evaluation


def problems(**evaluation: Any) -> list[str]:
    config = TuningConfig.model_validate({"evaluation": evaluation})
    return [str(problem) for problem in (*unusable_evaluation(config), *rows_to_ask(config))]


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in packages else find(name, *rest)
    )


def test_nothing_asked_for_needs_nothing() -> None:
    assert problems() == []


def test_an_unknown_metric_is_told_with_the_nearest() -> None:
    assert "Did you mean 'exact_match'" in problems(generation_metrics=["exact_mach"])[0]


@pytest.mark.parametrize(
    ("metric", "package"), [("rouge", "rouge_score"), ("bleu", "sacrebleu"), ("classification", "sklearn")]
)
def test_a_missing_package_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch, metric: str, package: str) -> None:
    without(monkeypatch, package)
    assert "pip install 'tuning[eval]'" in problems(generation_metrics=[metric])[0]


def test_a_missing_lm_eval_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "lm_eval")
    assert "pip install 'tuning[lm-eval]'" in problems(lm_eval_tasks=["arc_easy"])[0]


def test_a_folder_of_tasks_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "there is no such folder" in problems(lm_eval_include_path=str(tmp_path / "none"))[0]


def test_code_is_not_run_without_leave() -> None:
    assert "allow_code_execution=true" in problems(generation_metrics=["pass_at_1"])[0]


@pytest.mark.skipif(unlockable() is not None, reason="no process can be locked down here")
def test_with_leave_only_the_rows_are_missing() -> None:
    (found,) = problems(generation_metrics=["pass_at_1"], allow_code_execution=True)
    assert "needs held-out rows" in found


def test_a_baseline_needs_held_out_rows() -> None:
    assert problems(baseline=True)[0].startswith("evaluation.baseline: needs held-out rows")


def of_training(training: dict[str, Any], **evaluation: Any) -> list[str]:
    config = TuningConfig.model_validate({"training": training, "evaluation": evaluation})
    return [str(problem) for problem in unusable_evaluation(config)]


@pytest.mark.parametrize("name", ["loss", "eval_loss", "perplexity", "eval_token_f1_macro", "mean_token_accuracy"])
def test_the_best_model_is_chosen_by_a_score_over_tokens(name: str) -> None:
    assert of_training({"metric_for_best_model": name}) == []


def test_a_best_model_by_a_score_that_no_evaluation_gives_is_refused() -> None:
    (generated,) = of_training({"metric_for_best_model": "eval_exact_match"}, generation_metrics=["exact_match"])
    assert "measured at the end only" in generated
    assert "Did you mean 'perplexity'" in of_training({"metric_for_best_model": "eval_perplexty"})[0]
    (without_f1,) = of_training({"metric_for_best_model": "token_f1_micro"}, token_f1=False)
    assert "Leave token_f1=false out" in without_f1


def test_without_evaluation_in_training_no_best_model_is_looked_for() -> None:
    assert of_training({"metric_for_best_model": "eval_exact_match", "eval_strategy": "no"}) == []


@pytest.mark.parametrize("training", [{"fsdp": "full_shard"}, {"deepspeed": "zero3.json"}])
def test_tasks_of_lm_eval_are_refused_where_the_model_will_be_sharded(
    monkeypatch: pytest.MonkeyPatch, training: dict[str, Any]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())
    assert "sharded over processes" in of_training(training, lm_eval_tasks=["arc_easy"])[0]
    assert of_training({}, lm_eval_tasks=["arc_easy"]) == []
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert "sharded over processes" in of_training({}, lm_eval_tasks=["arc_easy"])[0]
