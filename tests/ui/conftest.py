"""A real JupyterLab (and Notebook 7) with the real embedded model in a subprocess, and a real Chromium over Playwright.

Without a Chromium or Playwright these tests fail, they are never skipped.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "ui-tests"
ASK = re.compile(r"/mistral/api/chats/[^/]+/ask")
ANSWER_MS = 300_000  # a busy machine loads the model and answers within this
PATIENCE_MS = 120_000  # and draws, starts kernels and moves files within this
expect.set_options(timeout=PATIENCE_MS)
KERNEL_IDLE = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


@pytest.fixture(autouse=True)
def jp_server_cleanup() -> Iterator[None]:
    """Overrides pytest-jupyter's: it closes the event loop that Playwright's sync API runs."""
    yield


@pytest.fixture
def jp_asyncio_loop() -> Iterator[None]:
    yield None


class Lab(NamedTuple):
    """A running server: its address, its root folder, its process, the home of models and chats."""

    url: str
    root: Path
    process: subprocess.Popen[bytes]
    home: Path

    def ask(self, path: str, method: str = "GET") -> Any:
        headers = {"Authorization": f"token {TOKEN}"}
        request = urllib.request.Request(f"{self.url}{path}", headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.loads(reply.read() or "null")

    def end_kernels(self) -> None:
        """So that no test finds what another one's cells have left."""
        for session in self.ask("/api/sessions"):
            with contextlib.suppress(urllib.error.HTTPError):  # its kernel has ended by itself
                self.ask(f"/api/sessions/{session['id']}", "DELETE")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            # Jupyter's server waits for ever for a thread of AnyIO's if it ends while it reads a file for a page
            self.process.kill()
            self.process.wait(60)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    # of this package, not of the session: while Playwright runs, no other test can run an event loop of its own
    path = os.environ.get("JUPYTER_MISTRAL_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "no Chromium: install it (apt-get install chromium) or name it in JUPYTER_MISTRAL_CHROMIUM"
    with sync_playwright() as p:
        found = p.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


def _start(module: str, home: Path, models_home: Path, *more: str, port: int = 0) -> Lab:
    """A server that reads none of the user's settings. A `home` and a `port` of before: that server comes back."""
    root, config, mistral = home / "root", home / "config", home / "mistral"
    if not port:
        root.mkdir()
        mistral.mkdir(mode=0o700)
        (mistral / "models").symlink_to(models_home / "models")
        (config / "labconfig").mkdir(parents=True)
    # the 'Jupyter news' toast covers the panel's buttons
    disabled = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (config / "labconfig" / "page_config.json").write_text(json.dumps(disabled))
    env = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_MISTRAL_HOME": str(mistral),
    }
    # port 0: a free one that the server picks itself, so that nobody takes it in between
    command = [sys.executable, "-m", module, f"--port={port}", "--ServerApp.port_retries=0"]
    command += ["--no-browser", "--allow-root"]
    command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}", *more]
    log = home / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
    told = home / "runtime" / f"jpserver-{process.pid}.json"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        # not a file that is half written
        with contextlib.suppress(OSError, ValueError):
            url = f"http://127.0.0.1:{json.loads(told.read_text())['port']}"
            urllib.request.urlopen(f"{url}/api", timeout=10).close()
            return Lab(url, root, process, mistral)
        time.sleep(0.25)
    process.kill()
    pytest.fail(f"the server did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory, models_home: Path) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("lab")
    found = _start("jupyterlab", home, models_home, "--LabApp.expose_app_in_browser=True")
    yield found
    found.stop()


@pytest.fixture(scope="package")
def notebook7(tmp_path_factory: pytest.TempPathFactory, models_home: Path) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("notebook7")
    found = _start("notebook", home, models_home, "--JupyterNotebookApp.expose_app_in_browser=True")
    yield found
    found.stop()


class PageErrors(list[str]):
    """What went wrong in the page; none may have, unless a test brings about what fails there and says so."""

    are_expected = False


@pytest.fixture
def page_errors() -> PageErrors:
    return PageErrors()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path, page_errors: PageErrors) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: page_errors.append(str(error)))
    yield page
    if getattr(request.node, "failed", False):
        page.screenshot(path=tmp_path / "failed.png")
        print(f"screenshot: {tmp_path / 'failed.png'}")
    page.unroute_all(behavior="ignoreErrors")  # answers to a page that goes away are nobody's
    context.close()
    # Notebook 7 has one of its own, seen without this extension too
    found = [error for error in page_errors if "reading 'schema'" not in error]
    assert page_errors.are_expected or found == []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    if outcome.get_result().failed:  # type: ignore[attr-defined]
        item.failed = True  # type: ignore[attr-defined]


def write_notebook(root: Path, name: str, sources: list[str]) -> None:
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
        for i, source in enumerate(sources)
    ]
    meta = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    (root / name).write_text(json.dumps({"cells": cells, "metadata": meta, "nbformat": 4, "nbformat_minor": 5}))


