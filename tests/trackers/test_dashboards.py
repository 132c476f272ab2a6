"""The dashboards of a run, opened as its links say and looked at in Chromium.

`TUNING_SCREENSHOTS=docs/images pytest tests/trackers/test_dashboards.py` takes the pictures of docs/tracking.md anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dashboard_servers import dashboard, server
from playwright.sync_api import FloatRect, Locator, Page, expect

from tuning.trackers.params import Scalar
from tuning.trackers.replay import read_params, read_series
from tuning.trackers.run_files import read_json
from tuning.trackers.tracker_factory import create_tracker

pytest_plugins = ["browser"]
pytestmark = pytest.mark.slow

SCREENSHOTS = os.environ.get("TUNING_SCREENSHOTS")
REASON = "recommendations.training.learning_rate"
# MLflow's first visitors get a panel over the page.
NO_ASSISTANT = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""


@dataclass
class Trained:
    """A run that was trained for these tests: what it printed, its links, and what it recorded."""

    printed: str
    links: Mapping[str, Mapping[str, Any]]
    params: Mapping[str, Scalar]
    losses: list[tuple[int, float]]


@pytest.fixture(scope="module")
def trained(tiny_model: Path, mlflow_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("dashboards")
    rows = [{"prompt": f"Say {number}: ", "completion": str(number)} for number in range(40)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shutil.copy(mlflow_db, folder / "mlflow.db")
    settings = {
        "model_name_or_path": str(tiny_model),
        "training_data_path": "rows.jsonl",
        "output_dir": "out",
        "max_steps": 12,
        "logging_steps": 1,
        "trackers": ["aim", "mlflow"],
        "mlflow_tracking_uri": "sqlite:///mlflow.db",
        "experiment": "numbers",
        "run_name": "say-a-number",
        "finish_timeout": 120,
        "exp_metadata": {"team": "search", "ticket": {"number": 17}},
    }
    (folder / "run.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "tuning.sft_trainer", "run.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    tracking = folder / "out" / "tracking"
    params, series = read_params(tracking / "events.jsonl"), read_series(tracking / "events.jsonl")
    return Trained(done.stdout, read_json(tracking / "links.json"), params, series["train/loss"])


@pytest.fixture(scope="module")
def aim(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the command of the link to Aim; yields the address of the run's page."""
    link = trained.links["aim"]
    with dashboard(link["open_with"], tmp_path_factory.mktemp("aim_up")) as address:
        yield f"{address}/runs/{link['run_id']}"


