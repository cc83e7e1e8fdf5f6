"""The panel shows the result of each action, and the focus stays in the text field."""

from __future__ import annotations

import json

from playwright.sync_api import Page, Route, expect

from .scripts import ASK, ENDLESS, Script
from .user import Ui

ON_TOP = """button => {
  const box = button.getBoundingClientRect();
  return [3, box.height / 2, box.height - 3].every(y =>
    button.contains(document.elementFromPoint(box.left + box.width / 2, box.top + y)));
}"""


def test_a_question_asked_from_the_list_of_chats_shows_its_answer(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 41", "print(y)"], runs=True)
    ui.show_panel()
    ui.run_all()
    scripted(["Yes."], ["It has no value."])
    chats = page.locator(".jp-MistralHistory")
    page.get_by_role("button", name="All chats").click()
    expect(chats).to_have_count(1)
    ui.ask("Say yes.")
    expect(page.locator(".jp-MistralAnswer")).to_contain_text("Yes.")
    expect(chats).to_have_count(0)
    # so do the buttons in the notebook
    page.get_by_role("button", name="All chats").click()
    page.locator(".jp-MistralError-buttons").get_by_role("button", name="Explain").click()
    expect(page.locator(".jp-MistralAnswer").last).to_contain_text("It has no value.")
    expect(chats).to_have_count(0)


def test_a_new_chat_and_a_click_on_send_keep_the_focus_in_the_field(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 41"])
    ui.show_panel(new=False)
    scripted(["Yes."])
    field = page.get_by_label("Your question")
    page.get_by_role("button", name="New chat").click()
    expect(field).to_be_focused()
    page.keyboard.type("Say yes.")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(field).to_be_focused()
    ui.wait_answer()


def test_a_new_chat_from_the_palette_replaces_the_list_of_chats(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 41"])
    ui.show_panel()
    scripted(["Yes."])
    ui.ask("Say yes.")
    ui.wait_answer()
    chats = page.locator(".jp-MistralHistory")
    page.get_by_role("button", name="All chats").click()
    expect(chats).to_have_count(1)
    ui.command("jupyter-mistral:new-chat")
    expect(chats).to_have_count(0)
    expect(page.locator(".jp-MistralQuestion")).to_have_count(0)
    expect(page.get_by_label("Your question")).to_be_focused()


def test_a_double_click_on_send_does_not_stop_the_answer(ui: Ui, page: Page, endless: None) -> None:
    ui.open(["x = 41"])
    ui.show_panel()
    page.get_by_label("Your question").fill("Count.")
    page.get_by_role("button", name="Send", exact=True).dblclick()
    ui.wait_streaming()
    page.get_by_role("button", name="Stop", exact=True).click()
    ui.wait_answer("interrupted")


def test_stop_before_the_answer_has_begun_stops_it_as_it_begins(ui: Ui, page: Page) -> None:
    routes: list[Route] = []
    ui.open(["x = 41"])
    ui.show_panel()
    page.route(ASK, lambda route: routes.append(route))
    ui.ask("Count.")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator(".jp-MistralWait")).to_have_text("Stopping…")
    while not routes:
        page.wait_for_timeout(100)
    body = routes[0].request.post_data_json or {}
    routes[0].continue_(post_data=json.dumps({**body, **ENDLESS}))
    assert "Stopped here." in ui.wait_answer("interrupted")
    expect(page.locator(".jp-MistralQuestion")).to_have_text("Count.")


def test_an_answer_at_the_length_limit_can_be_continued(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 41"])
    ui.show_panel()
    scripted.finish_reason = "length"
    scripted(["One, two,"], ["three, four,"])
    ui.ask("Count.")
    assert "The answer reached the length limit." in ui.wait_answer()
    proceed = page.get_by_role("button", name="Continue")
    proceed.click()
    expect(page.locator(".jp-MistralAnswer")).to_have_count(2)
    ui.wait_answer(nth=1)
    expect(page.locator(".jp-MistralQuestion-text").last).to_have_text("Continue.")
    # only the last answer can be continued
    expect(proceed).to_have_count(1)
    expect(page.locator(".jp-MistralAnswer").first).to_contain_text("Ask it to continue.")


def test_an_empty_answer_is_reported(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 41"])
    ui.show_panel()
    scripted([""])
    ui.ask("Say nothing.")
    assert "The model returned an empty answer." in ui.wait_answer()


def test_the_buttons_of_a_question_are_not_under_the_answer(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 41"])
    ui.show_panel()
    scripted(["```python\nprint(x)\n```"])
    ui.ask("Print x.")
    ui.wait_answer()
    page.locator(".jp-MistralCodeBar").wait_for()
    question = page.locator(".jp-MistralQuestion")
    question.hover()
    assert question.get_by_role("button", name="Edit and ask again").evaluate(ON_TOP)


def test_the_dialog_names_the_untitled_chat_to_delete(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 41"])
    ui.show_panel()
    scripted(["Yes."])  # the server itself hears of an empty chat alone, which has no name
    ui.ask("Say yes.")
    ui.wait_answer()
    page.get_by_role("button", name="All chats").click()
    row = page.locator(".jp-MistralHistory li", has_text="New chat").first
    row.get_by_role("button", name="Delete").click()
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("New chat")
    dialog.get_by_role("button", name="Cancel").click()
