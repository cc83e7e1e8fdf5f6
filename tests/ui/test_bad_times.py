"""When things are gone, locked or too large: a sentence with the next step, typing that never waits, nothing typed lost."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from .conftest import ANSWER_MS, ASK, TOKEN, Lab, PageErrors, Script, Ui, _start

CODE = ["```python\nx = 2\n```"]


def _is_on_disk(lab: Lab) -> bool:
    """Whether the answer's first number is stored: a killed server loses what is not."""
    db = sqlite3.connect(f"file:{lab.home / 'chats' / 'chats.sqlite'}?mode=ro", uri=True)
    try:
        parts = db.execute(
            "SELECT 1 FROM parts JOIN messages ON message = id WHERE role = 'assistant' AND text LIKE '%,%'"
        )
        return parts.fetchone() is not None
    finally:
        db.close()


def test_chats_outlive_a_killed_server_and_the_page_goes_on(
    page: Page,
    page_errors: PageErrors,
    tmp_path_factory: pytest.TempPathFactory,
    models_home: Path,
    endless: None,
) -> None:
    home = tmp_path_factory.mktemp("killed")
    lab = _start("jupyterlab", home, models_home, "--LabApp.expose_app_in_browser=True")
    ui = Ui(page, lab)
    try:
        ui.open(["x = 1"])
        ui.show_panel()
        ui.ask("Count.")
        page.locator(".jp-MistralAnswer[data-state=streaming] .jp-MistralMarkdown").wait_for(timeout=ANSWER_MS)
        while not _is_on_disk(lab):
            page.wait_for_timeout(100)
        lab.process.kill()
        lab.process.wait(120)
        assert "broke off" in ui.wait_answer("interrupted")
        field = page.get_by_label("Your question")
        # JupyterLab's own dialog may come at any time now, and takes the keys
        lost = page.locator(".jp-Dialog", has_text="Server Connection Error")
        page.add_locator_handler(lost, lambda dialog: dialog.get_by_role("button").first.click())
        field.fill("This is not lost")
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.locator(".jp-MistralFailure", has_text="The Jupyter server does not answer.")).to_be_visible()
        expect(field).to_have_value("This is not lost")
        lab = _start(
            "jupyterlab",
            home,
            models_home,
            "--LabApp.expose_app_in_browser=True",
            port=int(lab.url.rpartition(":")[2]),
        )
        page.unroute(ASK)
        page.goto(f"{lab.url}/lab/tree/t.ipynb?token={TOKEN}")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        ui = Ui(page, lab)
        ui.show_panel(new=False)
        # the interrupted answer is kept and marked, and so is the draft
        ui.wait_answer("interrupted")
        expect(page.locator(".jp-MistralMarkdown").first).to_have_text(re.compile(r"^\s*\["))
        expect(page.locator(".jp-MistralQuestion-text")).to_have_text("Count.")
        expect(field).to_have_value("This is not lost")
        page.get_by_role("button", name="Send", exact=True).click()
        ui.wait_answer(nth=1)
    finally:
        lab.stop()
        page_errors.are_expected = True  # JupyterLab's own, of a server that is gone


