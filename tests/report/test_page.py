from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_folders_with_reports import make_run

from tuning.cli import main as tune
from tuning.report.data import load_report
from tuning.report.page import report_page, write_report
from tuning.run import _write_report
from tuning.trackers.tracker_factory import create_tracker

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)>\"'&lt;\ud800"
EXPECTED_SECTIONS = ["curves", "evaluation", "predictions", "recommendations", "configuration", "data", "links"]
EXPECTED_SECTIONS += ["environment", "origin"]


class Tags(HTMLParser):
    """Collect the tags of a page with their attributes, and whatever stands between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def test_the_page_has_every_section(run: Path) -> None:
    tags = Tags(write_report(run).read_text())
    assert [attributes["id"] for tag, attributes in tags.tags if tag == "section"] == EXPECTED_SECTIONS


@pytest.mark.parametrize(
    "text",
    [
        "because plain",
        "command line",
        "aim up plain",
        "exact_match 0.5",
        "-1.5",
        "measured",
        "tune reproduce",
        "finished",
    ],
)
def test_the_page_tells_what_the_files_hold(run: Path, text: str) -> None:
    assert text in " ".join(Tags(write_report(run).read_text()).texts)


def test_no_text_of_a_file_becomes_html(tmp_path: Path) -> None:
    harmless = Tags(report_page(load_report(make_run(tmp_path / "plain"))))
    page = report_page(load_report(make_run(tmp_path / "hostile", name=HOSTILE[:-1], text=HOSTILE)))
    found = Tags(page)
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in harmless.tags]
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert "onerror=alert(1)" in " ".join(found.texts)


def test_nothing_is_loaded_from_anywhere(run: Path) -> None:
    page = write_report(run).read_text()
    loaded = [attributes for _, attributes in Tags(page).tags if {"src", "href"} & set(attributes)]
    assert loaded == [{"rel": "icon", "href": "data:,"}]
    assert "default-src 'none'" in page and not re.search(r"@import|url\(", page)


def test_a_run_that_wrote_little_has_a_page(tmp_path: Path) -> None:
    create_tracker({"run_name": "bare"}, tmp_path).finish("failed", "it broke")
    page = write_report(tmp_path).read_text()
    assert "bare" in page and "it broke" in page and 'class="state failed"' in page


@pytest.mark.parametrize(
    "damaged", ["[]", "{", '{"values": [], "sources": 3, "attempts": 1}', '[1, {"patch": 2}]', "null"]
)
def test_damaged_files_leave_the_rest_of_the_page(run: Path, damaged: str) -> None:
    for file in (*run.glob("*.json"), *run.glob("*.jsonl"), run / "tracking" / "links.json"):
        file.write_text(damaged)
    assert 'id="curves"' in write_report(run).read_text()


def test_attempts_are_told_one_by_one(tmp_path: Path) -> None:
    create_tracker({}, tmp_path).finish("preempted", "stopped by SIGTERM")
    create_tracker({}, tmp_path).finish()
    report = load_report(tmp_path)
    assert [one["state"] for one in report.attempts] == ["preempted", "finished"]
    assert report.seconds is not None and report.seconds < 60


def test_scores_that_went_to_a_table_are_taken_from_the_record(run: Path) -> None:
    (run / "eval.json").unlink()
    tracker = create_tracker({}, run)
    tracker.track({"eval_loss": 1.25}, stage="final")
    tracker.track({"eval_loss": 2.5}, stage="baseline")
    tracker.finish()
    assert load_report(run).evaluation == {"eval_loss": 1.25, "baseline": {"eval_loss": 2.5}, "difference": {}}


def test_the_command_writes_where_it_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(["report", str(run), "--output", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 10_000 and not (run / "report.html").exists()


def test_what_is_no_run_and_what_cannot_be_written_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(["report", str(tmp_path)]) == 1
    assert "is no run folder" in capsys.readouterr().err
    assert tune(["report", str(run), "--output", str(tmp_path / "absent" / "page.html")]) == 1
    assert "cannot be written: No such file" in capsys.readouterr().err


def test_a_fault_of_the_report_is_none_of_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _write_report(tmp_path / "absent")
    assert "no report is written" in caplog.text


def test_a_long_run_has_a_small_page_soon(tmp_path: Path) -> None:
    tracker = create_tracker({}, tmp_path)
    for step in range(3_000):
        tracker.track({"train/loss": 1.0 / (step + 1), "train/grad_norm": float(step % 7)}, step=step)
    tracker.finish()
    began = time.process_time()
    file = write_report(tmp_path)
    assert time.process_time() - began < 1.0
    assert file.stat().st_size < 400_000


def test_several_runs_stand_side_by_side(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_run(tmp_path / "other", losses=[3.0, 2.0], text=HOSTILE)
    (other / "config.json").write_text(json.dumps({"values": {"training": {"learning_rate": 0.5}}, "sources": {}}))
    assert tune(["compare", str(run), str(other), "--html", str(tmp_path / "both.html")]) == 0
    found = Tags((tmp_path / "both.html").read_text())
    texts = " ".join(found.texts)
    assert f"say-a-number ({run})" in texts and "training.learning_rate" in texts and "0.01 (command line)" in texts
    assert [tag for tag, _ in found.tags].count("script") == 1
