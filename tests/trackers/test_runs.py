from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuning.cli import main as tune
from tuning.errors import UserError
from tuning.trackers.event_log import EventLog
from tuning.trackers.run_files import RunFiles
from tuning.trackers.runs import find_runs, load_run, named_run
from tuning.trackers.tracker_factory import create_tracker

ROOT = Path(__file__).parents[2]
CONFIG = {
    "model": {"model_name_or_path": "/models/tiny-llama"},
    "peft": {"peft_method": "lora"},
    "training": {"learning_rate": 2e-4},
}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Make a run that was tracked for some steps and ended."""

    def make_run(name: str, steps: int = 3, state: str | None = "finished", **tracking: Any) -> Path:
        folder = tmp_path / "runs" / name
        tracker = create_tracker({"run_name": name, **tracking}, folder)
        (folder / "config.json").write_text(json.dumps({"values": CONFIG, "sources": {}}))
        for step in range(1, steps + 1):
            tracker.track({"train/loss": 3.0 / step, "system/cpu_percent": 1.0}, step=step)
        tracker.track(0.7, "loss", "eval", step=steps)
        if state is not None:
            tracker.finish(state, "out of memory" if state == "failed" else None)
        return folder

    return make_run


def test_runs_are_found_wherever_they_stand_below_a_folder(make_run: Any, tmp_path: Path) -> None:
    folders = {make_run("a"), make_run("deep/er")}
    create_tracker({}, tmp_path / "runs" / ".hidden").finish()
    create_tracker({}, tmp_path / "runs" / "a" / "checkpoint-5").finish()
    assert set(find_runs(tmp_path)) == folders


def test_a_run_tells_its_state_steps_losses_and_settings(make_run: Any) -> None:
    run = load_run(make_run("a", state="failed"))
    assert (run.name, run.state, run.error, run.steps) == ("a", "failed", "out of memory", 3)
    assert (run.last("train/loss"), run.last("eval/loss"), run.last("absent")) == (1.0, 0.7, None)
    assert run.setting("peft.peft_method") == "lora" and run.setting("peft.absent") is None


def test_steps_are_those_of_the_trainer_and_not_seconds(make_run: Any) -> None:
    folder = make_run("a", state=None)
    tracker = create_tracker({}, folder)
    tracker.track({"system/cpu_percent": 1.0}, step=900)
    assert load_run(folder).steps == 3


def test_a_run_that_goes_on_is_running(make_run: Any) -> None:
    assert load_run(make_run("a", state=None)).state == "running"


def test_a_run_whose_process_was_killed_is_shown_as_killed_and_its_log_is_left_alone(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tuning.trackers.tracker_factory import create_tracker\n"
        "create_tracker({}, Path(sys.argv[1])).track(1.0, 'loss', 'train', step=4)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(ROOT)})
    log = RunFiles(tmp_path).events.read_bytes()
    assert killed.returncode == -signal.SIGKILL and load_run(tmp_path).state == "killed"
    assert RunFiles(tmp_path).events.read_bytes() == log


def test_of_a_run_on_another_machine_without_an_end_nothing_is_claimed(tmp_path: Path) -> None:
    log = EventLog(RunFiles(tmp_path).events)
    log.append("run", run_id="r", name="n", experiment="e", pid=1, pid_started="x", host="elsewhere")
    run = load_run(tmp_path)
    assert (run.state, run.host) == ("unknown", "elsewhere")


def test_a_run_without_a_configuration_tells_what_was_tracked(tmp_path: Path) -> None:
    tracker = create_tracker({}, tmp_path)
    tracker.set_params({"training": {"learning_rate": 0.5}}, name="config")
    tracker.finish()
    assert load_run(tmp_path).setting("training.learning_rate") == 0.5


def test_a_resumed_run_is_one_run_in_its_newest_state(make_run: Any, tmp_path: Path) -> None:
    make_run("a", steps=3, state="preempted")
    folder = make_run("a", steps=5, state="finished")
    run = load_run(folder)
    assert (run.state, run.steps, len(run.series["train/loss"])) == ("finished", 5, 5)
    assert list(find_runs(tmp_path)) == [folder]


def test_a_run_is_found_by_folder_and_by_name(make_run: Any, tmp_path: Path) -> None:
    folder = make_run("a", run_name="the name")
    for name in (str(folder), "the name", "a"):
        assert named_run(name, tmp_path).folder == folder


def test_a_misspelt_name_is_told_with_the_nearest(make_run: Any, tmp_path: Path) -> None:
    make_run("lora-r16")
    with pytest.raises(UserError, match="Did you mean 'lora-r16'"):
        named_run("lora-r61", tmp_path)


def test_a_name_of_several_runs_is_refused_with_their_folders(make_run: Any, tmp_path: Path) -> None:
    make_run("a", run_name="same")
    make_run("b", run_name="same")
    with pytest.raises(UserError, match="Give the folder"):
        named_run("same", tmp_path)


def test_the_table_has_a_line_for_each_run_and_their_links(make_run: Any, tmp_path: Path, capsys: Any) -> None:
    make_run("first")
    folder = make_run("second", state="failed")
    (folder / "tracking" / "links.json").write_text('{"aim": {"run_id": "x", "url": null, "open_with": "aim up"}}')
    assert tune(["runs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    header, first, second, *_ = shown.splitlines()
    assert " ".join(header.split()) == ("RUN STATE STEPS TRAIN LOSS EVAL LOSS MODEL METHOD LEARNING RATE BEGAN FOLDER")
    assert first.split()[:8] == ["first", "finished", "3", "1", "0.7", "tiny-llama", "lora", "0.0002"]
    assert second.split()[:2] == ["second", "failed"] and "second  aim  aim up" in shown


def test_only_the_newest_runs_are_shown_unless_all_are_asked_for(make_run: Any, tmp_path: Path, capsys: Any) -> None:
    for name in ("one", "two", "three"):
        make_run(name)
    tune(["runs", str(tmp_path), "--limit", "1"])
    shown = capsys.readouterr().out
    assert "three" in shown and "one" not in shown and "2 older runs" in shown
    tune(["runs", str(tmp_path), "--limit", "0"])
    assert "one" in capsys.readouterr().out


def test_programs_get_the_same_as_json(make_run: Any, tmp_path: Path, capsys: Any) -> None:
    folder = make_run("a")
    assert tune(["runs", str(tmp_path), "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["name"], run["state"], run["steps"], run["train_loss"], run["eval_loss"]) == (
        "a",
        "finished",
        3,
        1.0,
        0.7,
    )
    assert (run["folder"], run["model"], run["learning_rate"]) == (str(folder), "/models/tiny-llama", 2e-4)


def test_where_no_runs_are_that_is_said(tmp_path: Path, capsys: Any) -> None:
    assert tune(["runs", str(tmp_path)]) == 0
    assert f"no runs below {tmp_path}" in capsys.readouterr().out
    assert tune(["runs", str(tmp_path / "absent")]) == 1


def test_a_log_with_torn_and_foreign_lines_is_still_read(make_run: Any) -> None:
    folder = make_run("a")
    with RunFiles(folder).events.open("a") as log:
        log.write('{"seq": 99, "time": 1, "type": "news"}\n{"seq": 100, "ty')
    assert load_run(folder).steps == 3


def test_listing_runs_imports_nothing_dear(make_run: Any, tmp_path: Path) -> None:
    make_run("a")
    code = (
        "import sys; from tuning.cli import main; main(['runs', sys.argv[1]]);"
        "print([name for name in ('torch', 'transformers', 'pydantic', 'numpy') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout.endswith("\n[]\n"), shown.stderr


def test_the_code_in_the_documentation_works(make_run: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(make_run("a").parents[1])
    page = (ROOT / "docs" / "runs.md").read_text()
    exec(page[page.index("from pathlib import Path") :].split("```")[0], {})
    assert capsys.readouterr().out == "a finished 0.7 0.0002\n"
