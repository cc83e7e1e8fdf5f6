"""A generated cell is marked in its metadata with the model and the time, never the question; a command clears the marks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from .user import Ui

MARKS = """() => Array.from(window.jupyterapp.shell.currentWidget.content.model.cells, cell => cell.getMetadata('mistral') ?? null)"""


def test_a_generated_cell_is_marked_until_the_marks_are_cleared(
    ui: Ui, page: Page, scripted: Callable[[list[str]], None]
) -> None:
    def marks() -> list[dict[str, Any] | None]:
        return list(page.evaluate(MARKS))

    ui.open(["x = 1"])
    ui.show_panel()
    scripted(["Here:\n\n```python\ny = 2\n```\n"])
    ui.ask("A question that must stay out of it")
    ui.wait_answer()
    page.get_by_role("button", name="Insert below the active cell").click()
    page.wait_for_function(f"() => ({MARKS})().some(mark => mark !== null)")
    ui.wait_sources(["x = 1", "y = 2"])
    own, made = marks()
    assert own is None and made is not None
    assert set(made) == {"v", "origin", "model", "time"}
    assert made["origin"] == "generated" and "question" not in str(made)
    ui.command("jupyter-mistral:unmark")
    page.wait_for_function(f"() => ({MARKS})().every(mark => mark === null)")
