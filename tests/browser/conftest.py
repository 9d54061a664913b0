"""The app in a real browser: one server a session with tiny models, one Chromium, a fresh page a test.

Chromium is the one that LUNGVAE_CHROMIUM names, else one on the PATH, else Playwright's own. Without any the
tests are skipped, unless LUNGVAE_REQUIRE_BROWSER=1, which turns the skip into a failure.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.running import environment_of, free_port, launched_chromium, running

TIMEOUT_MS = 30_000
PROCESSES: dict[str, int] = {}  # the servers' process ids by address


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is marked `browser`."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")


def _missing(reason: str) -> None:
    if os.environ.get("LUNGVAE_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def app_folders(
    tmp_path_factory: pytest.TempPathFactory, tiny_models: Path, tiny_data: Path
) -> dict[str, Path]:
    """The folders that the app under test is told of: models, runs, data and workspace."""
    base = tmp_path_factory.mktemp("app")
    folders = {"models": tiny_models, "data": tiny_data.parent}
    for name in ("runs", "workspace"):
        folders[name] = base / name
        folders[name].mkdir()
    return folders


@pytest.fixture(scope="session")
def app_url(
    tmp_path_factory: pytest.TempPathFactory,
    app_folders: dict[str, Path],
    chromium: Any,  # first of all: without a browser no server is started
) -> Iterator[str]:
    """Address of a running app, without a trailing slash; its log is shown when it does not start."""
    yield from served(tmp_path_factory.mktemp("server"), app_folders)


@pytest.fixture(scope="session")
def shipped_url(
    tmp_path_factory: pytest.TempPathFactory, app_folders: dict[str, Path], chromium: Any
) -> Iterator[str]:
    """Address of an app with the models that ship, whose pages have something to show, and no pixels."""
    base = tmp_path_factory.mktemp("shipped")
    own = {name: base / name for name in ("runs", "workspace")}
    for each in own.values():
        each.mkdir()
    yield from served(base, app_folders | own | {"models": ROOT / "models"})


def served(
    folder: Path,
    folders: dict[str, Path],
    *,
    python: Sequence[str | Path] = (sys.executable,),
    cwd: Path | None = None,
    base: Mapping[str, str] = os.environ,
) -> Iterator[str]:
    """An app with these folders, its log in `folder`, until the generator goes on."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*python, "-c", "from lungvae_core.cli import main; main()", "app", "--port", str(port)]
    environment = environment_of(base, folders)
    with running(command, url, environment, cwd=cwd or folder, log=folder / "server.log") as server:
        PROCESSES[url] = server.pid
        yield url


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium for the session (playwright.sync_api.Browser)."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        _missing("needs Playwright: pip install lungvae[browser]")
    with sync_playwright() as playwright:
        try:
            browser = launched_chromium(playwright)
        except Error as error:
            _missing(f"needs Chromium: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def errors() -> list[str]:
    """What the page under test wrote to the console as an error, and its uncaught exceptions."""
    return []


@pytest.fixture
def page(chromium: Any, errors: list[str]) -> Iterator[Any]:
    """A fresh 1366x768 page (playwright.sync_api.Page) whose errors are gathered in `errors`."""
    page = fresh_page(chromium, errors)
    yield page
    page.context.close()


def fresh_page(chromium: Any, errors: list[str], **settings: Any) -> Any:
    """A page of a context of its own; the caller closes `page.context`."""
    context = chromium.new_context(viewport={"width": 1366, "height": 768}, accept_downloads=True, **settings)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()

    def note(message: Any) -> None:
        if message.type == "error":
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return page


@pytest.fixture
def open_page(page: Any, app_url: str) -> Any:
    """open_page("/map?model=tiny-gvae") opens the address and waits until Streamlit has run the page."""

    def go(path: str) -> Any:
        page.goto(f"{app_url}{path}", wait_until="domcontentloaded")
        settled(page)
        trouble = page.locator("[data-testid='stException']")
        assert trouble.count() == 0, trouble.first.inner_text()
        return page

    return go


@pytest.fixture
def settled_page() -> Any:
    """settled_page(page) waits until no script is running."""
    return settled


def settled(page: Any) -> None:
    """Wait until the script of this page has run to its end."""
    # A model's first page reads all of it, which takes its time beside other tests; speed is for benchmarks.
    done = page.locator("[data-testid='stApp'][data-test-script-state='notRunning']")
    done.wait_for(timeout=3 * TIMEOUT_MS)


STILL = """() => {
    const busy = !document.querySelector("[data-testid='stApp'][data-test-script-state='notRunning']")
        || document.querySelector("[data-stale='true']")
        || [...document.querySelectorAll("summary")].some(each => getComputedStyle(each).opacity !== "1")
        || document.getAnimations().some(each => each instanceof CSSTransition);
    const now = performance.now();
    if (busy) window.lastBusy = now;
    return now - window.lastBusy > %d;
}"""


def still(page: Any, for_ms: int = 800) -> None:
    """Wait until nothing has run, been faded or been in transition for so long.

    A rerun fades what it will redraw, and an expander stays faded until the browser has drawn the charts: a
    page's colours are its own only then.
    """
    page.evaluate("() => { window.lastBusy = performance.now(); }")
    page.wait_for_function(STILL % for_ms)
