from __future__ import annotations

import pytest
from made_up_facts import CPU, LLAMA_8B, data, model

from tuning.config.ir import IR
from tuning.errors import ConfigError
from tuning.recommender.completion import Completed, completed
from tuning.recommender.facts import Facts
from tuning.recommender.what_if import Difference, differences, elsewhere, machine, side_by_side


@pytest.fixture
def here(tiny_config_only_model: str) -> Completed:
    values = {"model": {"model_name_or_path": str(tiny_config_only_model)}, "peft": {"r": 8}}
    given = IR.of({**values, "data": {"training_data_path": ["a/hub"]}}, "command line")
    return completed(given, Facts(model(LLAMA_8B), data(20_000, tokens=1000, supervised=400), CPU))


def test_words_describe_a_machine() -> None:
    words = ["gpus=8", "compute.gpu_memory_gib=80", "gpu_compute_capability=9.0"]
    compute = {"num_gpus_per_node": 8, "gpu_memory_gib": 80, "gpu_compute_capability": "9.0"}
    given = machine(words)["compute"]
    assert {**given, "gpu_compute_capability": str(given["gpu_compute_capability"])} == compute


@pytest.mark.parametrize("word", ["learning_rate=1", "nothing=1"])
def test_a_setting_that_is_no_machine_is_an_error(word: str) -> None:
    with pytest.raises(ConfigError, match="expected a field of compute"):
        machine(["gpus=8", word])


def test_a_value_that_its_field_does_not_take_is_an_error(here: Completed) -> None:
    with pytest.raises(ConfigError, match=r"compute.gpu_memory_gib: got 'much' \(from --what-if\)"):
        elsewhere(here, ["gpu_memory_gib=much"])


def test_another_machine_changes_values_and_what_follows_from_them(here: Completed) -> None:
    there = elsewhere(here, ["gpus=8", "gpu_memory_gib=80", "gpu_compute_capability=9.0"])
    found = {each.path: (each.here, each.there) for each in differences(here, there)}
    assert found["training.bf16"] == (False, True)
    assert found["processes"] == (1, 8)
    assert found["memory to plan with"] == ("9.6 GiB", "71 GiB")
    assert not any(path.startswith("compute.") for path in found)


def test_the_machine_that_is_asked_about_is_not_the_one_that_is_here(
    here: Completed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "32")
    there = elsewhere(here, ["gpus=2"])
    assert there.facts.hardware is not None and there.facts.hardware.world_size == 2


def test_differences_stand_side_by_side() -> None:
    told = side_by_side([Difference("training.bf16", False, True), Difference("x", None, "a b")], ["gpus=8"])
    assert [line.split() for line in told.splitlines()] == [
        ["as", "it", "is", "with", "gpus=8"],
        ["training.bf16", "false", "true"],
        ["x", "-", "a", "b"],
    ]
    assert side_by_side([], ["gpus=8"]) == "Nothing changes with gpus=8."
