from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.run_case import STEPS_FILE, environment
from benchmarks.startup import IMPORTS, PAGE, REST, Span, own_times, report, start_of

LOAD = "tuning.model:load_model"


def line(phase: str, begin: float, end: float, is_main: bool = True) -> dict[str, Any]:
    return {"phase": phase, "begin": begin, "end": end, "cpu_begin": begin, "cpu_end": end, "is_main": is_main}


FIRST_STEP = {"step": 1, "at": 20.0, "cpu": 15.0}


def test_a_phase_is_counted_without_the_phases_inside_of_it() -> None:
    spans = [Span("outer", 0, 10, 0, 8), Span("inner", 2, 5, 1, 3), Span("outer", 12, 13, 9, 10)]
    assert own_times(spans) == {"outer": (8, 7), "inner": (3, 2)}


def test_phases_add_up_to_the_time_of_the_first_step() -> None:
    lines = [line("import torch", 11, 12), line(LOAD, 13, 15), line("import peft", 13, 14), FIRST_STEP]
    start = start_of(lines, started=10)
    assert start.seconds == 10 and start.phases[IMPORTS][0] == 2 and start.phases["model loaded"][0] == 1
    assert sum(seconds for seconds, _ in start.phases.values()) == 10
    assert start.phases[REST] == (7, 12)


def test_what_comes_after_the_first_step_does_not_count() -> None:
    start = start_of([line("transformers.trainer:Trainer.train", 18, 99), line(LOAD, 30, 40), FIRST_STEP], started=10)
    assert start.phases["first step"][0] == 2 and "model loaded" not in start.phases


def test_what_runs_beside_the_main_thread_is_told_by_itself() -> None:
    start = start_of([line("tuning.preparation:prepare", 11, 14, is_main=False), FIRST_STEP], started=10)
    assert start.phases["beside it: rows to tokens"][0] == 3 and start.phases[REST][0] == 10


def test_a_start_without_a_step_is_an_error() -> None:
    with pytest.raises(ValueError, match="no step"):
        start_of([line(LOAD, 1, 2)], started=0)


def test_the_report_has_a_line_for_each_phase_and_the_whole() -> None:
    text = report({"tuning": start_of([line(LOAD, 13, 15), FIRST_STEP], started=10)})
    assert "| model loaded | 2.00 / 2.00 |" in text
    assert "| **to the end of the first step** | 10.00 / 15.00 |" in text
    assert "<!-- begin startup -->\n" in PAGE.read_text()


@pytest.mark.slow
def test_the_probe_counts_steps_tokens_and_phases_of_any_training(tmp_path: Path) -> None:
    code = """
import torch
weight = torch.nn.Embedding(10, 2)
optimizer = torch.optim.SGD(weight.parameters(), lr=0.1)
for _ in range(2):
    weight(torch.tensor([[4, 5, 3], [6, 3, 0]])).sum().backward()
    with torch.no_grad():
        weight(torch.tensor([7, 8]))
    optimizer.step()
"""
    environ = environment(tmp_path, sys.executable, 1, ["torch", "torch.optim.sgd:SGD.__init__"])
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    lines = [json.loads(each) for each in (tmp_path / STEPS_FILE).read_text().splitlines()]
    assert [each["tokens"] for each in lines if "step" in each] == [3, 6]
    assert [each["phase"] for each in lines if "phase" in each] == ["import torch", "torch.optim.sgd:SGD.__init__"]
    assert lines[-1]["cpu"] > 0 and lines[-1]["peak"] > 2**20
