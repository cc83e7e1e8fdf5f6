"""The main user journeys in Notebook 7, which has a shell of its own."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .labs import TOKEN, Lab, write_notebook
from .scripts import Script
from .tabs import KERNEL_IDLE
from .user import Ui

pytestmark = pytest.mark.own_page


@pytest.fixture
def seven(page: Page, notebook7: Lab) -> Ui:
    """Notebook 7 with a failing cell, and the panel open with a new chat."""
    notebook7.end_kernels()
    write_notebook(notebook7.root, "n.ipynb", ["values = [1, 2, 3]", "print(sum(valuse))"])
    page.goto(f"{notebook7.url}/notebooks/n.ipynb?token={TOKEN}")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(KERNEL_IDLE)
    page.locator("[data-jp-item-name=mistral-open]").click()
    page.get_by_label("Your question").wait_for()
    page.get_by_role("button", name="New chat").click()
    ui = Ui(page, notebook7)
    ui.has_run = True
    return ui


def test_a_question_is_answered_stopped_and_there_after_a_reload(seven: Ui, page: Page, endless: None) -> None:
    seven.ask("Count.")
    seven.wait_streaming()
    page.get_by_role("button", name="Stop", exact=True).click()
    assert "Stopped here." in seven.wait_answer("interrupted")
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.locator("[data-jp-item-name=mistral-open]").click()
    expect(page.locator(".jp-MistralQuestion-text")).to_have_text("Count.")
    seven.wait_answer("interrupted")


def test_an_error_is_fixed_and_code_is_inserted(seven: Ui, page: Page, scripted: Script) -> None:
    scripted(["```python\nprint(sum(values))\n```\nIt was misspelt, see [cell 0]."])
    seven.run_all()
    page.locator(".jp-MistralError-buttons").get_by_role("button", name="Fix").click()
    page.get_by_role("button", name="Accept").click()
    fixed = ["values = [1, 2, 3]", "print(sum(values))"]
    seven.wait_sources(fixed)
    page.get_by_role("button", name="Insert below the active cell").click()
    seven.wait_sources([*fixed, fixed[1]])
    page.locator(".jp-MistralCellLink").click()
    page.wait_for_function("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex === 0")
    page.get_by_role("button", name="Run in a new cell").click()
    page.get_by_text("6", exact=True).wait_for()


def test_cards_chips_and_shortcut_are_there(seven: Ui, page: Page) -> None:
    expect(page.locator(".jp-MistralChip[data-kind=notebook]")).to_contain_text("notebook")
    page.locator(".jp-MistralCard-head").click()
    expect(page.locator(".jp-MistralCard")).to_contain_text("State")
    page.locator(".jp-Notebook .jp-InputPrompt").first.click()
    page.keyboard.press("Control+Alt+m")
    expect(page.get_by_label("Your question")).to_be_focused()
