from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chart import bar_chart
from benchmarks.measurements import Measurement, ratios, read_csv, read_steps, speed_of, worse_than_stored, write_csv
from benchmarks.model_flops import flops_per_token, model_flops_utilization
from benchmarks.scenario_files import generated_rows
from benchmarks.scenarios import Scenario


def step(number: int, seconds: float, cpu: float, tokens: int) -> dict[str, Any]:
    return {"step": number, "at": 100 + seconds, "cpu": cpu, "tokens": tokens, "peak": 2**30, "gpu_peak": 0}


STEPS = [step(1, 9.0, 8.0, 50), step(2, 10.0, 9.0, 100), step(3, 11.0, 9.5, 200), step(4, 12.0, 10.0, 300)]


def test_speed_is_that_of_the_steps_from_the_third_on() -> None:
    speed = speed_of(STEPS, started=100)
    assert speed["tokens_per_second"] == 100 and speed["tokens_per_cpu_second"] == 200
    assert speed["first_step_seconds"] == 9 and speed["first_step_cpu_seconds"] == 8
    assert speed["peak_mib"] == 1024 and speed["gpu_peak_mib"] is None


def test_two_steps_are_too_few() -> None:
    with pytest.raises(ValueError, match="2 steps were made"):
        speed_of(STEPS[:2], started=100)


def test_a_training_whose_tokens_were_not_seen_has_no_speed() -> None:
    with pytest.raises(ValueError, match="no token"):
        speed_of([{**each, "tokens": 0} for each in STEPS], started=100)


def test_lines_of_phases_are_not_steps(tmp_path: Path) -> None:
    file = tmp_path / "steps.jsonl"
    file.write_text(json.dumps({"phase": "import torch"}) + "\n" + json.dumps(STEPS[0]) + "\n")
    assert read_steps(file) == [STEPS[0]] and read_steps(tmp_path / "none") == []


def test_a_csv_file_gives_back_what_was_written(tmp_path: Path) -> None:
    found = [Measurement("a", "tuning", 1, num_steps=4, train_loss=8.5), Measurement("a", "x", 2, 'ended, "badly"')]
    write_csv(tmp_path / "results.csv", found)
    assert read_csv(tmp_path / "results.csv") == found


def test_ratios_are_to_the_first_baseline_that_a_scenario_has() -> None:
    rows = [("a", "tuning", 6.0), ("a", "one", 3.0), ("a", "two", 2.0), ("b", "tuning", 4.0), ("b", "two", 2.0)]
    found = [Measurement(scenario, system, 0, tokens_per_second=speed) for scenario, system, speed in rows]
    assert ratios(found, "tokens_per_second", ("one", "two")) == {
        ("a", "tuning"): 2.0,
        ("a", "one"): 1.0,
        ("a", "two"): 2 / 3,
        ("b", "tuning"): 2.0,
        ("b", "two"): 1.0,
    }


def test_a_scenario_without_a_baseline_has_no_ratios() -> None:
    assert ratios([Measurement("a", "tuning", 0, tokens_per_second=1.0)], "tokens_per_second", ("one",)) == {}


def test_only_clearly_lower_ratios_are_worse_than_stored() -> None:
    now = {("a", "x"): 5.0, ("a", "y"): 5.5, ("a", "new"): 0.1}
    assert list(worse_than_stored(now, {("a", "x"): 6.0, ("a", "y"): 6.0})) == [("a", "x", 5.0, 6.0)]


def test_a_chart_is_an_svg_whose_bars_are_as_long_as_their_values() -> None:
    drawn = bar_chart("T < 1", {("full", "tuning"): 400.0, ("full", "trl-cli"): 100.0}, {"tuning": "ours & more"})
    root = ElementTree.fromstring(drawn)
    bars = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if each.get("width") != "100%"]
    widths = [float(each.attrib["width"]) for each in bars]
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.01)
    assert "ours &amp; more" in drawn and re.search(r">400<", drawn)


def test_adapters_spare_the_gradients_of_the_weights() -> None:
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    about = {"name": "x", "model": "m", "systems": ["tuning"], "shape": {**shape, "vocab_size": 10}}
    full, lora = (Scenario.model_validate({**about, "method": method}) for method in ("full", "lora"))
    weights = 4 * 8 * 8 + 3 * 8 * 16 + 8 * 10
    assert flops_per_token(full, 0) == 6 * weights and flops_per_token(lora, 0) == 4 * weights
    assert model_flops_utilization(full, 1e9, 0, "NVIDIA H100 80GB HBM3") == pytest.approx(6e9 * weights / 989e12)
    assert model_flops_utilization(full, 1e9, 0, "another one") is None


def test_generated_rows_are_always_the_same_and_of_many_lengths() -> None:
    rows = list(generated_rows(200))
    assert rows == list(generated_rows(200))
    lengths = sorted(len(row["completion"].split()) for row in rows)
    assert lengths[10] * 3 < lengths[-10] and 35 < lengths[100] < 65
