"""Run folders for the tests of the report, written by the real tracker and without any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuning.config.ir import IR
from tuning.manifest import create_manifest
from tuning.trackers.tracker_factory import create_tracker

LOSSES = [2.5, 2.1, 1.9, 1.6, 1.7, 1.2]


def make_run(folder: Path, name: str = "say-a-number", losses: list[float] = LOSSES, text: str = "plain") -> Path:
    """Write the folder of a finished run; `text` stands wherever a user's text can."""
    tracker = create_tracker({"run_name": name, "experiment": text}, folder)
    values = {
        "training": {"learning_rate": 0.01, "seed": 42, "output_dir": str(folder)},
        "model": {"model_name_or_path": f"models/{text}"},
        "metadata": {text: text},
    }
    document = IR.of(values, "command line")
    manifest = create_manifest(folder, document, resumed=False)
    for step, loss in enumerate(losses, start=1):
        tracker.track({"train/loss": loss, "train/learning_rate": 0.01 / step, "train/grad_norm": step}, step=step)
        tracker.track({"train/tokens_per_second": 1000.0 + step}, step=step)
    tracker.track({"eval/loss": 2.2}, step=3)
    tracker.track({"eval/loss": 1.4}, step=len(losses))
    tracker.track({"system/process_memory_gib": 0.5}, step=1)
    tracker.track({"system/process_memory_gib": 0.7}, step=9)
    manifest.add("environment", {"python": "3.11", "argv": ["run.json", text], "packages": {"torch": text}})
    manifest.add("data", {"training": {"path": f"{text}.jsonl", "rows": 6, "bytes": 60, "sha256": "ab" * 32}})
    tracker.finish()
    write_files(folder, document, text)
    manifest.complete("finished", None)
    return folder


def write_files(folder: Path, document: IR, text: str) -> None:
    """Write the files beside the record."""
    finding = {
        "code": "cut",
        "level": "warning",
        "split": "train",
        "count": 2,
        "share": 0.3,
        "what": text,
        "to_do": text,
    }
    recommended = {
        "action": "LearningRate",
        "patch": {"training": {"learning_rate": 0.01}},
        "comment": f"because {text}",
        "source": "measured",
        "declined": [{"path": "training.seed", "user": 42, "suggested": 7, "because": text}],
    }
    files: dict[str, Any] = {
        "config.json": {"values": document.values, "sources": document.sources},
        "recommendations.json": [recommended],
        "audit.json": {"train": {"rows": 6, "tokens": 60, "lengths": {"max": 9}}, "findings": [finding]},
        "eval.json": {"eval_loss": 1.4, "baseline": {"eval_loss": 2.9}, "difference": {"eval_loss": -1.5}},
        "tracking/links.json": {"aim": {"run_id": text, "url": None, "open_with": f"aim up {text}"}},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    predictions = [
        {"row": f"row {number}", "prompt": text, "answer": "4", "prediction": text, "scores": {"exact_match": 0.5}}
        for number in range(1, 31)
    ]
    (folder / "predictions.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in predictions))
