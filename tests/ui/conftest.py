"""A real JupyterLab (and Notebook 7) with a real model in a subprocess, and a real Chromium over Playwright.

Without a Chromium or Playwright these tests fail, they are never skipped. The model is `clockwork`'s unless a test says another.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import clockwork
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from .labs import Lab, default, start
from .scripts import endless, reshaped, scripted
from .tabs import PATIENCE_MS, PageErrors, Tabs
from .user import Ui

__all__ = ["endless", "reshaped", "scripted"]  # fixtures

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SMALL = "smollm2-135m"
expect.set_options(timeout=PATIENCE_MS)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "own_page(asks_the_doctor=False): has a browser tab of its own, see tabs.py")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    if call.when == "setup":
        item.failed = False  # type: ignore[attr-defined]  # from a first try
    if outcome.get_result().failed:  # type: ignore[attr-defined]
        item.failed = True  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def jp_server_cleanup() -> Iterator[None]:
    """Overrides pytest-jupyter's: it closes the event loop that Playwright's sync API runs."""
    yield


@pytest.fixture
def jp_asyncio_loop() -> Iterator[None]:
    yield None


# ---------------------------------------------------------------------------------------------- servers


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory, models_home: Path) -> Path:
    """The model folder of each server."""
    return models_home / "models"


@pytest.fixture(scope="package")
def clock(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """The folder of a model that answers `Yes.` at once."""
    return clockwork.build(tmp_path_factory.mktemp("models") / "clockwork", models / SMALL / "nf4")


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory, models: Path, clock: Path) -> Iterator[Lab]:
    server = start("jupyterlab", tmp_path_factory.mktemp("lab"), models, default(clock))
    # while the browser is starting
    loading = threading.Thread(target=server.load)
    loading.start()
    yield server
    loading.join()
    server.stop()


@pytest.fixture(scope="package")
def notebook7(tmp_path_factory: pytest.TempPathFactory, models: Path, clock: Path) -> Iterator[Lab]:
    server = start("notebook", tmp_path_factory.mktemp("notebook7"), models, default(clock))
    yield server
    server.stop()


# ---------------------------------------------------------------------------------------------- the browser


@pytest.fixture(scope="package")
def tabs() -> Iterator[Tabs]:
    # scoped to this package, not the session: while Playwright runs, no other test can run an event loop
    path = os.environ.get("JUPYTER_MISTRAL_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "no Chromium: install it (apt-get install chromium) or name it in JUPYTER_MISTRAL_CHROMIUM"
    with sync_playwright() as p:
        browser: Browser = p.chromium.launch(executable_path=path, args=FLAGS)
        all_tabs = Tabs(browser)
        yield all_tabs
        all_tabs.close()
        browser.close()


@pytest.fixture
def page_errors() -> PageErrors:
    return PageErrors()


@pytest.fixture
def page(tabs: Tabs, request: pytest.FixtureRequest, tmp_path: Path, page_errors: PageErrors) -> Iterator[Page]:
    mark = request.node.get_closest_marker("own_page")
    if mark:
        page = tabs.own(bool(mark.kwargs.get("asks_the_doctor")))
        page.on("pageerror", lambda error: page_errors.append(str(error)))
    else:
        page = tabs.shared(page_errors.append)
    yield page
    has_failed = getattr(request.node, "failed", False)
    if has_failed:
        page.screenshot(path=tmp_path / "failed.png")
        print(f"screenshot: {tmp_path / 'failed.png'}")
    if not page.is_closed():
        page.unroute_all(behavior="ignoreErrors")  # nobody waits for these answers any longer
    if mark:
        page.close()
    elif has_failed:
        tabs.drop()
    assert page_errors.unexpected() == []


@pytest.fixture
def ui(page: Page, lab: Lab, tabs: Tabs, request: pytest.FixtureRequest) -> Iterator[Ui]:
    is_shared = request.node.get_closest_marker("own_page") is None
    ui = Ui(page, lab, tabs if is_shared else None)
    yield ui
    if not getattr(request.node, "failed", False) and is_shared:
        page.unroute_all(behavior="ignoreErrors")
        rest = tabs.clean(ui.has_run)
        if rest:
            print("left over in the page:", *rest)
    lab.forget()
