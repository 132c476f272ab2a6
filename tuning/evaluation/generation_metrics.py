"""Compare generated answers with those of the rows; each metric is a name in a registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from tuning.evaluation.code_execution import passes_all, program_of
from tuning.evaluation.questions import Question
from tuning.registry import Registry


@dataclass(frozen=True)
class Prediction:
    """A question, what the model answered, and how good that is by each score."""

    question: Question
    text: str
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """Scores over all predictions, and those of each."""

    metrics: dict[str, float]
    by_row: Sequence[dict[str, float]]


@dataclass(frozen=True)
class GenerationMetric:
    """A way to compare predictions with answers, and the packages that it needs beside ours."""

    score: Callable[[Sequence[Prediction]], Scored]
    packages: tuple[str, ...] = ()
    runs_code: bool = False


def exact_match(predictions: Sequence[Prediction]) -> Scored:
    """Count predictions that are the answer, letter by letter; blanks around both are left out."""
    return _averaged([{"exact_match": float(_is_exact(found))} for found in predictions])


def rouge(predictions: Sequence[Prediction]) -> Scored:
    """Measure the overlap of words (rouge1), pairs (rouge2) and longest common sequences (rougeL), 0 to 1.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries"; F-measures by the package rouge-score.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    found = [scorer.score(one.question.answer, one.text) for one in predictions]
    return _averaged([{name: float(score.fmeasure) for name, score in scores.items()} for scores in found])


def bleu(predictions: Sequence[Prediction]) -> Scored:
    """Measure n-grams in common with the answers, over the whole corpus and for each row, 0 to 100.

    Source: Post 2018, "A Call for Clarity in Reporting BLEU Scores"; the defaults of sacrebleu.
    """
    from sacrebleu import corpus_bleu, sentence_bleu

    whole = corpus_bleu([one.text for one in predictions], [[one.question.answer for one in predictions]])
    by_row = [{"bleu": sentence_bleu(one.text, [one.question.answer]).score} for one in predictions]
    return Scored({"bleu": whole.score}, by_row)


def classification(predictions: Sequence[Prediction]) -> Scored:
    """Take the first line of each prediction for a label: accuracy, and F1 as the mean over the rows' labels.

    A prediction that is none of the rows' labels is wrong.
    """
    from sklearn.metrics import accuracy_score, f1_score

    labels = [one.question.answer.strip() for one in predictions]
    found = [next(iter(one.text.strip().splitlines()), "").strip() for one in predictions]
    never: Any = 0  # the score of a label that is never predicted; scikit-learn's types know only "warn"
    f1 = f1_score(labels, found, labels=sorted(set(labels)), average="macro", zero_division=never)
    by_row = [{"accuracy": float(label == guess)} for label, guess in zip(labels, found, strict=True)]
    return Scored({"accuracy": float(accuracy_score(labels, found)), "f1_macro": float(f1)}, by_row)


def pass_at_1(predictions: Sequence[Prediction]) -> Scored:
    """Count programs that pass the rows' tests, each run once in a process that is locked down.

    Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code".
    """
    programs = [
        program_of(one.question.prompt, one.text, one.question.tests or "raise SystemExit", one.question.entry_point)
        for one in predictions
    ]
    return _averaged([{"pass_at_1": float(passed)} for passed in passes_all(programs)])


def scored(predictions: Sequence[Prediction], names: Sequence[str]) -> tuple[dict[str, float], list[Prediction]]:
    """Score predictions by metrics; returns the scores over all, and the predictions with theirs."""
    if not predictions:
        return {}, []
    metrics: dict[str, float] = {}
    by_row: list[dict[str, float]] = [{} for _ in predictions]
    for name in names:
        found = GENERATION_METRICS.load(name).score(predictions)
        metrics |= found.metrics
        by_row = [{**before, **scores} for before, scores in zip(by_row, found.by_row, strict=True)]
    return metrics, [
        Prediction(one.question, one.text, scores) for one, scores in zip(predictions, by_row, strict=True)
    ]


def _is_exact(prediction: Prediction) -> bool:
    return prediction.text.strip() == prediction.question.answer.strip()


def _averaged(by_row: Sequence[dict[str, float]]) -> Scored:
    return Scored({name: fmean(scores[name] for scores in by_row) for name in by_row[0]}, by_row)


EXACT_MATCH = GenerationMetric(exact_match)
ROUGE = GenerationMetric(rouge, ("rouge_score",))
BLEU = GenerationMetric(bleu, ("sacrebleu",))
CLASSIFICATION = GenerationMetric(classification, ("sklearn",))
PASS_AT_1 = GenerationMetric(pass_at_1, runs_code=True)

_BUILTIN = {
    "exact_match": "tuning.evaluation.generation_metrics:EXACT_MATCH",
    "rouge": "tuning.evaluation.generation_metrics:ROUGE",
    "bleu": "tuning.evaluation.generation_metrics:BLEU",
    "classification": "tuning.evaluation.generation_metrics:CLASSIFICATION",
    "pass_at_1": "tuning.evaluation.generation_metrics:PASS_AT_1",
}
GENERATION_METRICS: Registry[GenerationMetric] = Registry("metric", _BUILTIN, "tuning.generation_metrics")
