"""`%mistral chat` in JupyterLab and Notebook 7: Enter sends, the answer streams, and the panel has the same chat."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .labs import TOKEN, Lab, write_notebook
from .tabs import KERNEL_IDLE
from .user import ANSWER_MS, Ui

CELLS = [
    "%load_ext jupyter_mistral",
    "from jupyter_mistral.kernel.show.chat_widget import ChatWidget\n"
    "chat = ChatWidget(sampling={'max_tokens': 8, 'temperature': 0})\nchat",
]


def test_in_jupyterlab_beside_the_notebook_and_in_the_panel(ui: Ui, page: Page) -> None:
    ui.open(CELLS, runs=True)
    ui.run_all()
    area = page.locator(".jmi-chat textarea")
    area.fill("First line")
    area.press("Shift+Enter")
    area.press_sequentially("Greet the widget.")
    area.press("Enter")
    asked = page.locator(".jmi-chat .jmi-asked")
    expect(asked).to_have_text("First line\nGreet the widget.", timeout=ANSWER_MS)
    expect(page.locator(".jmi-chat")).to_contain_text("tokens/s", timeout=ANSWER_MS)
    expect(area).to_have_value("")
    # a second view of the same widget, beside the notebook
    page.evaluate(
        """async () => {
          const { commands, shell } = window.jupyterapp;
          shell.currentWidget.content.activeCellIndex = 1;
          await commands.execute('notebook:create-output-view');
        }"""
    )
    expect(page.locator(".jmi-chat")).to_have_count(2)
    expect(asked).to_have_count(2)
    # and the side panel
    ui.show_panel(new=False)
    page.get_by_role("button", name="All chats").click()
    page.locator(".jp-MistralHistory-open", has_text="First line").first.click()
    expect(page.locator(".jp-MistralQuestion-text")).to_have_text("First line\nGreet the widget.")


@pytest.mark.own_page
def test_in_notebook_7(page: Page, notebook7: Lab) -> None:
    notebook7.end_kernels()
    write_notebook(notebook7.root, "w.ipynb", CELLS)
    page.goto(f"{notebook7.url}/notebooks/w.ipynb?token={TOKEN}")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(KERNEL_IDLE)
    page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    area = page.locator(".jmi-chat textarea")
    area.fill("Greet the widget.")
    area.press("Enter")
    expect(page.locator(".jmi-chat .jmi-asked")).to_have_text("Greet the widget.", timeout=ANSWER_MS)
    expect(page.locator(".jmi-chat")).to_contain_text("tokens/s", timeout=ANSWER_MS)
    stop = page.locator(".jmi-chat").get_by_role("button", name="Stop")
    expect(stop).to_be_disabled()
