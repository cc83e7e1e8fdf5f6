"""Ghost text in a real editor: while typing, turned off, and while the model is busy. Its text is scripted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from clockwork import ANSWER
from playwright.sync_api import Page, Route, expect
from playwright.sync_api import TimeoutError as TookTooLong

from .user import ANSWER_MS, Ui

COMPLETIONS = re.compile(r"/mistral/v1/completions")
GHOST = "() => document.querySelector('.jp-GhostText')?.textContent ?? ''"


@pytest.fixture
def asked(page: Page) -> list[dict[str, Any]]:
    """Completion requests, each answered at once by `b  # sum`."""
    requests: list[dict[str, Any]] = []
    choices: list[dict[str, Any]] = [{"index": 0, "text": text, "finish_reason": None} for text in ("b", "  # sum")]
    choices.append({"index": 0, "text": "", "finish_reason": "stop"})
    body = "".join(f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices) + "data: [DONE]\n\n"

    def answer(route: Route) -> None:
        requests.append(route.request.post_data_json or {})
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.route(COMPLETIONS, answer)
    return requests


@pytest.fixture
def ready(ui: Ui, page: Page) -> Ui:
    """A cell with an incomplete function, the caret at its end, and a loaded model, since typing never loads one."""
    ui.open(["import math\nratio = 3", "def add(a, b):\n    return a"])
    ui.show_panel()
    ui.wait_model()
    page.locator(".jp-Notebook .cm-content").nth(1).click()
    page.keyboard.press("Control+End")
    return ui


@pytest.fixture
def unset(ui: Ui) -> Iterator[None]:
    yield
    ui.set({})


def test_it_appears_while_typing_and_tab_accepts_it(ready: Ui, page: Page, asked: list[dict[str, Any]]) -> None:
    page.keyboard.type(" + ", delay=30)
    page.wait_for_function(f"() => ({GHOST})().startsWith('b  # sum')")
    assert ready.sources()[1] == "def add(a, b):\n    return a + ", "only shown, not written"
    page.keyboard.press("Tab")
    taken = "window.jupyterapp.shell.currentWidget.content.model.cells.get(1).sharedModel.getSource()"
    page.wait_for_function(f"() => {taken}.endsWith('return a + b  # sum')")
    # the prompt begins with the cells above, and does not wait for a busy model
    last = next(body for body in reversed(asked) if body["prompt"].endswith("return a + "))
    assert last["prompt"].startswith("import math\nratio = 3\n\ndef add")
    assert last["mistral"] == {"if_busy": "refuse"}
    assert page.locator(".jp-Dialog").count() == 0


def test_tab_completes_until_there_is_ghost_text(ready: Ui, page: Page) -> None:
    page.route(COMPLETIONS, lambda _: None)  # a slow model: nothing comes yet
    with page.expect_request(COMPLETIONS):
        page.keyboard.type(" + ma", delay=30)
    completer = page.locator(".jp-Completer")
    for _ in range(20):  # JupyterLab waits a second for its kernel's completions, which a busy machine may not keep
        page.keyboard.press("Tab")
        with suppress(TookTooLong):
            completer.wait_for(timeout=3000)
            break
    expect(completer).to_be_visible()


@pytest.mark.own_page
def test_its_setting_turns_it_off(ui: Ui, page: Page, asked: list[dict[str, Any]], unset: None) -> None:
    ui.open_with({"ghostText": False}, ["value = 1"])
    ui.show_panel()
    ui.wait_model()
    cell = page.locator(".jp-Notebook .cm-content").first
    cell.click()
    page.keyboard.press("Control+End")
    page.keyboard.type(" + ", delay=30)
    # an explicit request does not ask the server either
    ui.command("inline-completer:invoke")
    expect(cell).to_contain_text("value = 1 + ")
    page.keyboard.type("2", delay=30)
    assert asked == []


def test_a_real_model_completes_and_a_busy_one_refuses_without_a_dialog(ui: Ui, page: Page, endless: None) -> None:
    ui.open(["x = 1", ANSWER[:-2]])
    ui.show_panel()
    ui.wait_model()
    page.locator(".jp-Notebook .cm-content").nth(1).click()
    page.keyboard.press("Control+End")
    with page.expect_response(COMPLETIONS, timeout=ANSWER_MS) as first:
        page.keyboard.type(ANSWER[-2])
    assert first.value.status == 200
    expect(page.locator(".jp-GhostText")).to_have_text(ANSWER[-1])
    ui.ask("Count.")
    ui.wait_streaming()
    page.locator(".jp-Notebook .cm-content").nth(1).click()
    page.keyboard.press("Control+End")
    with page.expect_response(COMPLETIONS, timeout=ANSWER_MS) as second:
        page.keyboard.type("b + ")
    assert second.value.status == 429
    assert page.locator(".jp-Dialog").count() == 0
    assert page.locator(".jp-MistralFailure").count() == 0
    page.get_by_role("button", name="Stop", exact=True).click()
    ui.wait_answer("interrupted")