@pytest.fixture(scope="module")
def mlflow(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the command of the link to MLflow; yields the server's address."""
    with dashboard(trained.links["mlflow"]["open_with"], tmp_path_factory.mktemp("mlflow_ui")) as address:
        yield address


@pytest.fixture
def aim_page(aim: str, page: Page) -> Page:
    page.goto(f"{aim}/overview")
    page.get_by_text("Skip", exact=True).click()  # an invitation over the page
    return page


@pytest.fixture
def mlflow_page(mlflow: str, trained: Trained, page: Page) -> Page:
    """Go the way of a user who has started the command: from the first page to the experiment and to the run."""
    page.add_init_script(NO_ASSISTANT)
    page.goto(mlflow)
    page.get_by_text("Model training", exact=True).click()
    page.get_by_role("link", name="numbers").first.click()
    page.get_by_role("link", name="say-a-number").first.click()
    expect(page.get_by_role("tab", name="Model metrics")).to_be_visible()
    assert trained.links["mlflow"]["run_id"] in page.url
    return page


def test_a_run_prints_the_links_that_it_keeps(trained: Trained) -> None:
    dashboards = trained.printed.partition("\nDashboards\n")[2]
    shown = dict(line.split(maxsplit=1) for line in dashboards.splitlines())
    assert shown == {name: link["open_with"] for name, link in trained.links.items()}
    assert set(shown) == {"aim", "mlflow"}


def test_aim_draws_the_loss(aim_page: Page, trained: Trained) -> None:
    aim_page.get_by_role("tab", name="Metrics").click()
    chart = aim_page.locator("[data-name='train/loss']")
    line = chart.locator("path.Line")
    chart.scroll_into_view_if_needed()  # Aim draws what is in sight
    expect(line).to_have_attribute("d", re.compile(r"^M.*L"))
    expect(line).to_be_visible()
    drawn = re.findall(r"[ML]([\d.]+),([\d.]+)", line.get_attribute("d") or "")
    assert is_drawing_of(trained.losses, [(float(x), float(y)) for x, y in drawn])
    take_picture(chart, "aim-loss")


def test_aim_shows_a_recommended_value_with_its_reason(aim_page: Page, trained: Trained) -> None:
    aim_page.locator("input[name=search]").first.fill(REASON)
    value, reason = trained.params[f"{REASON}.value"], trained.params[f"{REASON}.reason"]
    assert shown_beside(aim_page, f"{REASON}.value") == str(value)
    assert shown_beside(aim_page, f"{REASON}.reason") == f'"{reason}"'
    take_picture(aim_page, "aim-reason", {"x": 76, "y": 0, "width": 884, "height": 590})


def test_aim_shows_the_metadata_of_the_user(aim_page: Page) -> None:
    aim_page.locator("input[name=search]").first.fill("metadata.t")
    assert shown_beside(aim_page, "metadata.team") == '"search"'
    assert shown_beside(aim_page, "metadata.ticket.number") == "17"
    take_picture(aim_page, "aim-metadata", {"x": 76, "y": 120, "width": 884, "height": 330})


def test_mlflow_draws_the_loss(mlflow_page: Page, trained: Trained) -> None:
    mlflow_page.get_by_role("tab", name="Model metrics").click()
    mlflow_page.get_by_placeholder("Search metric charts").fill("train/loss")
    points = mlflow_page.locator(".js-plotly-plot path.point")
    expect(points).to_have_count(len(trained.losses))
    expect(mlflow_page.locator(".js-plotly-plot path.js-line").first).to_be_visible()
    places = [re.findall(r"[\d.]+", point.get_attribute("transform") or "") for point in points.all()]
    assert is_drawing_of(trained.losses, [(float(x), float(y)) for x, y in places])
    take_picture(mlflow_page, "mlflow-loss", {"x": 0, "y": 0, "width": 1000, "height": 630})


def test_mlflow_shows_a_recommended_value_with_its_reason(mlflow_page: Page, trained: Trained) -> None:
    search = mlflow_page.get_by_placeholder("Search parameters")
    search.fill(REASON)
    assert shown_beside(mlflow_page, f"{REASON}.value") == str(trained.params[f"{REASON}.value"])
    assert shown_beside(mlflow_page, f"{REASON}.reason") == trained.params[f"{REASON}.reason"]
    search.evaluate("field => field.scrollIntoView({block: 'start'})")
    take_picture(mlflow_page, "mlflow-reason", {"x": 0, "y": 0, "width": 780, "height": 580})


def test_mlflow_shows_the_metadata_of_the_user(mlflow_page: Page) -> None:
    search = mlflow_page.get_by_placeholder("Search parameters")
    search.fill("metadata.t")
    assert shown_beside(mlflow_page, "metadata.team") == "search"
    assert shown_beside(mlflow_page, "metadata.ticket.number") == "17"
    search.evaluate("field => field.scrollIntoView({block: 'center'})")
    take_picture(mlflow_page, "mlflow-metadata", {"x": 198, "y": 400, "width": 582, "height": 330})


def test_the_page_of_a_run_on_an_mlflow_server_opens(mlflow: str, run_dir: Path, page: Page) -> None:
    link = link_of_a_short_run("mlflow", run_dir, mlflow_tracking_uri=mlflow)
    page.add_init_script(NO_ASSISTANT)
    page.goto(link["url"])
    expect(page.get_by_role("heading", name="short")).to_be_visible()
    expect(page.get_by_role("link", name="train/loss")).to_be_visible()
    # The page is the one of a training.
    expect(page.get_by_role("link", name="Model registry")).to_be_visible()


def test_the_command_for_a_run_on_an_aim_server_opens_it(run_dir: Path, tmp_path: Path, page: Page) -> None:
    (tmp_path / "served").mkdir()
    command = "aim init --repo . && exec aim server"
    with server(["sh", "-c", f"{command} --repo . --host 127.0.0.1 --port $PORT"], tmp_path / "served") as address:
        port = int(address.rpartition(":")[2])
        link = link_of_a_short_run("aim", run_dir, aim_remote_server_ip="127.0.0.1", aim_remote_server_port=port)
    assert "# on 127.0.0.1" in link["open_with"]
    with dashboard(link["open_with"], tmp_path / "served") as address:
        page.goto(f"{address}/runs/{link['run_id']}/metrics")
        expect(page.locator("[data-name='train/loss'] path.Line")).to_have_attribute("d", re.compile(r"^M.*L"))


@pytest.mark.parametrize("name", ["tensorboard", "trackio"])
def test_the_command_of_a_link_opens_the_run(name: str, run_dir: Path, tmp_path: Path, page: Page) -> None:
    link = link_of_a_short_run(name, run_dir)
    with dashboard(link["open_with"], tmp_path) as address:
        page.goto(f"{address}/?project=short" if name == "trackio" else address)
        expect(page.get_by_text("short").first).to_be_visible()
        expect(page.get_by_text("loss").first).to_be_visible()


def link_of_a_short_run(name: str, run_dir: Path, **options: Any) -> Mapping[str, Any]:
    """Track a few steps, without a training; returns the link to the run."""
    config = {"trackers": name, "experiment": "short", "run_name": "short", "finish_timeout": 120, **options}
    tracker = create_tracker(config, run_dir)
    for step in range(1, 6):
        tracker.track(1.0 / step, "loss", "train", step=step)
    tracker.finish()
    return read_json(run_dir / "tracking" / "links.json")[name]


def shown_beside(page: Page, name: str) -> str:
    """Return the text that follows a name in a table of names and values, once the name is there."""
    expect(page.get_by_text(name, exact=True)).to_be_visible()
    texts = [line.strip() for line in re.split(r"[\n\t]+", page.locator("body").inner_text()) if line.strip()]
    return texts[texts.index(name) + 1]


def is_drawing_of(series: list[tuple[int, float]], points: list[tuple[float, float]]) -> bool:
    """Say whether the points of a chart, counted from its upper left corner, stand where the values of a series do."""
    (first_step, first), (last_step, last) = series[0], series[-1]
    (left, top), (right, bottom) = points[0], points[-1]
    values = [
        ((step - first_step) / (last_step - first_step), (value - first) / (last - first)) for step, value in series
    ]
    drawn = [((x - left) / (right - left), (y - top) / (bottom - top)) for x, y in points]
    return [place for value in values for place in value] == pytest.approx([p for d in drawn for p in d], abs=0.02)


def take_picture(shown: Page | Locator, name: str, clip: FloatRect | None = None) -> None:
    """Keep a picture for the documentation, where that was asked for."""
    if SCREENSHOTS:
        path = Path(SCREENSHOTS) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shown.screenshot(path=path) if isinstance(shown, Locator) else shown.screenshot(path=path, clip=clip)
