from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, sync_playwright

pytest_plugins = ["browser"]
pytestmark = pytest.mark.slow


@pytest.fixture
def no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide every browser and every way to one."""
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))


def test_a_page_is_drawn(page: Page) -> None:
    page.set_content("<b id=a></b><script>document.getElementById('a').innerText = 6 * 7</script>")
    assert page.locator("#a").inner_text() == "42"


def test_a_page_reaches_this_machine_alone(page: Page) -> None:
    with pytest.raises(Error, match="ERR_FAILED"):
        page.goto("http://192.0.2.1/")


def test_without_a_browser_a_test_says_what_to_install(no_browser: None) -> None:
    from browser import launch_chromium

    with sync_playwright() as playwright, pytest.raises(FileNotFoundError, match="apt-get install chromium"):
        launch_chromium(playwright)


def test_without_a_way_to_install_one_the_command_says_what_to_do(
    no_browser: None, capfd: pytest.CaptureFixture[str]
) -> None:
    from browser import main

    assert main() == 1
    assert "error: no Chromium that starts" in capfd.readouterr().err
