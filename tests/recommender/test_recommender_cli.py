from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonpatch
import pytest
import yaml

from tuning.config.building import build_config
from tuning.config.loading import load_ir
from tuning.recommender.cli import main
from tuning.recommender.completion import given_document

RULE = """
from tuning.recommender.action import Action, Kind, suggest


class Custom_Seed(Action):
    def apply(self, ir, facts):
        return suggest({"training.seed": 7}, "It is always seven.", Kind.MODEL_QUALITY, "a test")
"""


@pytest.fixture
def words(tmp_path: Path, tiny_config_only_model: Path) -> list[str]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"Two kettles and {n} herons."}) + "\n" for n in range(600)))
    return [f"model_name_or_path={tiny_config_only_model}", f"training_data_path={rows}", "train_from_scratch=true"]


def test_every_value_is_shown_with_its_action_and_its_reason(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "learning_rate=0.5"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0].split() == ["value", "action", "comment"]
    assert "data.validation_fraction = 0.05" in told
    assert "Yours, and kept:\n  training.learning_rate: user 0.5, suggested" in told


@pytest.mark.parametrize("form", [["--output-dir", "{}"], ["--output-dir={}"]])
def test_the_files_hold_a_configuration_that_the_trainer_takes(
    words: list[str], tmp_path: Path, form: list[str]
) -> None:
    folder = tmp_path / "out"
    assert main([*words, *(word.format(folder) for word in form), "--output_dir", "run"]) == 0
    config = build_config(load_ir([str(folder / "config.json")]).ir)
    assert config.training.output_dir == "run"
    recommendations = json.loads((folder / "recommendations.json").read_text())
    assert {"action", "patch", "comment", "level", "kind", "source", "json_patch"} <= recommendations[0].keys()


def test_explain_gives_reason_level_kind_source_and_inputs(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--explain", "--format", "json"]) == 0
    explained = {each["path"]: each for each in json.loads(capsys.readouterr().out)}
    rate = explained["training.learning_rate"]
    assert {"value", "from", "reason", "level", "kind", "source", "inputs"} <= rate.keys()
    assert rate["inputs"]["facts.model.num_parameters"] > 1000
    assert explained["model.train_from_scratch"].keys() == {"path", "value", "from"}


def test_diff_is_a_patch_of_what_was_given(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--diff", "--format=yaml"]) == 0
    operations = yaml.safe_load(capsys.readouterr().out)
    completed = jsonpatch.apply_patch(given_document(words).values, operations)
    assert completed["training"]["learning_rate"] > 0
    assert all(operation["comment"] for operation in operations)


def test_what_if_shows_what_changes_on_another_machine(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--what-if", "gpus=8", "gpu_memory_gib=80"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0].split() == ["as", "it", "is", "with", "gpus=8", "gpu_memory_gib=80"]
    assert "training.bf16 " in told and "processes " in told


def test_several_views_stand_side_by_side_in_json(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--what-if", "gpus=8", "--explain", "--diff", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"values", "patch", "what_if"}


def test_without_a_view_json_holds_the_configuration_and_the_reasons(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--format", "json", "--output-dir", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["config"] == json.loads((tmp_path / "out" / "config.json").read_text())
    assert printed["recommendations"] == json.loads((tmp_path / "out" / "recommendations.json").read_text())


def test_rules_of_a_folder_join_in(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "seed.py").write_text(RULE)
    assert main([*words, "--rules-dir", str(tmp_path / "rules")]) == 0
    assert "training.seed = 7" in capsys.readouterr().out
    assert main([*words, "--rules-dir", str(tmp_path / "rules"), "recommend=false"]) == 0
    assert "training.seed" not in capsys.readouterr().out


def test_the_same_command_writes_the_same_bytes(words: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        main([*words, f"--output-dir={tmp_path / name}"])
    for file in ("config.json", "recommendations.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["learning_rte=1"], "did you mean 'learning_rate'?"),
        (["learning_rate=fast"], "training.learning_rate: got 'fast' (from command line)"),
        (["training_data_path=missing.jsonl"], "no such file"),
        (["--output-dir"], "--output-dir: expected a folder"),
        (["--format", "xml"], "--format: expected one of table, json, yaml; got 'xml'"),
        (["--what-if", "learning_rate=1"], "learning_rate: got '1' (from --what-if); expected a field of compute"),
        (["--what-if", "gpus=-8"], "compute.num_gpus_per_node: got -8 (from --what-if)"),
        (["--rules-dir", "nowhere"], "nowhere"),
    ],
)
def test_what_the_user_can_mend_ends_with_1_and_no_traceback(
    words: list[str], more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *more]) == 1
    told = capsys.readouterr().err
    assert message.lower() in told.lower()
    assert "Traceback" not in told


def test_a_folder_that_cannot_be_written_is_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([*words, f"--output-dir={tmp_path / 'file' / 'inner'}"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_nothing_is_recommended_where_it_is_turned_off(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "recommend=false"]) == 0
    assert capsys.readouterr().out == "Nothing to fill in.\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_says_how_it_is_used(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "usage: tuning-recommender" in capsys.readouterr().out


def test_nothing_dear_is_imported(words: list[str]) -> None:
    dear = ("torch", "transformers", "datasets", "huggingface_hub", "trl", "peft", "pyarrow")
    code = (
        "import sys; from tuning.recommender.cli import main; code = main(sys.argv[1:]); "
        f"print([name for name in {dear} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
