from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import served
from playwright.sync_api import Page, expect

from tuning.cli import main as tune

pytest_plugins = ["browser"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(tiny_model, folder / "models" / "tiny llama")
    rows = [{"question": f"How many herons are {n} and {n}?", "answer": f"They are {2 * n}."} for n in range(600)]
    (folder / "rows").mkdir()
    (folder / "rows" / "herons.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served([folder], folder) as address:
        yield address


@pytest.fixture
def faults(page: Page, address: str) -> list[str]:
    """List what the browser complains of, and every request to another place than the server."""
    found: list[str] = []
    page.set_default_timeout(15_000)
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(address) else found.append(request.url))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    return found


def choose(page: Page, what: str, *names: str) -> None:
    page.locator(f"#pick-{what}").click()
    for name in names:
        page.locator("#browser-entries").get_by_role("button", name=name, exact=True).click()
    expect(page.locator("#browser")).to_be_hidden()


def copied(page: Page, what: str) -> str:
    page.locator(f"#copy-{what}").click()
    expect(page.locator(f"#copy-{what}")).to_have_text("Copied")
    return page.evaluate("navigator.clipboard.readText()")


def test_a_configuration_chosen_by_clicking_is_valid(
    page: Page, address: str, faults: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    page.goto(address)
    choose(page, "model", folder.name, "models", "tiny llama")
    expect(page.locator("#memory-verdict")).to_contain_text("Fits")
    page.locator("#browser").evaluate("browser => { browser.dataset.path = ''; }")
    choose(page, "data", folder.name, "rows", "herons.jsonl")
    page.locator("#method").select_option("lora")
    expect(page.locator("#config")).to_contain_text('"peft_method": "lora"')
    expect(page.locator("#config")).to_contain_text("herons.jsonl")
    expect(page.locator("#reasons")).to_contain_text("learning_rate")
    assert page.locator("#memory-bar .part").count() >= 4
    (folder / "config.json").write_text(copied(page, "config"))
    assert tune(["validate", "config.json"]) == 0
    assert copied(page, "command") == "python -m tuning.sft_trainer config.json"
    assert faults == []


def test_a_folder_of_rows_and_a_place_with_blanks_can_be_chosen(
    page: Page, address: str, faults: list[str], folder: Path
) -> None:
    page.goto(address)
    choose(page, "model", folder.name, "models", "tiny llama")
    page.locator("#pick-data").click()
    page.locator("#browser-up").click()
    page.locator("#browser-entries").get_by_role("button", name="rows", exact=True).click()
    page.get_by_role("button", name="Use this folder").click()
    page.locator("#config-file").fill("my run.json")
    expect(page.locator("#command")).to_have_text("python -m tuning.sft_trainer 'my run.json'")
    expect(page.locator("#config")).to_contain_text('"rows"')
    assert faults == []


def test_a_value_of_the_users_is_kept_and_a_wrong_one_is_named(page: Page, address: str, folder: Path) -> None:
    page.goto(address)
    choose(page, "model", folder.name, "models", "tiny llama")
    page.locator("#more").fill("learning_rate=0.5")
    expect(page.locator("#kept-list")).to_contain_text("learning_rate = 0.5")
    page.locator("#more").fill("lerning_rate=0.5")
    expect(page.locator("#problems")).to_contain_text("did you mean 'learning_rate'", ignore_case=True)
    expect(page.locator("#answer")).to_be_hidden()
    page.locator("#more").fill("")
    expect(page.locator("#answer")).to_be_visible()


def test_what_does_not_fit_is_said(page: Page, address: str, folder: Path) -> None:
    page.goto(address)
    choose(page, "model", folder.name, "models", "tiny llama")
    page.locator("#gpus").fill("1")
    page.locator("#gpu-memory").fill("1.2")
    page.locator("#more").fill("per_device_train_batch_size=4096\ngradient_checkpointing=false")
    expect(page.locator("#memory-verdict")).to_contain_text("Does not fit")
    expect(page.locator("#memory-bar .limit")).to_be_attached()


@pytest.mark.parametrize("width", [360, 700, 1280])
def test_nothing_is_wider_than_the_window(page: Page, address: str, folder: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address)
    choose(page, "model", folder.name, "models", "tiny llama")
    expect(page.locator("#answer")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_of_the_api_describes_every_route(page: Page, address: str, faults: list[str]) -> None:
    page.goto(f"{address}/docs")
    expect(page.locator("main")).to_contain_text("/recommend")
    for path in ("/files", "/rules", "/schema", "/health"):
        expect(page.locator("h2", has_text=path)).to_be_visible()
    expect(page.locator("main")).to_contain_text("num_gpus_per_node")
    assert faults == []