class Ui:
    """What a user does, in the words of the journeys."""

    def __init__(self, page: Page, lab: Lab) -> None:
        self.page, self.lab = page, lab

    def open(self, sources: list[str], name: str = "t.ipynb") -> None:
        write_notebook(self.lab.root, name, sources)
        self.open_written(name)

    def open_written(self, name: str) -> None:
        """A notebook that stands in the root folder, with a kernel of its own."""
        self.page.goto("about:blank")  # a page of before would miss its kernel
        self.lab.end_kernels()
        self.page.goto(f"{self.lab.url}/lab/tree/{name}?token={TOKEN}&reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.page.wait_for_function(KERNEL_IDLE)

    def wait_model(self) -> None:
        """Until the page knows that a model is in memory: what it does for a loaded one alone, it does from then on."""
        self.page.locator(".jp-MistralCard-head .jp-MistralDot.jp-mod-ready").wait_for(timeout=ANSWER_MS)

    def command(self, id: str) -> None:
        # its promise may take as long as an answer: not waited for
        self.page.evaluate("id => { void window.jupyterapp.commands.execute(id); }", id)

    def show_panel(self, new: bool = True) -> None:
        self.command("jupyter-mistral:open")
        self.page.get_by_label("Your question").wait_for()
        if new:
            self.page.get_by_role("button", name="New chat").click()

    def run_all(self) -> None:
        self.command("notebook:run-all-cells")

    def ask(self, text: str) -> None:
        self.page.get_by_label("Your question").fill(text)
        self.page.keyboard.press("Enter")

    def wait_answer(self, state: str = "done", nth: int = -1) -> str:
        """The text of an answer once it has ended, which is in `state`."""
        answer = self.page.locator(".jp-MistralAnswer").nth(nth)
        answer.wait_for(timeout=ANSWER_MS)
        self.page.locator(".jp-MistralAnswer[data-state=streaming]").wait_for(state="detached", timeout=ANSWER_MS)
        text = answer.inner_text()
        assert answer.get_attribute("data-state") == state, text
        return text

    def wait_idle(self) -> None:
        """Until the server answers nobody: the page hears of an end before its place in the line is free."""
        while self.lab.ask("/mistral/api/status")["running"]:
            self.page.wait_for_timeout(100)

    def ask_again(self, button: str) -> None:
        """Press a button that has the last answer written again; wait for the new one."""
        answers = self.page.locator(".jp-MistralAnswer")
        answers.last.evaluate("node => { node.dataset.old = 'yes'; }")
        self.page.get_by_role("button", name=button).click()
        self.page.locator(".jp-MistralAnswer[data-state=done]:not([data-old])").last.wait_for(timeout=ANSWER_MS)

    def wait_sources(self, sources: list[str]) -> None:
        expected = "() => window.jupyterapp.shell.currentWidget.content.model.cells"
        self.page.wait_for_function(
            f"wanted => JSON.stringify(Array.from(({expected})(), c => c.sharedModel.getSource())) === wanted",
            arg=json.dumps(sources, separators=(",", ":"), ensure_ascii=False),
        )

    def sources(self) -> list[str]:
        return list(
            self.page.evaluate(
                "() => Array.from(window.jupyterapp.shell.currentWidget.content.model.cells, "
                "cell => cell.sharedModel.getSource())"
            )
        )


@pytest.fixture
def ui(page: Page, lab: Lab) -> Ui:
    return Ui(page, lab)


class Script:
    """Answers the page's questions as the server would stream them, from texts given beforehand: what a model says by chance."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._answers: list[list[str]] = []
        self._user: dict[str, Any] = {}
        self._ids = itertools.count(1)
        self.usage: dict[str, Any] = {}
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, *answers: list[str]) -> None:
        """The pieces of the next answers; the last of them answers whatever is asked after."""
        if not self._answers:
            self._page.route(ASK, self._fulfil)
        self._answers = list(answers)

    def _fulfil(self, route: Route) -> None:
        body = route.request.post_data_json or {}
        self.bodies.append(body)
        pieces = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        chunks = self._chunks(body["content"], pieces)
        text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        route.fulfill(status=200, content_type="text/event-stream", body=text)

    def _chunks(self, content: list[Any], pieces: list[str]) -> list[dict[str, Any]]:
        if content:  # none: the same question again
            self._user = {"id": self._id(), "role": "user", "content": content, "state": "done", "created": 1}
        base: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
        first = {
            "event": "message",
            "user": self._user,
            "assistant": {"id": self._id()},
            "title": "?",
            "saved": True,
        }
        texts = [{"index": 0, "delta": {"content": piece}, "finish_reason": None} for piece in pieces]
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        return [
            {**base, "mistral": first},
            *({**base, "choices": [choice]} for choice in texts),
            {**base, "choices": [end], "usage": self.usage},
        ]

    def _id(self) -> str:
        return f"{next(self._ids):032x}"


def numbers(least: int) -> dict[str, Any]:
    """Fields that make an answer a list of at least so many numbers, whatever the model would say."""
    item = {"type": "integer", "minimum": 0, "maximum": 99}
    schema = {"type": "array", "items": item, "minItems": least, "maxItems": least}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    return {"max_tokens": 4000, "response_format": form}


@pytest.fixture
def reshaped(page: Page) -> Callable[[dict[str, Any]], None]:
    """Put fields into the page's next questions, for answers whose length is not the model's choice."""

    def reshape(more: dict[str, Any]) -> None:
        def pass_on(route: Route) -> None:
            route.continue_(post_data=json.dumps({**(route.request.post_data_json or {}), **more}))

        page.unroute(ASK)
        page.route(ASK, pass_on)

    return reshape


@pytest.fixture
def endless(reshaped: Callable[[dict[str, Any]], None]) -> None:
    """The page's questions get answers that a grammar keeps from ending."""
    reshaped(numbers(1500))


@pytest.fixture
def scripted(page: Page) -> Script:
    return Script(page)