def test_the_notice_that_the_server_does_not_answer_goes_once_it_does(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    before = ui.lab.ask("/mistral/api/chats")
    page.route("**/mistral/**", lambda route: route.abort())
    ui.ask("This is not lost")
    notices = page.locator(".jp-MistralFailure", has_text="The Jupyter server does not answer.")
    own = page.locator(".jp-MistralFailure", has=page.get_by_role("button", name="Dismiss"))
    expect(own).to_contain_text("The Jupyter server does not answer.")
    page.get_by_role("button", name="All chats").click()
    expect(page.locator(".jp-MistralHistory .jp-MistralFailure")).to_have_count(1)
    page.unroute("**/mistral/**")
    expect(notices).to_have_count(0)
    page.get_by_role("button", name="Back to the chat").click()
    # what the server itself refuses stays until it is read
    refusal = {"error": {"code": "too_large", "message": "It is too long. Say less.", "todo": "Say less."}}
    page.route(ASK, lambda route: route.fulfill(status=413, json=refusal))
    page.get_by_label("Your question").press("Enter")
    expect(own).to_contain_text("It is too long. Say less.")
    with page.expect_response("**/mistral/api/status*"):
        pass  # asked for again and again
    expect(own).to_contain_text("It is too long. Say less.")
    expect(page.get_by_label("Your question")).to_have_value("This is not lost")
    assert ui.lab.ask("/mistral/api/chats") == before, "a chat without a question stands in no list"


def test_a_dead_kernel_is_said_before_code_is_put_into_it(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    scripted(CODE)
    ui.ask("Change x.")
    ui.wait_answer()
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.get_by_role("button", name="Run in a new cell").click()
    expect(page.locator(".jp-MistralFailure")).to_contain_text("This notebook has no running kernel. Start one in")
    assert ui.sources() == ["x = 1"]
    page.get_by_role("button", name="Insert below the active cell").click()
    ui.wait_sources(["x = 1", "x = 2"])
    # a question needs no kernel
    ui.ask("And now?")
    ui.wait_answer(nth=1)


def test_a_read_only_notebook_is_read_and_left_as_it_is(ui: Ui, page: Page, scripted: Script) -> None:
    def lock(route: Route) -> None:
        reply = route.fetch()
        told: dict[str, Any] = reply.json()
        route.fulfill(response=reply, body=json.dumps({**told, "writable": False}))

    page.route(lambda url: "/api/contents/locked.ipynb" in url and "checkpoints" not in url, lock)
    ui.open(["x = 1"], "locked.ipynb")
    ui.show_panel()
    scripted(CODE)
    ui.ask("/refactor")
    ui.wait_answer()
    page.get_by_role("button", name="Accept").click()
    note = page.locator(".jp-MistralFailure")
    expect(note).to_contain_text("This notebook is read-only. Save it under another name first.")
    page.get_by_role("button", name="Dismiss").click()
    page.get_by_role("button", name="Insert below the active cell").click()
    expect(note).to_contain_text("This notebook is read-only.")
    assert ui.sources() == ["x = 1"]


def test_ten_thousand_cells_and_100_mb_of_outputs_do_not_hold_the_page(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    ui.ask("Say yes.")  # loads the model, whose tokenizer counts while one types
    ui.wait_answer()
    ui.wait_model()
    scripted(["Yes."])
    page.evaluate(
        """() => {
          const model = window.jupyterapp.shell.currentWidget.content.model.sharedModel;
          const text = 'a line of an output\\n';
          model.insertCells(1, Array.from({ length: 10000 }, (_, i) => ({
            cell_type: 'code', source: `y = ${i}`, metadata: {}, execution_count: i + 1,
            outputs: [{ output_type: 'stream', name: 'stdout', text: text.repeat(i % 1000 ? 25 : 500_000) }] })));
        }"""
    )
    # how long any piece of work holds the page while keys come
    page.evaluate(
        """() => {
          window.longest = 0;
          new PerformanceObserver(list => {
            for (const entry of list.getEntries()) { window.longest = Math.max(window.longest, entry.duration); }
          }).observe({ type: 'longtask' });
        }"""
    )
    counted: list[str] = []
    page.on("request", lambda request: counted.append(request.url) if "/api/context" in request.url else None)
    field = page.get_by_label("Your question")
    field.focus()
    for word in ("What", " is", " in", " here?"):
        page.keyboard.type(word)
        page.wait_for_timeout(450)  # as people pause, and as counting begins
    expect(field).to_have_value("What is in here?")
    print(f"longest task while typing: {page.evaluate('() => window.longest'):.0f} ms")
    while not counted:  # once all of it was looked at
        page.wait_for_timeout(100)
    page.keyboard.press("Enter")
    ui.wait_answer(nth=1)
    body = scripted.bodies[-1]
    cells = body["mistral"]["notebook"]["cells"]
    assert len(cells) == 10_001
    # the newest outputs go along, within what is sent at most
    assert cells[-1]["outputs"] and not cells[2]["outputs"]
    assert sum(len(json.dumps(cell)) for cell in cells) < 8 * 2**20
