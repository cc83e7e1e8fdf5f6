"""User journeys in a real JupyterLab, from the first question on: one with the embedded model, the others with a fast one."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from clockwork import ANSWER
from playwright.sync_api import Page, Route, expect

from .labs import TOKEN, Lab, default, start
from .scripts import ASK, ENDLESS, Script
from .tabs import Tabs
from .user import ANSWER_MS, Ui


@pytest.fixture
def embedded(tmp_path: Path, models: Path) -> Iterator[Lab]:
    """JupyterLab with the embedded model, not loaded yet."""
    server = start("jupyterlab", tmp_path, models, default("qwen2.5-coder-0.5b"))
    yield server
    server.stop()


@pytest.mark.own_page
def test_the_first_question_loads_the_embedded_model_and_is_answered(
    embedded: Lab, page: Page, reshaped: Callable[[dict[str, Any]], None]
) -> None:
    ui = Ui(page, embedded)
    ui.open(["x = 41"])
    ui.show_panel()
    assert embedded.ask("/mistral/api/status")["state"] == "unloaded"
    reshaped({"max_tokens": 8, "temperature": 0})
    ui.ask("Say yes.")
    assert "tokens/s" in ui.wait_answer()
    expect(page.locator(".jp-MistralAnswer .jp-MistralMarkdown")).to_have_text(re.compile("yes", re.IGNORECASE))


def test_stop_frees_the_model_at_once(ui: Ui, page: Page, endless: None) -> None:
    ui.open(["x = 41"])
    ui.show_panel()
    ui.ask("Count.")
    ui.wait_streaming()
    page.get_by_role("button", name="Stop", exact=True).click()
    assert "Stopped here." in ui.wait_answer("interrupted")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    page.unroute(ASK)
    ui.ask("Say yes.")
    ui.wait_answer(nth=1)
    expect(page.locator(".jp-MistralAnswer").nth(1)).to_contain_text(ANSWER)


@pytest.mark.own_page
def test_reload_and_second_tab_show_the_same_chat(
    ui: Ui, page: Page, tabs: Tabs, reshaped: Callable[[dict[str, Any]], None]
) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    reshaped(ENDLESS)
    ui.ask("Count.")
    ui.wait_streaming()
    page.unroute(ASK)
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    ui.show_panel(new=False)
    # the answer has continued meanwhile and is followed here
    ui.wait_streaming()
    page.get_by_role("button", name="Stop", exact=True).click()
    ui.wait_answer("interrupted")
    other = tabs.own(False)
    second = Ui(other, ui.lab)
    other.goto(f"{ui.lab.url}/lab/tree/t.ipynb?token={TOKEN}")
    other.wait_for_selector(".jp-Notebook .jp-Cell")
    second.show_panel(new=False)
    second.wait_answer("interrupted")
    saved = other.locator(".jp-MistralAnswer .jp-MistralMarkdown").first
    expect(saved).not_to_have_text("")  # Markdown is rendered a moment after the answer is done, in both tabs
    expect(page.locator(".jp-MistralAnswer .jp-MistralMarkdown").first).to_have_text(saved.inner_text())
    # a question in one tab shows in the other once that has the focus
    second.ask("Say yes.")
    second.wait_answer(nth=1)
    expect(other.locator(".jp-MistralAnswer").nth(1)).to_contain_text(ANSWER)
    other.close()
    page.get_by_role("button", name="All chats").click()
    page.get_by_role("button", name="Count.").first.click()
    expect(page.locator(".jp-MistralQuestion")).to_have_count(2)


def test_worker_killed_in_an_answer(ui: Ui, page: Page, endless: None) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    ui.ask("Count from 1 to 500 in words.")
    ui.wait_streaming()
    os.kill(ui.lab.ask("/mistral/api/status")["worker_pid"], signal.SIGKILL)
    text = ui.wait_answer("interrupted")
    assert "The model process was killed" in text, text
    page.unroute(ASK)
    ui.ask("Say yes.")
    ui.wait_answer(nth=1)
    expect(page.locator(".jp-MistralAnswer").nth(1)).to_contain_text(ANSWER)


def test_load_and_unload_from_the_card(ui: Ui, page: Page) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    page.locator(".jp-MistralCard-head").click()
    card = page.get_by_role("region", name="Model")
    expect(card).to_contain_text("License" if ui.lab.ask("/mistral/api/status")["model"] else "State")
    if card.get_by_role("button", name="Unload").count():
        card.get_by_role("button", name="Unload").click()
    card.get_by_role("button", name="Load", exact=True).click(timeout=ANSWER_MS)
    expect(card).to_contain_text("Blocked (verified)", timeout=ANSWER_MS)
    expect(card).to_contain_text("Weights")
    card.get_by_role("button", name="Other models…").click()
    expect(card.locator("li", has_text="Mistral Large")).to_contain_text("external engine")
    expect(card.locator("li", has_text="Qwen2.5 Coder 0.5B")).to_contain_text("fits in memory")
    card.get_by_role("button", name="Unload").click()
    expect(card).to_contain_text("Not loaded")
    assert ui.lab.ask("/mistral/api/status")["worker_pid"] is None


def test_edit_regenerate_delete(ui: Ui, page: Page) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    ui.ask("Say yes.")
    ui.wait_answer()
    question = page.locator(".jp-MistralQuestion").first
    question.hover()
    question.get_by_role("button", name="Edit and ask again").click()
    page.get_by_label("Edit the question").fill("Say no.")
    page.keyboard.press("Enter")
    expect(page.locator(".jp-MistralQuestion")).to_have_text(["Say no."])
    ui.wait_answer()
    ui.ask_again("Regenerate")
    expect(page.locator(".jp-MistralAnswer")).to_have_count(1)
    question.hover()
    delete = question.get_by_role("button", name="Delete this and everything below")
    dialog = page.locator(".jp-Dialog")
    delete.click()
    expect(dialog).to_contain_text("This permanently deletes 2 messages from this chat.")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(question).to_have_text("Say no.")
    question.hover()
    delete.click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator(".jp-MistralQuestion")).to_have_count(0)


def test_keyboard_alone(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    scripted(["```python\nx = 2\n```"])
    page.get_by_label("Your question").focus()
    page.keyboard.type("/ref")
    expect(page.get_by_label("Suggestions").get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your question")).to_have_value("/refactor ")
    page.keyboard.press("Enter")
    expect(page.locator(".jp-MistralDiff")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.content.model.cells.get(0).sharedModel.getSource() === 'x = 2'"
    )


def test_a_pasted_image_and_a_model_without_vision(ui: Ui, page: Page) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    ui.ask("Say yes.")
    ui.wait_answer()
    page.evaluate(
        """async () => {
          const canvas = document.createElement('canvas');
          canvas.width = 3000; canvas.height = 1000;
          canvas.getContext('2d').fillRect(0, 0, 10, 10);
          const blob = await new Promise(done => canvas.toBlob(done));
          const data = new DataTransfer();
          data.items.add(new File([blob], 'p.png', { type: 'image/png' }));
          document.querySelector('.jp-MistralComposer textarea').dispatchEvent(
            new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
        }"""
    )
    # scaled down to what models use, with the notice before sending
    expect(page.locator(".jp-MistralChip[data-kind=image]")).to_contain_text("1540×513")
    expect(page.locator(".jp-MistralComposer")).to_contain_text("cannot see images")
    ui.ask("What is this?")
    expect(page.get_by_label("Your question")).to_have_value("What is this?")
    expect(page.locator(".jp-MistralQuestion")).to_have_count(1)


@pytest.mark.own_page
def test_chips_count_tokens_before_sending(ui: Ui, page: Page) -> None:
    ui.open(["words = 'one two three'", "x = 1"], runs=True)
    ui.run_all()
    ui.show_panel()
    ui.ask("Say yes.")  # loads the model, whose tokenizer counts
    ui.wait_answer()
    notebook = page.locator(".jp-MistralChip[data-kind=notebook]")
    tokens = notebook.locator(".jp-MistralChip-tokens")
    expect(tokens).to_be_visible()
    meter = "Number(document.querySelector('.jp-MistralMeter').ariaValueNow)"
    whole = page.evaluate(f"() => {meter}")
    notebook.click()
    expect(notebook).to_have_attribute("aria-pressed", "false")
    page.wait_for_function(f"whole => {meter} < whole", arg=whole)
    without = page.evaluate(f"() => {meter}")
    notebook.click()
    page.wait_for_function(f"without => {meter} > without", arg=without)
    expect(tokens).not_to_contain_text("≈")

    def by_guess(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, body=json.dumps({**reply.json(), "counted": "estimated"}))

    # as for an external model whose tokenizer is not available
    page.route("**/mistral/api/context*", by_guess)
    page.get_by_label("Your question").fill("Say no.")
    expect(page.locator(".jp-MistralMeter")).to_contain_text("≈")
    expect(tokens).to_contain_text("≈")
    expect(notebook).to_have_attribute("aria-label", re.compile("≈"))


def test_ghost_text_of_the_model_comes_when_it_is_called(ui: Ui, page: Page) -> None:
    ui.open(["def add(a, b):\n"])
    ui.show_panel()
    ui.wait_model()
    page.locator(".jp-Notebook .cm-content").first.click()
    page.keyboard.press("Control+End")
    ui.command("inline-completer:invoke")
    expect(page.locator(".jp-GhostText")).to_have_text(ANSWER)
    assert page.locator(".jp-Dialog").count() == 0


def test_export_as_markdown_and_as_a_notebook(ui: Ui, page: Page) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    ui.ask("Say yes.")
    ui.wait_answer()
    page.get_by_role("button", name="All chats").click()

    def export(kind: str) -> tuple[str, str]:
        page.locator(".jp-MistralHistory li", has_text="Say yes.").first.get_by_role("button", name="Export").click()
        dialog = page.locator(".jp-Dialog")
        dialog.locator("select").select_option(kind)
        with page.expect_download() as download:
            dialog.get_by_role("button", name="Export").click()
        dialog.wait_for(state="detached")
        return download.value.suggested_filename, download.value.path().read_text()

    name, markdown = export("Markdown")
    assert name == "Say yes.md" and "Say yes." in markdown
    name, written = export("Notebook")
    assert name == "Say yes.ipynb"
    notebook = nbformat.reads(written, as_version=4)
    nbformat.validate(notebook)
    assert "Say yes." in "".join(cell.source for cell in notebook.cells)
    # it opens as a notebook
    (ui.lab.root / "exported.ipynb").write_text(written)
    ui.open_written("exported.ipynb", runs=True)
    expect(page.locator(".jp-Notebook .jp-Cell", has_text="Say yes.").first).to_be_visible()
