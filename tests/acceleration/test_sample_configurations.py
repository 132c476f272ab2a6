"""The sample configurations are what their templates make of them, and every one of them activates its plugins."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tuning.acceleration.framework import AccelerationFramework
from tuning.acceleration.plugins import registrations
from tuning.acceleration.sample_configurations import FOLDER, join, main, sample_files
from tuning.errors import UserError

CONTENTS = yaml.safe_load((FOLDER / "CONTENTS.yaml").read_text())["framework_configs"]
EVERY_SAMPLE = pytest.mark.parametrize("entry", CONTENTS, ids=lambda entry: entry["shortname"])


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Copy samples.yaml and the templates, to be changed."""
    shutil.copytree(FOLDER / "templates", tmp_path / "templates")
    shutil.copy(FOLDER / "samples.yaml", tmp_path)
    return tmp_path


def test_no_sample_is_stale() -> None:
    written = {path.name: path.read_text() for path in FOLDER.glob("*.yaml") if path.name != "samples.yaml"}
    assert written == sample_files(), "python -m tuning.acceleration.sample_configurations"


@EVERY_SAMPLE
def test_a_sample_activates_the_plugins_that_the_contents_name(entry: dict[str, str]) -> None:
    device = None if entry["device"] == "any" else entry["device"]
    active = AccelerationFramework(FOLDER / entry["filename"], strict=True, device=device).active_plugins
    of_paths = {each.name for each in registrations([]) if set(each.paths) & set(entry["plugins"])}
    assert set(active) == of_paths


def test_every_built_in_plugin_has_a_sample() -> None:
    listed = {path for entry in CONTENTS for path in entry["plugins"]}
    assert [each.name for each in registrations([]) if not listed & set(each.paths)] == []


def test_the_command_writes_every_file_and_removes_what_is_no_longer_listed(copied: Path) -> None:
    assert main(["--folder", str(copied)]) == 0
    (copied / "own.yaml").write_text("plugins: {}\n")
    (copied / "samples.yaml").write_text("- {shortname: alone, templates: [padding_free]}\n")
    assert main(["--folder", str(copied)]) == 0
    assert {path.name for path in copied.glob("*.yaml")} == {"CONTENTS.yaml", "alone.yaml", "own.yaml", "samples.yaml"}


def test_a_value_of_a_sample_wins_over_its_template(copied: Path) -> None:
    sample = "{shortname: int8, templates: [bitsandbytes], values: {peft.quantization.bitsandbytes.quant_type: int8}}"
    (copied / "samples.yaml").write_text(f"- {sample}\n")
    document = yaml.safe_load(sample_files(copied)["int8.yaml"])
    assert document["plugins"]["peft"]["quantization"]["bitsandbytes"]["quant_type"] == "int8"


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        ("{shortname: a, templates: [padding]}", "no template 'padding'. Did you mean 'padding_free'?"),
        ("{shortname: a}", "expected shortname, templates"),
        ("{shortname: a, templates: [moe], values: {training.mo: 1}}", "plugins.training.mo: no plugin takes it"),
    ],
)
def test_a_wrong_sample_is_told(sample: str, told: str, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "samples.yaml").write_text(f"- {sample}\n")
    assert main(["--folder", str(copied)]) == 1
    assert told in capsys.readouterr().err
    assert not (copied / "CONTENTS.yaml").exists()


def test_templates_that_contradict_each_other_are_not_joined() -> None:
    with pytest.raises(UserError, match=r"plugins\.a\.b: one template has 1, another one 2"):
        join({"a": {"b": 1}}, {"a": {"b": 2}})
