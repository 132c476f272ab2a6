"""Every configuration that ships is valid and trains; the list is the folder itself."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from shipped_configs import Outcome, TinyModels, document_of, model_of, outcomes

from benchmarks.config_memory import expected_memory, gpu_memory_gib, shipped_configs
from benchmarks.published_models import NUM_PARAMETERS, PUBLISHED_MODELS
from tuning.recommender.adapters.launch import launch_command, num_machines, num_processes, shell_line

ROOT = Path(__file__).resolve().parent.parent
LAUNCHER_FILES = {"accelerate", "acceleration"}
ALL_CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*")
    if path.suffix in (".json", ".yaml", ".yml") and not LAUNCHER_FILES & set(path.relative_to(ROOT).parts)
)
QUICKSTART = ROOT / "configs" / "quickstart.json"
CONFIGS = [path for path in ALL_CONFIGS if path != QUICKSTART]
MODELINE = "# yaml-language-server: $schema=schema.json"
EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)


def line_of(config: Path, word: str) -> str:
    """Return what stands after a word in the head of a configuration."""
    (found,) = (line for line in config.read_text().splitlines() if line.startswith(f"# {word}: "))
    return found.removeprefix(f"# {word}: ")


@pytest.fixture(scope="module")
def walked(tiny_config_only_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    """Build and run every configuration once."""
    folder = tmp_path_factory.mktemp("configs")
    models = TinyModels(folder / "models", tiny_config_only_model)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_DATASETS_CACHE", str(folder / "datasets"))
        yield {found.name: found for found in outcomes(CONFIGS, models, folder)}


def test_the_list_of_configurations_is_the_folder() -> None:
    assert QUICKSTART in ALL_CONFIGS
    assert shipped_configs() == CONFIGS
    assert len({path.stem for path in CONFIGS}) == len(CONFIGS)


def test_each_family_has_a_configuration_for_each_place() -> None:
    for family in ("llama", "qwen", "granite", "mistral", "gemma", "smollm", "gpt_oss"):
        names = [path.stem for path in CONFIGS if path.stem.startswith(family)]
        assert any(name.endswith("_lora") for name in names), family
        assert any(name.endswith("_fsdp2") for name in names), family
        assert any(name.endswith("_2_nodes") for name in names), family
        assert any(name.endswith("_qlora") for name in names) or family == "gpt_oss"


@EVERY_CONFIG
def test_a_configuration_is_short_and_has_a_schema_for_editors(config: Path) -> None:
    lines = config.read_text().splitlines()
    assert lines[0] == MODELINE
    assert len(lines) <= 45 and all(len(line) <= 500 for line in lines)


@EVERY_CONFIG
def test_a_configuration_holds_only_fields_and_trains_what_its_recipe_says(config: Path) -> None:
    ir, recipe = document_of(config), config.parent.name
    assert not yaml.safe_load(config.read_text()).keys() - {*ir.values}
    assert ir.get("peft.peft_method") == ("none" if recipe == "full_finetune" else "lora")
    assert (ir.get("quantization.load_in_4bit") is True) == (recipe == "qlora_finetune")
    assert ir.get("training.output_dir") == f"runs/{config.stem}"


@EVERY_CONFIG
def test_the_memory_that_a_configuration_names_is_what_the_memory_model_says(config: Path) -> None:
    size = gpu_memory_gib(config.read_text())
    expected = expected_memory(config, size)
    assert f"# Memory: {line_of(config, 'Memory')}" == expected.line(size), "python -m benchmarks.config_memory"
    assert expected.fits


@EVERY_CONFIG
def test_the_line_that_launches_a_configuration_starts_what_it_is_for(config: Path) -> None:
    ir, line = document_of(config), line_of(config, "Launch")
    if num_machines(ir) > 1:
        assert line == shell_line(launch_command(ir, str(config.relative_to(ROOT))))
        return
    words = shlex.split(line)
    assert words[:4] == ["tune", config.parent.name, "--config", config.stem]
    assert words[4:] == (["--nproc", str(num_processes(ir))] if num_processes(ir) > 1 else [])


@EVERY_CONFIG
def test_the_architecture_of_a_configuration_is_written_down(config: Path) -> None:
    assert model_of(config) in PUBLISHED_MODELS
    assert PUBLISHED_MODELS.keys() == NUM_PARAMETERS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED_MODELS)
def test_the_parameters_that_are_written_down_are_those_of_the_model(name: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**PUBLISHED_MODELS[name]))
    assert model.num_parameters() == NUM_PARAMETERS[name]


@pytest.mark.slow
def test_every_shipped_configuration_is_built_and_trains_two_steps(walked: dict[str, Outcome]) -> None:
    built, ran = (sum(getattr(each, what) for each in walked.values()) for what in ("built", "ran"))
    seconds = sum(each.seconds for each in walked.values())
    print(f"{built} of {len(CONFIGS)} configurations built, {ran} ran two steps, in {seconds:.0f} s")
    failed = [f"{each.name}: {each.error}" for each in walked.values() if each.error]
    assert (built, ran) == (len(CONFIGS), len(CONFIGS)), "\n".join(failed)


@pytest.mark.slow
def test_the_tiny_model_of_a_configuration_is_of_the_same_architecture(walked: dict[str, Outcome]) -> None:
    for config in CONFIGS:
        assert walked[config.stem].model_type == PUBLISHED_MODELS[model_of(config)]["model_type"]


@pytest.mark.slow
def test_the_configuration_of_the_quickstart_trains_two_steps(tmp_path: Path) -> None:
    overrides = (f"output_dir={tmp_path}", "save_model_dir=null", "max_steps=2", "logging_steps=1", "trackers=none")
    command = [sys.executable, "-m", "tuning.sft_trainer", str(QUICKSTART), *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "model.safetensors").exists()
