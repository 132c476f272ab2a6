"""What the base model scored, kept in the run folder with a mark of what it was measured on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuning.config.sections import Evaluation
from tuning.evaluation.questions import Question
from tuning.evaluation.results import scores_of, to_json
from tuning.whole_files import write_whole

BASELINE_FILE = "baseline.json"
_ROWS_AT_ONCE = 1000


def fingerprint_of(held_out: Any, questions: Sequence[Question], section: Evaluation) -> str:
    """Return a mark of what a model is measured on: the held-out tokens, the questions, and the metrics asked for.

    `held_out` is a `datasets.Dataset` with the columns `input_ids` and `labels`.
    """
    asked = [[list(question.prompt_ids), question.answer, question.tests] for question in questions]
    metrics = [section.token_f1, section.generation_metrics, section.max_new_tokens]
    digest = hashlib.sha256(json.dumps([asked, metrics]).encode())
    for batch in held_out.with_format("arrow").iter(_ROWS_AT_ONCE):
        for name in ("input_ids", "labels"):
            for chunk in batch[name].chunks:
                digest.update(chunk.value_lengths().to_numpy(zero_copy_only=False).tobytes())
                digest.update(chunk.flatten().to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()


def read_baseline(folder: Path, fingerprint: str) -> dict[str, float] | None:
    """Read the base's scores that a run has kept; None: it has none, or they were measured on something else."""
    try:
        kept = json.loads((folder / BASELINE_FILE).read_text(encoding="utf-8"))
        if kept["fingerprint"] != fingerprint:
            return None
        return {name: math.nan if score is None else score for name, score in kept["scores"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_baseline(folder: Path, metrics: Mapping[str, float], fingerprint: str) -> None:
    """Keep the base's scores, for when the run is gone on with."""
    write_whole(folder / BASELINE_FILE, to_json({"fingerprint": fingerprint, "scores": scores_of(metrics)}))
