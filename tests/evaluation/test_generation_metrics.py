from __future__ import annotations

import pytest

from tuning.errors import UserError
from tuning.evaluation.code_execution import unlockable
from tuning.evaluation.generation_metrics import GENERATION_METRICS, Prediction, scored
from tuning.evaluation.questions import Question


def predictions(*pairs: tuple[str, str]) -> list[Prediction]:
    return [Prediction(Question("row", [1], "prompt", answer, 1), text) for answer, text in pairs]


def test_exact_match_leaves_blanks_around_out() -> None:
    metrics, rows = scored(predictions(("yes", " yes\n"), ("no", "No"), ("a", "a"), ("b", "")), ["exact_match"])
    assert metrics == {"exact_match": 0.5}
    assert [row.scores["exact_match"] for row in rows] == [1.0, 0.0, 1.0, 0.0]


def test_classification_counts_what_is_no_label_as_wrong() -> None:
    pytest.importorskip("sklearn")
    given = predictions(("good", "good\nand more"), ("bad", "good"), ("bad", " bad"), ("good", "who knows"))
    metrics, _ = scored(given, ["classification"])
    # good: precision 1/2, recall 1/2; bad: precision 1, recall 1/2
    assert metrics == pytest.approx({"accuracy": 0.5, "f1_macro": (0.5 + 2 / 3) / 2})


def test_rouge_counts_words_in_common() -> None:
    pytest.importorskip("rouge_score")
    metrics, _ = scored(predictions(("the cat sat", "the cat ran")), ["rouge"])
    assert metrics == pytest.approx({"rouge1": 2 / 3, "rouge2": 1 / 2, "rougeL": 2 / 3})


def test_bleu_is_that_of_the_corpus() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    given = predictions(("a b c d e", "a b c d e"), ("f g h i j", "f g x i j"))
    metrics, rows = scored(given, ["bleu"])
    assert metrics["bleu"] == sacrebleu.corpus_bleu(["a b c d e", "f g x i j"], [["a b c d e", "f g h i j"]]).score
    assert rows[0].scores["bleu"] == pytest.approx(100)


@pytest.mark.skipif(unlockable() is not None, reason="no process can be locked down here")
def test_pass_at_1_runs_the_tests_of_the_rows() -> None:
    tests = "def check(candidate):\n    assert candidate(2) == 4"
    question = Question("row", [1], "def double(x):\n", "    return 2 * x", 1, tests, "double")
    given = [Prediction(question, "    return x + x"), Prediction(question, "    return x")]
    metrics, rows = scored(given, ["pass_at_1"])
    assert metrics == {"pass_at_1": 0.5}
    assert [row.scores["pass_at_1"] for row in rows] == [1.0, 0.0]


def test_several_metrics_stand_side_by_side() -> None:
    metrics, rows = scored(predictions(("a", "a")), ["exact_match", "exact_match"])
    assert metrics == rows[0].scores == {"exact_match": 1.0}
    assert scored([], ["exact_match"]) == ({}, [])


def test_an_unknown_metric_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'rouge'"):
        GENERATION_METRICS.load("rogue")
