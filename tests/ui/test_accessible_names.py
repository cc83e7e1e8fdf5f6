"""Every control of the panel has an accessible name, in each state of the panel."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .scripts import Script
from .user import Ui

# controls without an accessible name; the hidden file field is opened by its button
NAMELESS = """() => Array.from(
    document.querySelectorAll('#jupyter-mistral-panel :is(button, input, textarea, select, summary, [role])'))
  .filter(node => !node.closest('[aria-hidden=true], [hidden]') && !/^(presentation|none|status|alert)$/.test(node.role))
  .filter(node => node.matches('button, input, textarea, select, summary, [role=button], [role=link], [role=option],'
    + '[role=meter], [role=progressbar], [role=toolbar], [role=listbox], [role=switch]'))
  .filter(node => !(node.ariaLabel || node.labels?.[0]?.textContent || node.textContent || node.title || '').trim())
  .map(node => node.outerHTML.slice(0, 300))"""
ANSWER = "Use [the sum](https://example.org):\n\n```python\nprint(sum([1, 2]))\n```\n\nSee [cell 0].\n"


@pytest.mark.own_page
def test_every_control_of_the_panel_has_a_name(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 1", "1 / 0"], runs=True)
    ui.run_all()
    page.locator(".jp-MistralError-buttons").wait_for()
    ui.show_panel()
    scripted([ANSWER])
    ui.ask("How?")
    ui.wait_answer()
    page.locator(".jp-MistralCodeBar").wait_for()
    panel = page.locator("#jupyter-mistral-panel")
    seen: set[str] = set()

    def look(what: str) -> None:
        assert page.evaluate(NAMELESS) == [], what
        # read at once, because buttons appear and disappear
        buttons = panel.get_by_role("button")
        seen.update(buttons.evaluate_all("nodes => nodes.map(node => node.ariaLabel || node.innerText)"))

    look("an answer with code")
    page.get_by_role("button", name="Replace").first.click()
    page.locator(".jp-MistralDiff").wait_for()
    look("a change to accept")
    page.get_by_role("button", name="Edit and ask again").click()
    page.get_by_label("Edit the question").wait_for()
    look("a question that is edited")
    page.get_by_label("Edit the question").press("Escape")
    ui.page.get_by_label("Your question").fill("/")
    expect(page.get_by_label("Suggestions")).to_be_visible()
    look("suggestions")
    page.get_by_role("button", name="All chats").click()
    page.locator(".jp-MistralHistory li").first.wait_for()
    look("the list of chats")
    assert {"Send", "New chat", "All chats", "Accept", "Send again"} <= seen
    # the check does find a control without a name
    panel.evaluate("node => { node.querySelector('button').outerHTML = '<button><svg></svg></button>'; }")
    assert page.evaluate(NAMELESS) == ["<button><svg></svg></button>"]
