"""Every command and every configuration of the pages under docs does what the page says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from benchmarks.config_reference import OURS, THEIRS, our_fields, releases, their_fields
from tuning.cli import main as tune
from tuning.config.loading import load_mapping
from tuning.recommender.cli import main as recommender

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
CHEAP = ("import", "validate", "plan", "recommend", "preview", "ls", "cat", "cp", "schema", "doctor", "--help")
"""Words after `tune` that read, and train nothing, so that they run here, in this process."""
DEAR = ("python -m tuning.sft_trainer", "tune run", "tune plan run.json --probe", "tune doctor")
"""Starts of commands that import torch."""
OF_RUNS = ("tune report", "tune compare", "tune reproduce", "tune export")
"""Starts of commands on runs that are there: runs/first and runs/second."""
NOT_RUN = {
    "pip install": "tests/test_project.py installs the wheel, and checks the names of extras",
    "TUNING_RECOMMENDER_ROOTS": "tests/recommender/test_api.py starts the service",
    "curl": "tests/recommender/test_api.py sends it requests",
    "tuning-recommender --tuning-config": "tests/recommender/test_four_files.py runs it",
    "sh completed/launch.sh": "tests/recommender/test_four_files.py runs it",
    "tune import config.yaml --from": "the same as tune import llamafactory.yaml",
    "tuning-recommender run.json history": "tests/recommender/test_history.py runs it",
    "python -m tuning.acceleration.sample": "tests/acceleration/test_sample_configurations.py runs it",
}
"""Commands that no test here runs -> what does."""
OTHER_PAGES = {"command.md", "recipes.md"}
"""Pages that tests/test_command_docs.py reads."""
NO_CONFIGS = {"api.md": "an answer of the service", "evaluation.md": "a task of lm-eval stands among them"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[str]:
    """Yield the commands of a page, those of several lines as one, without their comments."""
    for block in blocks(page, "sh"):
        pending = ""
        for line in block.replace("\\\n", " ").splitlines():
            pending = f"{pending}\n{line}" if pending else line
            try:
                shlex.split(pending, comments=True)
            except ValueError:  # a quotation that the next line goes on with
                continue
            if shlex.split(pending, comments=True):
                yield re.sub(r"\s+#.*$", "", pending)
            pending = ""


def is_cheap(command: str) -> bool:
    words = shlex.split(command, comments=True)
    own = words[0] == "tuning-recommender" or (words[0] == "tune" and words[1] in CHEAP)
    is_dear = "--probe" in words or (words[:2] == ["tune", "doctor"] and "--no-model" not in words)
    return own and not is_dear and not command.startswith(tuple(NOT_RUN))


ALL = [(page.name, command) for page in PAGES if page.name not in OTHER_PAGES for command in commands(page)]


def reader_folder(folder: Path, model: Path) -> Path:
    """Make what the pages' reader has: a model, rows, the files of the pages, and the checkout's examples."""
    for name in ("configs", "examples"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "models").mkdir()
    (folder / "models" / "my-base-model").symlink_to(model)
    (folder / "data").mkdir()
    rows = [{"instruction": f"Say {number}.", "output": f"The number {number}"} for number in range(32)]
    (folder / "data" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = {"model_name_or_path": "models/my-base-model", "training_data_path": "data/train.jsonl"}
    (folder / "run.json").write_text(json.dumps({**run, "output_dir": "runs/first", "max_steps": 2}))
    for block in (block for page in PAGES for block in blocks(page, "yaml")):
        if found := re.match(r"# (\w+\.yaml)\n", block):
            (folder / found[1]).write_text(block)
    (folder / "fms.json").write_text(blocks(ROOT / "docs" / "coming-from.md", "json")[0])
    return folder


@pytest.fixture
def user_folder(tiny_config_only_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the reader's folder; the model's weights are a header, which is all that commands that read look at."""
    model = tmp_path / "model"
    shutil.copytree(tiny_config_only_model, model)
    save_file({"weight": np.zeros((64, 64), np.float32)}, model / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    return reader_folder(tmp_path, model)


def run(command: str) -> int:
    words = shlex.split(command, comments=True)
    return recommender(words[1:]) if words[0] == "tuning-recommender" else tune(words[1:])


def test_every_command_of_the_pages_is_run_or_named_with_what_runs_it() -> None:
    known = (*NOT_RUN, *DEAR, *OF_RUNS)
    assert [(page, command) for page, command in ALL if not is_cheap(command) and not command.startswith(known)] == []


def test_no_reason_is_left_of_a_command_that_is_gone() -> None:
    gone = [start for start in NOT_RUN if not any(command.startswith(start) for _, command in ALL)]
    assert gone == []


@pytest.mark.parametrize("page", sorted({page for page, command in ALL if is_cheap(command)}))
def test_the_commands_of_a_page_that_read_run(page: str, user_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in [command for name, command in ALL if name == page and is_cheap(command)]:
        code = run(command)
        shown = capsys.readouterr()
        expected = (0, 2) if "plan" in command or "doctor" in command else (0,)
        assert code in expected, f"{command}\n{shown.out}\n{shown.err}"


@pytest.mark.slow
def test_the_commands_of_the_pages_that_train_run(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuning.sft_trainer import main as train

    reader_folder(tmp_path, tiny_model)
    monkeypatch.chdir(tmp_path)
    for number, (page, command) in enumerate(ALL):
        if is_cheap(command) or not command.startswith(DEAR):
            continue
        words = shlex.split(command, comments=True)
        words += [f"output_dir=runs/{number}"] if len(words) > 2 else []
        code = train(words[3:]) if words[0] == "python" else tune(words[1:])
        shown = capsys.readouterr()
        assert code == 0, f"{page}: {command}\n{shown.out}\n{shown.err}"


@pytest.mark.slow
def test_the_commands_of_the_pages_on_runs_that_are_there_run(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuning.sft_trainer import main as train

    reader_folder(tmp_path, tiny_model)
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        assert train(["run.json", f"output_dir=runs/{name}", "use_cpu=true"]) == 0
    for page, command in [(page, command) for page, command in ALL if command.startswith(OF_RUNS)]:
        code = tune(shlex.split(command, comments=True)[1:])
        shown = capsys.readouterr()
        assert code == 0, f"{page}: {command}\n{shown.out}\n{shown.err}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in NO_CONFIGS], ids=lambda page: page.stem)
def test_the_configurations_of_a_page_have_only_known_keys(page: Path) -> None:
    texts = [(json.loads, text) for text in blocks(page, "json")]
    texts += [(yaml.safe_load, text) for text in blocks(page, "yaml") if not text.startswith("# ")]
    for read, text in texts:
        assert load_mapping(read(text)).problems == [], text


def test_the_reference_of_every_field_is_that_of_the_schema() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert f"<!-- begin {OURS} -->\n\n{our_fields()}\n\n<!-- end" in page, "python -m benchmarks.config_reference"


def test_the_reference_of_the_fields_of_trl_is_that_of_its_release() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    begin = f"<!-- begin {THEIRS} -->\n\n"
    written = f"{begin}{their_fields()}\n\n<!-- end"
    assert begin in page
    assert written in page or f"{begin}{releases()}" not in page, "python -m benchmarks.config_reference"


def test_what_was_imported_from_every_program_says_the_same(
    user_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in commands(ROOT / "docs" / "coming-from.md"):
        if command.startswith("tune import"):
            assert run(command) == 0, capsys.readouterr().err
    for program in ("fms", "trl", "axolotl", "llamafactory", "torchtune"):
        made = yaml.safe_load((user_folder / f"from_{program}.yaml").read_text())
        ir = load_mapping(made).ir
        assert ir.get("model.model_name_or_path") == "models/my-base-model", program
        assert (ir.get("peft.peft_method"), ir.get("training.output_dir")) == ("lora", "runs/first"), program
        assert ir.get("peft.r") in (8, 16), program
