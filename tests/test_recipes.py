from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tuning.recipes
from tuning.errors import UserError
from tuning.job import load_config
from tuning.recipes import RECIPES, Recipe, load_recipe, recipe

GREETING = (Path(__file__).parent / "greeting_recipe.py").read_text(encoding="utf-8")


@pytest.fixture
def greeting(tmp_path: Path) -> Path:
    (tmp_path / "my_recipe.py").write_text(GREETING)
    return tmp_path / "my_recipe.py"


@pytest.mark.parametrize("name", RECIPES.names())
def test_every_recipe_has_its_name_and_a_sentence(name: str) -> None:
    found = load_recipe(name)
    assert found.name == name
    assert found.text.endswith(".")


def test_the_lists_of_the_seed_are_read_off_the_registry_and_the_folder(project_root: Path) -> None:
    assert RECIPES.names() == list(tuning.recipes._RECIPE_LIST)
    listed = {config for configs in tuning.recipes._CONFIG_LISTS.values() for config in configs}
    files = [path for name in RECIPES.names() for path in (project_root / "configs" / name).glob("*.*")]
    assert {path.stem for path in files} == listed


def test_a_recipe_of_a_file_is_found_and_what_the_file_imports_is_not(greeting: Path) -> None:
    found = load_recipe(str(greeting))
    assert (found.name, found.text, found.overlay) == ("greeting", "Write a greeting.", {"times": 2})
    assert load_recipe(f"{greeting}:greeting").name == "greeting"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no recipe; decorate a function"),
        ("import nowhere_at_all", "cannot be imported: ModuleNotFoundError"),
        ("def f(:", "cannot be imported: SyntaxError"),
        (
            "from tuning.recipes import recipe\n@recipe()\ndef a(job): ...\n@recipe('b')\ndef c(job): ...",
            "several recipes; say which",
        ),
    ],
)
def test_a_file_without_one_recipe_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=told):
        load_recipe(str(tmp_path / "mine.py"))


def test_a_recipe_of_a_file_that_is_misspelt_is_told_with_the_nearest(greeting: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'greeting'"):
        load_recipe(f"{greeting}:greting")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        load_recipe(str(tmp_path / "gone.py"))


def test_an_unknown_word_is_told_with_the_nearest_recipe_and_command() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'lora_finetune'.*`tune ls` lists recipes"):
        load_recipe("lora_finetun")
    with pytest.raises(UserError, match="Did you mean 'validate'"):
        load_recipe("validat", ["validate"])


def test_a_decorated_function_can_be_registered_by_name() -> None:
    @recipe("mine", overlay={"seed": 3})
    def anything(job: Any) -> None:
        """Do anything."""

    assert anything == Recipe("mine", anything.run, {"seed": 3})
    assert anything.document().sources == {"training.seed": "recipe mine"}


def test_a_package_brings_recipes_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greeting_package.py").write_text(GREETING)
    (tmp_path / "greeting_package-1.0.dist-info").mkdir()
    (tmp_path / "greeting_package-1.0.dist-info" / "METADATA").write_text("Name: greeting_package\nVersion: 1.0\n")
    points = "[tuning.recipes]\ngreeting = greeting_package:greeting\nno_recipe = greeting_package:GreetingParams\n"
    (tmp_path / "greeting_package-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_recipe("greeting").text == "Write a greeting."
    with pytest.raises(UserError, match="expected a function decorated with @recipe"):
        load_recipe("no_recipe")


@pytest.fixture
def run_file(tiny_config_only_model: Path, tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 8)
    values = {"model_name_or_path": str(tiny_config_only_model), "train_from_scratch": True, "seed": 1}
    values |= {"training_data_path": str(tmp_path / "rows.jsonl"), "output_dir": str(tmp_path / "out")}
    (tmp_path / "run.json").write_text(json.dumps(values))
    return tmp_path / "run.json"


def test_a_recipe_s_values_count_below_file_and_command_line_and_above_recommendations(run_file: Path) -> None:
    @recipe(overlay={"seed": 7, "learning_rate": 0.5, "max_steps": 9, "peft_method": "none"})
    def mine(job: Any) -> None:
        """Do anything."""

    job = load_config([str(run_file), "max_steps=2"], mine.document(), mine.name)
    training = job.config.training
    assert (training.seed, training.learning_rate, training.max_steps) == (1, 0.5, 2)
    sources = {name: job.document.sources[f"training.{name}"] for name in ("seed", "learning_rate", "max_steps")}
    wanted = {"seed": f"file {run_file}", "learning_rate": "recipe mine", "max_steps": "command line"}
    assert sources == wanted
    assert job.document.sources["training.warmup_steps"].startswith("action ")
