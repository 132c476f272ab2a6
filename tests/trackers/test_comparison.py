from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuning.cli import main as tune
from tuning.trackers.tracker_factory import create_tracker


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., str]:
    """Make a finished run with a configuration; returns its name."""

    def make_run(name: str, training: dict[str, Any], loss: float, digest: str = "ab") -> str:
        folder = tmp_path / name
        tracker = create_tracker({"run_name": name}, folder)
        values = {"training": {"output_dir": str(folder), "seed": 42, **training}}
        sources = {f"training.{key}": "command line" for key in training}
        (folder / "config.json").write_text(json.dumps({"values": values, "sources": sources}))
        tracker.set_params({"training": {"sha256": digest}}, name="data")
        tracker.set_params({"host": name, "packages": {"torch": "2.13"}}, name="environment")
        tracker.track({"train/loss": 2 * loss, "system/cpu_percent": 9.0}, step=1)
        tracker.track({"train/loss": loss}, step=2)
        tracker.finish()
        return name

    return make_run


@pytest.fixture
def compared(tmp_path: Path, capsys: Any) -> Callable[..., dict[str, Any]]:
    """Compare runs by their names."""

    def compared(*names: str) -> dict[str, Any]:
        assert tune(["compare", *names, "--folder", str(tmp_path), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return compared


def test_only_differing_settings_are_told_with_their_sources(make_run: Any, compared: Any) -> None:
    names = (
        make_run("a", {"learning_rate": 0.1, "bf16": True}, 1.0),
        make_run("b", {"learning_rate": 0.2, "bf16": True}, 1.0),
    )
    source = "command line"
    assert compared(*names)["settings"] == {
        "training.learning_rate": [{"value": 0.1, "source": source}, {"value": 0.2, "source": source}]
    }


def test_a_setting_that_one_run_lacks_differs(make_run: Any, compared: Any) -> None:
    settings = compared(make_run("a", {}, 1.0), make_run("b", {"bf16": True}, 1.0))["settings"]
    assert settings["training.bf16"] == [{"value": None, "source": None}, {"value": True, "source": "command line"}]


def test_other_data_is_told_and_another_machine_is_not(make_run: Any, compared: Any) -> None:
    origins = compared(make_run("a", {}, 1.0), make_run("b", {}, 1.0, digest="cd"))["origins"]
    assert origins == {"data.training.sha256": ["ab", "cd"]}


def test_final_metrics_stand_side_by_side(make_run: Any, compared: Any) -> None:
    found = compared(make_run("a", {}, 1.0), make_run("b", {}, 0.5), make_run("c", {}, float("nan")))
    assert found["metrics"] == {"train/loss": [1.0, 0.5, "NaN"]}
    assert [run["name"] for run in found["runs"]] == ["a", "b", "c"]


def test_a_person_gets_three_tables(make_run: Any, tmp_path: Path, capsys: Any) -> None:
    folders = [str(tmp_path / make_run(name, {"learning_rate": rate}, rate)) for name, rate in (("a", 0.1), ("b", 0.2))]
    assert tune(["compare", *folders]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["training.learning_rate", "0.1", "(command", "line)", "0.2", "(command", "line)"] in lines
    assert ["train/loss", "0.1", "0.2"] in lines and ["state", "finished", "finished"] in lines and ["none"] in lines


def test_a_single_run_and_an_unknown_one_are_refused(make_run: Any, tmp_path: Path, capsys: Any) -> None:
    make_run("a", {}, 1.0)
    with pytest.raises(SystemExit):
        tune(["compare", "a", "--folder", str(tmp_path)])
    assert tune(["compare", "a", "absent", "--folder", str(tmp_path)]) == 1
    assert "neither the folder nor the name" in capsys.readouterr().err
