"""What an evaluation found, as a document, as a table, and as files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning.evaluation.generation_metrics import Prediction
from tuning.score_names import is_score
from tuning.whole_files import write_whole

PREDICTIONS_FILE = "predictions.jsonl"
_FORMATS = ("json", "csv")
_DIGITS = 6


@dataclass(frozen=True)
class EvalResult:
    """Scores of a model by name, those of its base where asked for, its predictions, and lm-eval's results."""

    metrics: Mapping[str, float]
    predictions: Sequence[Prediction] = ()
    baseline: Mapping[str, float] | None = None
    lm_eval: Mapping[str, Any] = field(default_factory=dict)

    def scores(self) -> dict[str, float]:
        """Return what tells how good the model is: the metrics without times, and lm-eval's numbers."""
        return scores_of(self.metrics) | lm_eval_scores(self.lm_eval)

    def difference(self) -> dict[str, float]:
        """Subtract the base's scores from the model's, score by score."""
        scores, baseline = self.scores(), self.baseline or {}
        return {name: scores[name] - baseline[name] for name in scores if name in baseline}

    def to_dict(self) -> dict[str, Any]:
        """Lay the result out for a JSON file; the predictions stand in a file of their own."""
        document: dict[str, Any] = dict(self.metrics)
        if self.baseline is not None:
            document |= {"baseline": dict(self.baseline), "difference": self.difference()}
        return document | ({"lm_eval": dict(self.lm_eval)} if self.lm_eval else {})

    def rows(self) -> list[list[Any]]:
        """Lay the scores out as a table: name and score, and with a baseline that and the difference."""
        if self.baseline is None:
            return [["metric", "score"], *([name, score] for name, score in self.scores().items())]
        difference = self.difference()
        table = [[name, one, self.baseline.get(name), difference.get(name)] for name, one in self.scores().items()]
        return [["metric", "score", "baseline", "difference"], *table]

    def lines(self) -> list[str]:
        """Write the table for people."""
        table = [[_text(cell) for cell in row] for row in self.rows()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return ["  ".join(_aligned(row, widths)).rstrip() for row in table]

    def write(self, folder: Path, file_format: str = "json") -> list[Path]:
        """Write `eval.json` or `eval.csv`, and `predictions.jsonl` where something was generated; returns the files.

        Those of the three that are not written now are removed: they would tell of another evaluation.
        """
        written = [folder / f"eval.{file_format}"]
        write_whole(written[0], self._csv() if file_format == "csv" else to_json(self.to_dict()))
        if self.predictions:
            written.append(folder / PREDICTIONS_FILE)
            rows = (_as_json(prediction_dict(found)) for found in self.predictions)
            write_whole(written[1], "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
        for name in (*(f"eval.{other}" for other in _FORMATS), PREDICTIONS_FILE):
            if folder / name not in written:
                (folder / name).unlink(missing_ok=True)
        return written

    def _csv(self) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(_as_json(self.rows()))
        return text.getvalue()


def scores_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Leave out what is no score: times, speeds and the epoch."""
    return {name: value for name, value in metrics.items() if is_score(name)}


def lm_eval_scores(results: Mapping[str, Any]) -> dict[str, float]:
    """Flatten lm-eval's results to `lm_eval/task/metric`."""
    return {
        f"lm_eval/{task}/{name.removesuffix(',none')}": value
        for task, found in results.items()
        for name, value in found.items()
        if isinstance(value, (int, float)) and name != "sample_len"
    }


def prediction_dict(prediction: Prediction) -> dict[str, Any]:
    """Lay one prediction out for a line of `predictions.jsonl`."""
    question = prediction.question
    return {
        "row": question.place,
        "prompt": question.prompt,
        "answer": question.answer,
        "prediction": prediction.text,
        "scores": prediction.scores,
    }


def to_json(document: Mapping[str, Any]) -> str:
    """Write a document as JSON, with null for each number that is none: JSON knows no NaN."""
    return f"{json.dumps(_as_json(document), indent=2, ensure_ascii=False, default=str)}\n"


def _as_json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _as_json(item) for name, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def _text(cell: Any) -> str:
    return "" if cell is None else f"{cell:.{_DIGITS}g}" if isinstance(cell, float) else str(cell)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    name, *numbers = row
    return [name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True))]
