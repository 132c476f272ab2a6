"""The report in a real browser.

`TUNING_SCREENSHOTS=docs/images pytest tests/report/test_report_in_chromium.py` takes the pictures of docs/report.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect
from run_folders_with_reports import LOSSES, make_run

from tuning.cli import main as tune
from tuning.report.page import write_report
from tuning.trackers.replay import read_series

pytest_plugins = ["browser"]
pytestmark = pytest.mark.slow

SCREENSHOTS = os.environ.get("TUNING_SCREENSHOTS")
HOSTILE = "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"
DOTS = """
chart => [...chart.querySelectorAll(".series")].map(series => ({
  name: series.dataset.name,
  at: [...series.querySelectorAll(".dot")].map(dot => {
    const box = dot.getBoundingClientRect(), area = chart.querySelector(".area svg").getBoundingClientRect();
    return [(box.x + box.width / 2 - area.x) / area.width, 1 - (box.y + box.height / 2 - area.y) / area.height];
  }),
}))
"""
"""Says where the browser has put each dot: shares of the width from the left and of the height from below."""


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """List what the browser complains of, and every request but that for the page itself."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text))
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", lambda request: None if request.is_navigation_request() else found.append(request.url))
    return found


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run that wrote its own report; returns its folder."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [{"prompt": f"Say {number}: ", "completion": str(number)} for number in range(60)]
    for name, part in (("train", rows[:48]), ("validation", rows[48:])):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in part))
    settings: dict[str, Any] = {
        "model_name_or_path": str(tiny_model),
        "training_data_path": "train.jsonl",
        "validation_data_path": "validation.jsonl",
        "output_dir": "first",
        "run_name": "say-a-number",
        "max_steps": 40,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 5,
        "learning_rate": 0.003,
        "baseline": True,
        "generation_metrics": ["exact_match"],
        "system_metrics_interval": 1,
        "use_cpu": True,
    }
    (folder / "run.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "tuning.sft_trainer", "run.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return folder / "first"


def opened(page: Page, file: Path) -> Page:
    page.goto(file.as_uri())
    return page


def dots(page: Page, title: str) -> dict[str, list[list[float]]]:
    chart = page.locator(".chart", has=page.get_by_text(title, exact=True))
    return {series["name"]: series["at"] for series in chart.evaluate(DOTS)}


def test_the_report_of_a_run_draws_its_recorded_losses(page: Page, trained: Path, complaints: list[str]) -> None:
    recorded = read_series(trained / "tracking" / "events.jsonl")
    losses = recorded["train/loss"]
    drawn = dots(opened(page, trained / "report.html"), "Loss")
    assert (len(drawn["training"]), len(drawn["held out"])) == (len(losses), len(recorded["eval/loss"]))
    # The axes are linear: any two points give the scale, and all the others have to agree with it.
    first, lowest = 0, min(range(len(losses)), key=lambda index: losses[index][1])
    (x0, y0), (x1, y1) = drawn["training"][first], drawn["training"][lowest]
    per_loss = (y1 - y0) / (losses[lowest][1] - losses[first][1])
    per_step = (x1 - x0) / (losses[lowest][0] - losses[first][0])
    for name, points in (("training", losses), ("held out", recorded["eval/loss"])):
        for (step, loss), (x, y) in zip(points, drawn[name], strict=True):
            assert x == pytest.approx(x0 + per_step * (step - losses[first][0]), abs=0.01)
            assert y == pytest.approx(y0 + per_loss * (loss - losses[first][1]), abs=0.01)
    assert complaints == []


def test_pointing_at_a_chart_shows_the_values(page: Page, tmp_path: Path, complaints: list[str]) -> None:
    opened(page, write_report(make_run(tmp_path)))
    area = page.locator(".area").first
    box = area.bounding_box()
    assert box is not None
    area.hover(position={"x": box["width"] * 0.41, "y": 30})
    expect(page.locator(".tip").first).to_have_text(f"step 3\n{LOSSES[2]}  training\n2.2  held out")
    page.mouse.move(0, 0)
    expect(page.locator(".tip").first).to_be_hidden()
    area.press("ArrowRight")
    area.press("ArrowRight")
    expect(page.locator(".tip").first).to_contain_text("step 5")
    assert complaints == []


@pytest.mark.parametrize("width", [360, 700, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_can_be_read(
    page: Page, trained: Path, complaints: list[str], width: int, scheme: Literal["light", "dark"]
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 1000})
    opened(page, trained / "report.html")
    for summary in page.locator("summary").all():
        summary.click()
    for area in page.locator(".area").all():
        area.hover()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    assert (brightness(ground) > brightness(ink)) is (scheme == "light")
    assert page.locator(".chart").count() >= 7 and page.locator(".line").first.bounding_box() is not None
    assert complaints == []


def test_hostile_texts_do_nothing(page: Page, tmp_path: Path, complaints: list[str]) -> None:
    run = make_run(tmp_path / "a", name=HOSTILE, text=HOSTILE)
    opened(page, write_report(run))
    assert page.evaluate("window.harmed") is None and page.title() == HOSTILE
    assert tune(["compare", str(run), str(make_run(tmp_path / "b", text="b")), "--html", str(tmp_path / "c.html")]) == 0
    opened(page, tmp_path / "c.html")
    page.locator(".area").first.hover()
    assert page.evaluate("window.harmed") is None
    assert complaints == []


@pytest.mark.parametrize("width", [360, 1400])
def test_runs_side_by_side_share_a_chart(page: Page, tmp_path: Path, complaints: list[str], width: int) -> None:
    runs = [str(make_run(tmp_path / name, name=name, losses=losses)) for name, losses in ALIKE.items()]
    assert tune(["compare", *runs, "--html", str(tmp_path / "page.html")]) == 0
    page.set_viewport_size({"width": width, "height": 900})
    drawn = dots(opened(page, tmp_path / "page.html"), "Loss, training")
    assert {name: len(points) for name, points in drawn.items()} == {name: len(one) for name, one in ALIKE.items()}
    colors = page.locator(".charts .series").evaluate_all(
        "all => all.slice(0, 3).map(one => getComputedStyle(one).color)"
    )
    assert len(set(colors)) == 3
    for area in page.locator(".area").all():
        area.hover()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []


@pytest.mark.skipif(SCREENSHOTS is None, reason="TUNING_SCREENSHOTS names no folder for the pictures")
@pytest.mark.parametrize(
    ("scheme", "width", "height"), [("light", 1400, 1000), ("dark", 1400, 1000), ("dark", 360, 800)]
)
def test_pictures_for_the_page(
    page: Page, trained: Path, scheme: Literal["light", "dark"], width: int, height: int
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": height})
    opened(page, trained / "report.html")
    page.locator(".area").first.hover()
    page.screenshot(path=Path(str(SCREENSHOTS)) / f"report-{scheme}-{width}.png")


ALIKE = {"slow-rate": [3.0, 2.8, 2.7], "fast-rate": [3.0, 2.0, 1.4], "faster-rate": [3.0, 3.5, 6.0, 5.0]}


def brightness(color: str) -> float:
    return sum(float(part) for part in color.removeprefix("rgb(").removesuffix(")").split(","))
