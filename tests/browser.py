"""A headless Chromium: the fixture `page` for tests that write `pytest_plugins = ["browser"]`.

As a command, `python tests/browser.py` makes sure that there is a Chromium, and installs one where there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error, Page, Playwright, Route, ViewportSize, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = (
    "no Chromium that starts. Install one: `apt-get install chromium` on Debian, elsewhere "
    "`python -m playwright install --with-deps chromium` or any browser that stands on PATH as " + ", ".join(NAMES)
)
VIEWPORT: ViewportSize = {"width": 1280, "height": 800}

expect.set_options(timeout=60_000)  # milliseconds; playwright's 5 s are too few for two busy cores


@pytest.fixture
def page() -> Iterator[Page]:
    """Open an empty page in a browser of its own, which reaches this machine alone."""
    # Per test: while playwright runs, asyncio.run refuses to work in this thread.
    with sync_playwright() as playwright:
        try:
            browser = launch_chromium(playwright)
        except FileNotFoundError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        page = browser.new_page(viewport=VIEWPORT, reduced_motion="reduce")
        page.set_default_timeout(60_000)
        page.route("**/*", refuse_strangers)
        yield page
        browser.close()


def launch_chromium(playwright: Playwright) -> Browser:
    """Start the first Chromium that does: those on PATH, then playwright's own.

    Raises:
        FileNotFoundError: none starts; the message says what to install.
    """
    refusals = []
    for path in (*filter(None, map(shutil.which, NAMES)), None):
        try:
            # Without Chromium's sandbox, which root and most containers cannot have; the pages are our own.
            return playwright.chromium.launch(executable_path=path, args=["--disable-dev-shm-usage"])
        except Error as error:
            refusals.append(f"{path or 'the one of playwright'}: {error.message.splitlines()[0]}")
    raise FileNotFoundError("\n".join([MISSING, *refusals]))


def refuse_strangers(route: Route) -> None:
    """Let a request pass to this machine only, so that a page looks the same with and without a network."""
    host = urlsplit(route.request.url).hostname
    if host in ("127.0.0.1", "localhost", None):
        route.continue_()
    else:
        route.abort()


def chromium_starts() -> bool:
    """Say whether the tests have a browser."""
    with sync_playwright() as playwright:
        try:
            launch_chromium(playwright).close()
        except FileNotFoundError:
            return False
    return True


def ways_to_install() -> Iterator[list[list[str]]]:
    """Yield the commands of each way to a Chromium that this user may go."""
    yield [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        yield [["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]]


def main() -> int:
    """Install a Chromium unless one starts already; returns the exit code."""
    if chromium_starts():
        return 0
    for commands in ways_to_install():
        for command in commands:
            print("==> " + " ".join(command[-3:]), flush=True)
            if subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}).returncode:
                break
        if chromium_starts():
            return 0
    print(f"error: {MISSING}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
