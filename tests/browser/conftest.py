"""A real Chromium for the tests in this folder; without one they are skipped, and that is said."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from core.store import Store
from tests.browser import stage

VIEWPORTS = {"desktop": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}

CANDIDATES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
)
MISSING = "no Chromium: apt-get install chromium, or set GRAFT_CHROMIUM to the path of one"


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome on this machine; GRAFT_CHROMIUM, if set, decides alone."""
    chosen = os.environ.get("GRAFT_CHROMIUM")
    return next(filter(None, map(shutil.which, [chosen] if chosen else CANDIDATES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, once a module: Playwright holds the main thread's event loop while it is open.

    Skips where there is none; with GRAFT_REQUIRE_BROWSER set it fails instead.
    """
    path = find_chromium()
    if path is None:
        (pytest.fail if os.environ.get("GRAFT_REQUIRE_BROWSER") else pytest.skip)(MISSING)
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, as which containers and build machines run it.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page in a context of its own: desktop and light, or as an indirect parameter asks.

    >>> @pytest.mark.parametrize("page", ["desktop light", "phone dark"], indirect=True)
    """
    viewport, color_scheme = getattr(request, "param", "desktop light").split()
    context = browser.new_context(viewport=VIEWPORTS[viewport], color_scheme=color_scheme)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Where the real site is served, without a worker."""
    with stage.served(tmp_path_factory.mktemp("data")) as address:
        yield address


@pytest.fixture
def store(address, monkeypatch, tmp_path_factory) -> Store:
    """An empty store that the running server works in too."""
    monkeypatch.setenv("GRAFT_DATA", str(tmp_path_factory.mktemp("data")))
    return Store()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [r for r in terminalreporter.getreports("skipped") if MISSING in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} browser tests were skipped: {MISSING}.")
