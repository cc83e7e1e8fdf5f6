"""The magics in a real JupyterLab and a real browser: hostile answers do nothing to the page, good ones are typeset."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernel_peer import Peer
from playwright.sync_api import Page, sync_playwright

CHROMIUM = os.environ.get("JUPYTER_MISTRAL_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE_MS = 120_000  # a busy machine starts kernels and draws within this
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]

HOSTILE = r"""# Title
<img src=x onerror="window.hacked=1"> <script>window.hacked=2</script> <svg onload="window.hacked=3">
\href{javascript:window.hacked=4}{x} $\href{javascript:window.hacked=5}{x}$ \(\href{javascript:window.hacked=6}{x}\)
\[\class{jp-hacked}{y}\] $\def\alpha{\href{javascript:window.hacked=7}{x}}\alpha$ [x](javascript:window.hacked=8)
![x](https://evil.example/p.png) It costs $5 and $6.

Fine: $x^2$ and

$$T = \begin{align} a &= b \\ c &= d \end{align}$$

```python
def f():
    return 1
```
"""
PAGE = "<h2>Report</h2><script>top.hacked=9</script><img src=x onerror='top.hacked=10'><meta http-equiv=refresh content='0;url=https://evil.example'>"


@pytest.fixture(autouse=True)
def jp_server_cleanup() -> Iterator[None]:
    """Replaces pytest-jupyter's fixture, which closes Playwright's event loop."""
    yield


@pytest.fixture
def jp_asyncio_loop() -> Iterator[None]:
    yield None


@pytest.fixture
def lab(peer: Peer, tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab without the user's settings; its kernels find the scripted host."""
    root = tmp_path / "root"
    root.mkdir()
    config = tmp_path / "config" / "labconfig"
    config.mkdir(parents=True)
    quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (config / "page_config.json").write_text(json.dumps(quiet))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    # the Jupyter server sets the variable to its own host: the kernels of this test go to the scripted one
    (startup / "00.py").write_text(f"import os; os.environ['JUPYTER_MISTRAL_CONNECTION_FILE'] = {str(peer.file)!r}")
    environ = os.environ | {
        "JUPYTER_CONFIG_DIR": str(config.parent),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    # a free port that the server picks itself, so that nobody takes it in between
    command = [sys.executable, "-m", "jupyterlab", "--port=0", "--no-browser", "--allow-root"]
    command += ["--IdentityProvider.token=tok", f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    server_info = tmp_path / "runtime" / f"jpserver-{server.pid}.json"
    url = ""
    try:
        while not url or not _answers(f"{url}/api"):
            assert server.poll() is None, (tmp_path / "server.log").read_text()[-3000:]
            time.sleep(0.2)
            with contextlib.suppress(OSError, ValueError):  # not there yet, or half written
                url = f"http://127.0.0.1:{json.loads(server_info.read_text())['port']}"
        yield url
    finally:
        server.terminate()
        server.wait(120)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False


@pytest.fixture
def page() -> Iterator[Page]:
    assert CHROMIUM, "no Chromium: install it, or name one in JUPYTER_MISTRAL_CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1600})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def run_all(page: Page, lab: str, root: Path, *sources: str) -> None:
    """Open a notebook with these cells, run all of them, and wait until the kernel is idle."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": s, "outputs": [], "execution_count": None}
        for i, s in enumerate(("%load_ext jupyter_mistral", *sources))
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    (root / "t.ipynb").write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    page.goto(f"{lab}/lab/tree/t.ipynb?token=tok&reset")
    session = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session"
    page.wait_for_function(f"() => {session}?.kernel?.status === 'idle'")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(f"() => {session}?.kernel?.status === 'idle'")


@pytest.mark.threat("T3", "T4")
def test_a_hostile_answer_is_text_and_a_good_one_is_typeset(lab: str, page: Page, peer: Peer, tmp_path: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    peer.say(HOSTILE)
    run_all(page, lab, tmp_path / "root", "%mistral hello?")
    page.wait_for_selector(".jmi mjx-container")
    page.wait_for_function("() => document.querySelectorAll('.jmi mjx-container').length === 2")
    assert page.evaluate("window.hacked") is None
    answer = page.locator(".jmi")
    assert (
        answer.locator("img, script, svg:not(mjx-container svg), mjx-container a, .jp-hacked, mjx-merror").count() == 0
    )
    assert answer.locator("a").count() == 0
    assert "It costs $5 and $6." in answer.inner_text()
    assert not [url for url in asked if "evil" in url]
    keyword = answer.locator("pre .k").first
    assert keyword.evaluate("e => getComputedStyle(e).color") != answer.evaluate("e => getComputedStyle(e).color")


@pytest.mark.threat("T3", "T4")
def test_a_page_that_the_model_wrote_runs_nothing_and_goes_nowhere(
    lab: str, page: Page, peer: Peer, tmp_path: Path
) -> None:
    peer.say(PAGE)
    run_all(page, lab, tmp_path / "root", "%mistral -f html a page")
    frame = page.frame_locator(".jmi iframe")
    frame.locator("h2").wait_for()
    assert frame.locator("h2").inner_text() == "Report"
    assert frame.locator("script, meta[http-equiv=refresh]").count() == 0
    assert page.evaluate("window.hacked") is None
    assert [f.url for f in page.frames if "evil" in f.url] == []


def test_code_arrives_as_a_cell_below_and_is_not_run(lab: str, page: Page, peer: Peer, tmp_path: Path) -> None:
    peer.say("Sure:\n```python\nran = 1\n```")
    run_all(page, lab, tmp_path / "root", "%%mistral -f code\nset ran")
    page.wait_for_function("() => window.jupyterapp.shell.currentWidget.content.model.cells.length === 3")
    cell = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.cells.get(2).toJSON()")
    assert (cell["source"], cell["execution_count"]) == ("ran = 1", None)
    saved = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.cells.get(1).toJSON()")
    assert saved["outputs"][0]["metadata"]["jupyter_mistral"]["format"] == "code"
    assert "ran" not in page.locator(".jp-Cell").nth(1).locator(".jmi p").inner_text()


def test_a_failure_shows_one_sentence_and_the_cells_below_are_not_run(
    lab: str, page: Page, peer: Peer, tmp_path: Path
) -> None:
    run_all(page, lab, tmp_path / "root", "%mistral fix", "print('never')")
    sentence = page.locator(".jp-Cell").nth(1).locator(".jp-OutputArea-output pre")
    sentence.first.wait_for()
    shown = sentence.all_inner_texts()
    assert [text.strip() for text in shown] == [
        "MistralError: No cell has failed in this kernel yet. Run the failing cell, then try again."
    ]
    assert page.locator(".jp-Cell").nth(2).locator(".jp-OutputArea-output").count() == 0
