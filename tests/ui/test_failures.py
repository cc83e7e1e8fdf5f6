"""Failures: a lost server, a dead kernel, a read-only or huge notebook. Each has a message, and typed text is never lost."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from .labs import TOKEN, Lab, default, start
from .scripts import ASK, Script
from .tabs import PageErrors
from .user import Ui

CODE = ["```python\nx = 2\n```"]


def _is_on_disk(lab: Lab) -> bool:
    """Whether the answer's first number is stored: a killed server loses the rest."""
    db = sqlite3.connect(f"file:{lab.home / 'chats' / 'chats.sqlite'}?mode=ro", uri=True)
    try:
        parts = db.execute(
            "SELECT 1 FROM parts JOIN messages ON message = id WHERE role = 'assistant' AND text LIKE '%,%'"
        )
        return parts.fetchone() is not None
    finally:
        db.close()


@pytest.mark.own_page
def test_chats_survive_a_killed_server_and_the_page_goes_on(
    page: Page,
    page_errors: PageErrors,
    tmp_path_factory: pytest.TempPathFactory,
    models: Path,
    clock: Path,
    endless: None,
) -> None:
    home = tmp_path_factory.mktemp("killed")
    lab = start("jupyterlab", home, models, default(clock))
    ui = Ui(page, lab)
    try:
        ui.open(["x = 1"])
        ui.show_panel()
        ui.ask("Count.")
        ui.wait_streaming()
        while not _is_on_disk(lab):
            page.wait_for_timeout(100)
        lab.process.kill()
        lab.process.wait(120)
        assert "The connection to the server was lost." in ui.wait_answer("interrupted")
        field = page.get_by_label("Your question")
        # JupyterLab's own dialog may open at any time now, and takes the focus
        lost = page.locator(".jp-Dialog", has_text="Server Connection Error")
        page.add_locator_handler(lost, lambda dialog: dialog.get_by_role("button").first.click())
        field.fill("This is not lost")
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.locator(".jp-MistralFailure", has_text="Cannot reach the Jupyter server.")).to_be_visible()
        expect(field).to_have_value("This is not lost")
        lab = start("jupyterlab", home, models, default(clock), port=int(lab.url.rpartition(":")[2]))
        page.unroute(ASK)
        page.goto(f"{lab.url}/lab/tree/t.ipynb?token={TOKEN}")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        ui = Ui(page, lab)
        ui.show_panel(new=False)
        # the interrupted answer is kept and marked, and the draft is kept
        ui.wait_answer("interrupted")
        expect(page.locator(".jp-MistralMarkdown").first).to_have_text(re.compile(r"^\s*\["))
        expect(page.locator(".jp-MistralQuestion-text")).to_have_text("Count.")
        expect(field).to_have_value("This is not lost")
        page.get_by_role("button", name="Send", exact=True).click()
        ui.wait_answer(nth=1)
    finally:
        lab.stop()
        page_errors.are_expected = True  # JupyterLab's own, of a server that is gone


