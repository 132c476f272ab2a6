from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from benchmarks.comparison import comparison
from benchmarks.measurements import Measurement, write_csv
from benchmarks.run import PAGE, SCENARIOS, finish, in_environment, main, reference_of, trainings
from benchmarks.run_case import why_not
from benchmarks.scenario_files import Files, write_files
from benchmarks.scenarios import Scenario, load_scenarios
from benchmarks.systems import Case, System, ours, systems, trl

GPU_SCENARIOS = SCENARIOS.with_name("scenarios_gpu.yaml")
SHAPE = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
}


def scenario(**values: object) -> Scenario:
    given = {"name": "one", "model": "m", "method": "full", "systems": ["tuning"], "shape": SHAPE, **values}
    return Scenario.model_validate(given)


def case(folder: Path, **values: object) -> Case:
    (folder / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    files = Files(folder / "model", folder / "train.jsonl", folder / "held-out.jsonl")
    return Case(scenario(**values), files, folder, seed=3)


def measured(system: str, speed: float, held_out_loss: float | None = None) -> Measurement:
    return Measurement("full", system, 0, tokens_per_cpu_second=speed, held_out_loss=held_out_loss)


def word_after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def test_an_unknown_name_of_a_scenario_is_told_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "qlra"]) == 1
    assert "Did you mean 'qlora'" in capsys.readouterr().err


def test_a_python_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--peer-python", str(tmp_path / "python"), "--out", str(tmp_path / "out")]) == 1
    assert "there is no such file" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_peer_takes_the_python_that_has_its_packages(tmp_path: Path) -> None:
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    peer, lacking = (
        System("", lambda _: [], packages=(name,), is_peer=True) for name in ("json", "no_such_package_here")
    )
    assert in_environment(case(tmp_path), peer, [str(link)]).python == str(link)
    assert in_environment(case(tmp_path), lacking, [str(link)]).python == sys.executable


def test_our_configuration_decides_only_what_is_fixed_for_all(tmp_path: Path) -> None:
    command = ours(case(tmp_path, batch_size=2, max_length=64), "recommended")
    text = Path(command[-1]).read_text()
    assert '"per_device_train_batch_size": 2' in text and '"seed": 3' in text
    assert not any(name in text for name in ("bf16", "padding_free", "gradient_checkpointing", "acceleration"))


def test_plugins_are_off_or_as_a_scenario_says(tmp_path: Path) -> None:
    assert '"use_acceleration": false' in Path(ours(case(tmp_path), "none")[-1]).read_text()
    assert '"padding_free"' in Path(ours(case(tmp_path), {"training": {"padding_free": {}}})[-1]).read_text()


def test_the_same_learning_rate_and_adapters_go_to_trl(tmp_path: Path) -> None:
    words = trl(case(tmp_path, method="lora", learning_rate=2e-4), "--packing", "true")
    assert word_after(words, "--learning_rate") == "0.0002" and word_after(words, "--packing") == "true"
    assert word_after(words, "--lora_r") == "16" and word_after(words, "--seed") == "3"


def test_a_system_whose_package_is_missing_is_not_started(tmp_path: Path) -> None:
    lacking = System("lacking", lambda _: ["false"], packages=("no_such_package_here",))
    assert why_not(case(tmp_path), lacking) == "not installed: no_such_package_here"
    assert why_not(case(tmp_path), systems()["tuning"]) == ""


def test_the_table_has_ratios_to_trl_and_tells_what_could_not_be_measured() -> None:
    found = [measured("tuning", 600.0), measured("trl-cli", 100.0), Measurement("full", "litgpt", 0, "not installed")]
    text = comparison(found, {"litgpt": "litgpt"})
    assert "| tuning | 6.00 | 600 |" in text and "| trl-cli | 1.00 | 100 |" in text
    assert "litgpt: not installed." in text and "MFU" not in text


def test_held_out_losses_of_several_seeds_have_a_spread() -> None:
    found = [measured("tuning", 1.0, held_out_loss=loss) for loss in (8.0, 8.2)]
    assert "8.1000 ± 0.1414" in comparison(found, {})


def arguments(scenarios: Path) -> argparse.Namespace:
    return argparse.Namespace(scenarios=scenarios, seeds=[0], threads=1, store=False)


def test_results_are_compared_with_those_that_are_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = arguments(tmp_path / "scenarios.yaml")
    write_csv(tmp_path / "reference.csv", [measured("tuning", 600.0), measured("trl-cli", 100.0)])
    assert finish([measured("tuning", 30.0), measured("trl-cli", 5.0)], tmp_path, asked) == 0
    assert finish([measured("tuning", 300.0), measured("trl-cli", 100.0)], tmp_path, asked) == 1
    assert "full, tuning: 3.00 times the baseline, 6.00 times in reference.csv" in capsys.readouterr().out


def test_ratios_are_compared_to_a_baseline_that_both_have(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "reference.csv", [measured("tuning", 600.0), measured("trl-cli", 20), measured("trl-fp32", 100)]
    )
    now = [measured("tuning", 590.0), measured("trl-fp32", 100.0)]
    assert finish(now, tmp_path, arguments(tmp_path / "scenarios.yaml")) == 0


def test_what_an_interrupted_run_measured_is_not_measured_again(tmp_path: Path) -> None:
    asked = argparse.Namespace(seeds=[0], systems=None, peer_python=[], threads=1)
    small = scenario(name="full", data="generated", num_rows=8, systems=["trl-flash", "tuning"])
    again = list(trainings([small], tmp_path, asked, [measured("tuning", 600.0)]))
    assert [(one.system, one.problem) for one in again] == [("trl-flash", "not installed: flash_attn")]


def test_without_stored_results_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finish([measured("tuning", 1.0)], tmp_path, arguments(tmp_path / "scenarios.yaml")) == 0
    assert "reference.csv is not there" in capsys.readouterr().out
    assert (tmp_path / "chart.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("path", [SCENARIOS, GPU_SCENARIOS], ids=lambda path: path.stem)
def test_the_scenarios_that_ship_can_be_read_and_have_a_place_in_the_page(path: Path) -> None:
    assert load_scenarios(path, list(systems()))
    assert f"<!-- begin {path.stem} -->\n" in PAGE.read_text()
    assert reference_of(path).name in ("reference.csv", "reference_gpu.csv")


@pytest.mark.slow
def test_files_of_a_scenario_are_written_once(tmp_path: Path) -> None:
    small = scenario(data="generated", num_rows=8)
    files = write_files(small, tmp_path)
    written = (files.model / "model.safetensors").stat().st_mtime_ns
    assert len(files.train.read_text().splitlines()) == 8
    write_files(small, tmp_path)
    assert (files.model / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.slow
def test_the_gpu_scenarios_run_on_a_cpu_with_a_tiny_model(tmp_path: Path) -> None:
    options = ["--tiny", "--only", "full-8b", "--systems", "tuning", "trl-bf16", "--out", str(tmp_path)]
    main(["--scenarios", str(GPU_SCENARIOS), *options])
    lines = (tmp_path / "results.csv").read_text().splitlines()
    cells = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert [one["system"] for one in cells] == ["tuning", "trl-bf16"]
    assert [one["problem"] for one in cells] == ["", ""]
    assert all(float(one["held_out_loss"]) > 0 and float(one["tokens_per_cpu_second"]) > 0 for one in cells)
    assert cells[0]["num_tokens"] == cells[1]["num_tokens"]
