from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scenarios import Scenario, load_scenarios
from tuning.errors import ConfigError

MODELS = "models: {small: {hidden_size: 64, vocab_size: 100}}\n"
GOOD = "{name: one, model: small, method: full, systems: [tuning]}"


def read(folder: Path, scenarios: str, models: str = MODELS) -> list[Scenario]:
    path = folder / "scenarios.yaml"
    path.write_text(f"{models}scenarios: {scenarios}\n")
    return load_scenarios(path, ["tuning", "trl-cli"])


def problems(folder: Path, scenarios: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(folder, scenarios)
    return str(refused.value)


def test_a_scenario_takes_the_shape_of_its_model(tmp_path: Path) -> None:
    (one,) = read(tmp_path, f"[{GOOD}]")
    assert one.shape == {"hidden_size": 64, "vocab_size": 100} and one.plugins == "recommended"


def test_an_unknown_key_is_told_with_its_place_and_the_nearest_name(tmp_path: Path) -> None:
    text = problems(tmp_path, f"[{GOOD[:-1]}, batchsize: 4}}]")
    assert "scenarios[0].batchsize" in text and "Did you mean 'batch_size'?" in text


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = problems(tmp_path, "[{name: one, model: small, method: half, steps: 0, systems: [tuning]}, 7]")
    assert "scenarios[0].method" in text and "scenarios[0].steps" in text and "scenarios[1]" in text


def test_an_unknown_model_or_system_is_told(tmp_path: Path) -> None:
    text = problems(tmp_path, "[{name: one, model: smal, method: full, systems: [trl]}]")
    assert "Did you mean 'small'?" in text and "scenarios[0].systems: got 'trl'" in text


def test_two_scenarios_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "for one scenario only" in problems(tmp_path, f"[{GOOD}, {GOOD}]")


@pytest.mark.parametrize("text", ["", "scenarios: [", "models: {}\nscenarios: []", "- 1"])
def test_a_file_of_another_form_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "scenarios.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"scenarios\.yaml"):
        load_scenarios(path, [])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_scenarios(tmp_path / "none.yaml", [])


def test_a_tiny_scenario_is_for_the_cpu_and_keeps_its_method(tmp_path: Path) -> None:
    (one,) = read(tmp_path, f"[{GOOD[:-1]}, device: cuda, steps: 100}}]")
    assert (one.tiny().device, one.tiny().method, one.tiny().steps) == ("cpu", "full", 3)
    assert one.tiny().shape["hidden_size"] == 32