def test_the_notice_of_an_unreachable_server_disappears_once_it_answers(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 1"])
    with page.expect_response("**/mistral/api/status*"):  # one that comes later would be a sign of life
        ui.show_panel()
    before = ui.lab.ask("/mistral/api/chats")
    page.route("**/mistral/**", lambda route: route.abort())
    ui.ask("This is not lost")
    notices = page.locator(".jp-MistralFailure", has_text="Cannot reach the Jupyter server.")
    own = page.locator(".jp-MistralFailure", has=page.get_by_role("button", name="Dismiss"))
    expect(own).to_contain_text("Cannot reach the Jupyter server.")
    page.get_by_role("button", name="All chats").click()
    expect(page.locator(".jp-MistralHistory .jp-MistralFailure")).to_have_count(1)
    page.unroute("**/mistral/**")
    expect(notices).to_have_count(0)
    page.get_by_role("button", name="Back to the chat").click()
    # the notice of a request that the server rejects stays
    refusal = {"error": {"code": "too_large", "message": "It is too long. Say less.", "todo": "Say less."}}
    page.route(ASK, lambda route: route.fulfill(status=413, json=refusal))
    page.get_by_label("Your question").press("Enter")
    expect(own).to_contain_text("It is too long. Say less.")
    with page.expect_response("**/mistral/api/status*"):  # asked for again and again, and as the panel shows
        page.evaluate("() => window.jupyterapp.shell.collapseRight()")
        ui.show_panel(new=False)
    expect(own).to_contain_text("It is too long. Say less.")
    expect(page.get_by_label("Your question")).to_have_value("This is not lost")
    assert ui.lab.ask("/mistral/api/chats") == before, "a chat without a question stands in no list"


def test_code_is_not_run_in_a_dead_kernel(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 1"], runs=True)
    ui.show_panel()
    scripted(CODE)
    ui.ask("Change x.")
    ui.wait_answer()
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.get_by_role("button", name="Run in a new cell").click()
    expect(page.locator(".jp-MistralFailure")).to_contain_text(
        "This notebook has no running kernel. Start a kernel, or"
    )
    assert ui.sources() == ["x = 1"]
    page.get_by_role("button", name="Insert below the active cell").click()
    ui.wait_sources(["x = 1", "x = 2"])
    # a question needs no kernel
    ui.ask("And now?")
    ui.wait_answer(nth=1)


def test_a_read_only_notebook_is_not_changed(ui: Ui, page: Page, scripted: Script) -> None:
    def lock(route: Route) -> None:
        reply = route.fetch()
        contents: dict[str, Any] = reply.json()
        route.fulfill(response=reply, body=json.dumps({**contents, "writable": False}))

    page.route(lambda url: "/api/contents/locked.ipynb" in url and "checkpoints" not in url, lock)
    ui.open(["x = 1"], "locked.ipynb")
    ui.show_panel()
    scripted(CODE)
    ui.ask("/refactor")
    ui.wait_answer()
    page.get_by_role("button", name="Accept").click()
    note = page.locator(".jp-MistralFailure")
    expect(note).to_contain_text("This notebook is read-only. Save a copy under another name first.")
    page.get_by_role("button", name="Dismiss").click()
    page.get_by_role("button", name="Insert below the active cell").click()
    expect(note).to_contain_text("This notebook is read-only.")
    assert ui.sources() == ["x = 1"]


# cells, and lines of 20 characters in the output of each
LARGE = [
    pytest.param(500, 1000, id="10 MB of outputs"),
    pytest.param(10_000, 500, id="100 MB of outputs", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("cells", "lines"), LARGE)
def test_a_large_notebook_does_not_block_the_page(ui: Ui, page: Page, scripted: Script, cells: int, lines: int) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    ui.wait_model()  # whose tokenizer counts while one types
    scripted(["Yes."])
    page.evaluate(
        """([cells, lines]) => {
          const model = window.jupyterapp.shell.currentWidget.content.model.sharedModel;
          const text = 'a line of an output\\n'.repeat(lines);
          model.insertCells(1, Array.from({ length: cells }, (_, i) => ({
            cell_type: 'code', source: `y = ${i}`, metadata: {}, execution_count: i + 1,
            outputs: [{ output_type: 'stream', name: 'stdout', text }] })));
        }""",
        [cells, lines],
    )
    field = page.get_by_label("Your question")
    field.focus()
    with page.expect_request("**/mistral/api/context*"):  # once all of it was looked at
        for word in ("What", " is", " in", " here?"):
            page.keyboard.type(word)
            expect(field).to_have_value(re.compile(re.escape(word) + "$"))
    expect(field).to_have_value("What is in here?")
    page.keyboard.press("Enter")
    ui.wait_answer()
    body = scripted.bodies[-1]
    sent = body["mistral"]["notebook"]["cells"]
    assert len(sent) == cells + 1
    # the last outputs are sent, up to the limit
    assert sent[-1]["outputs"] and not sent[2]["outputs"]
    assert sum(len(json.dumps(cell)) for cell in sent) < 8 * 2**20
