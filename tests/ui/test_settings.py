"""JupyterLab's settings apply: limits and standing instructions are sent with questions and are not shown in the chat."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from .scripts import Script
from .user import Ui


@pytest.mark.own_page
def test_settings_are_sent_with_questions(ui: Ui, page: Page, scripted: Script) -> None:
    try:
        ui.open_with({"maxTokens": 16, "instructions": "Be kind."}, ["1"])
        ui.show_panel()
        scripted(["Yes."])
        ui.ask("Count from 1 to 500 in words.")
        ui.wait_answer()
        (body,) = scripted.bodies
        assert body["max_tokens"] == 16
        assert body["mistral"]["instructions"] == "Be kind."
        assert body["content"] == ["Count from 1 to 500 in words."]
        assert "Be kind." not in page.locator(".jp-MistralMessages").inner_text()
    finally:
        ui.set({})


@pytest.mark.own_page
def test_the_field_of_the_standing_instructions_grows(ui: Ui, page: Page) -> None:
    ui.open(["1"])
    field = ui.show_settings()
    assert field.evaluate("node => node.tagName") == "TEXTAREA"
    low = field.evaluate("node => node.clientHeight")
    field.fill("Be kind.\n" * 12)
    page.wait_for_function(
        "([node, low]) => node.clientHeight > low && node.scrollHeight <= node.clientHeight",
        arg=[field.element_handle(), low],
    )
    while "Be kind.\\nBe kind." not in ui.lab.ask("/lab/api/settings/jupyter-mistral:plugin")["raw"]:
        page.wait_for_timeout(100)
    ui.set({})
