"""What users do, from the first question on, with the real embedded model in 4 bit in a real JupyterLab."""

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

# answers stop before their last three events (a piece of text, the end, [DONE]) until goOn()
HALTING = """
const real = window.fetch;
const on = new Promise(resolve => { window.goOn = resolve; });
window.fetch = async (request, init) => {
  const answer = await real(request, init);
  const url = typeof request === 'string' ? request : request.url;
  if (!/\\/mistral\\/api\\/chats\\/[^/]+\\/ask/.test(url)) {
    return answer;
  }
  const events = (await answer.text()).split(/(?<=\\n\\n)/);
  const bytes = part => new TextEncoder().encode(part.join(''));
  const body = new ReadableStream({
    async start(stream) {
      stream.enqueue(bytes(events.slice(0, -3)));
      await on;
      stream.enqueue(bytes(events.slice(-3)));
      stream.close();
    }
  });
  return new Response(body, { status: answer.status, headers: answer.headers });
};
"""
# whether the mark of a copied text was seen, which stands but a moment
SEEN_COPIED = """() => { window.copied = new Promise(seen => {
  const watch = new MutationObserver(() => {
    if (document.querySelector('[aria-label=Copied]')) { watch.disconnect(); seen(true); }
  });
  watch.observe(document.body, { subtree: true, childList: true, attributes: true });
}); }"""
PLOT = "import matplotlib.pyplot as plt\nplt.bar(['a', 'b'], [1, 3])\nplt.title('Counts');"


@pytest.fixture
def embedded(tmp_path: Path, models: Path) -> Iterator[Lab]:
    """JupyterLab with the model that this package brings, not loaded yet."""
    found = start("jupyterlab", tmp_path, models, default("qwen2.5-coder-0.5b"))
    yield found
    found.stop()


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


def test_code_is_inserted_and_run_by_clicks_alone(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 41"], runs=True)
    ui.show_panel()
    scripted(["Here:\n```python\nprint(", "x + 1)\n```\nDone."])
    ui.ask("Print the number after x.")
    ui.wait_answer()
    page.get_by_role("button", name="Insert below the active cell").click()
    ui.wait_sources(["x = 41", "print(x + 1)"])
    page.get_by_role("button", name="Insert above the active cell").click()
    ui.wait_sources(["x = 41", "print(x + 1)", "print(x + 1)"])
    counts = "() => Array.from(window.jupyterapp.shell.currentWidget.content.model.cells, c => c.executionCount)"
    assert page.evaluate(counts) == [None, None, None], "nothing runs by itself"
    page.get_by_role("button", name="Run in a new cell").click()
    page.wait_for_function(f"() => ({counts})()[2] > 0")
    page.evaluate(SEEN_COPIED)
    page.get_by_role("button", name="Copy", exact=True).click()
    assert page.evaluate("() => window.copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == "print(x + 1)"


def test_an_error_is_fixed_by_a_change_that_is_shown_and_accepted(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["values = [1, 2, 3]", "print(sum(valuse))"], runs=True)
    ui.show_panel()
    ui.run_all()
    scripted(["```python\nprint(sum(values))\n```\nIt was misspelt."])
    page.locator(".jp-MistralError-buttons").get_by_role("button", name="Fix").click()
    diff = page.locator(".jp-MistralDiff")
    # a change to the failed cell is shown, and nothing is changed before a click
    expect(diff).to_contain_text("cell 1")
    expect(diff.locator(".jp-mod-removed")).to_contain_text("print(sum(valuse))")
    assert ui.sources() == ["values = [1, 2, 3]", "print(sum(valuse))"]
    diff.get_by_role("button", name="Accept").click()
    expect(diff).to_have_count(0)
    ui.wait_sources(["values = [1, 2, 3]", "print(sum(values))"])
    # the server was asked about the failed cell and its error
    (body,) = scripted.bodies
    assert body["mistral"]["focus"] == 1 and "NameError" in "".join(body["content"])


@pytest.mark.own_page
def test_the_change_shows_though_the_end_comes_with_the_last_word(ui: Ui, page: Page, scripted: Script) -> None:
    """Half of the code is drawn when the other half and the end arrive as one."""
    page.add_init_script(HALTING)
    ui.open(["values = [1, 2, 3]", "print(sum(valuse))"], runs=True)
    ui.show_panel()
    ui.run_all()
    scripted(["```python\nprint(sum(valu", "es))\n```"])
    page.locator(".jp-MistralError-buttons").get_by_role("button", name="Fix").click()
    page.locator(".jp-MistralAnswer pre", has_text="print(sum(valu").wait_for()
    assert page.locator(".jp-MistralDiff").count() == 0
    page.evaluate("() => window.goOn()")
    diff = page.locator(".jp-MistralDiff")
    expect(diff.locator(".jp-mod-added")).to_contain_text("print(sum(values))")
    diff.get_by_role("button", name="Reject").click()
    expect(diff).to_have_count(0)
    assert ui.sources()[1] == "print(sum(valuse))"


def test_a_fix_that_changes_nothing_says_so_and_asks_for_another(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["values = [1, 2, 3]", "print(sum(valuse))"], runs=True)
    ui.show_panel()
    ui.run_all()
    scripted(
        ["```python\nprint(sum(valuse))\n```\nIt is misspelt."],
        ["It is misspelt."],
        ["Instead of\n```python\nprint(sum(valuse))\n```\nwrite\n```python\nprint(sum(values))\n```\n"],
    )
    page.locator(".jp-MistralError-buttons").get_by_role("button", name="Fix").click()
    note = page.locator(".jp-MistralNote")
    expect(note).to_contain_text("The model gave the cell back unchanged.")
    assert page.locator(".jp-MistralDiff").count() == 0
    again = page.get_by_role("button", name="Ask for another answer")
    again.click()
    expect(note).to_contain_text("The model gave no code.")
    again.click()
    # the block that changes something is the one that is offered
    expect(page.locator(".jp-MistralDiff-line.jp-mod-added")).to_contain_text("print(sum(values))")
    expect(note).to_have_count(0)
    temperatures = [body["temperature"] for body in scripted.bodies]
    assert temperatures == sorted(set(temperatures)), "each is less predictable than the one before"
    assert [body["mistral"]["focus"] for body in scripted.bodies] == [1, 1, 1]
    page.get_by_role("button", name="Accept").click()
    ui.wait_sources(["values = [1, 2, 3]", "print(sum(values))"])


def test_a_plot_is_explained_from_its_menu(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open([PLOT], runs=True)
    ui.show_panel()
    ui.run_all()
    scripted(["Three of b."])
    image = page.locator(".jp-OutputArea-output img").first
    image.wait_for()
    image.click(button="right")
    page.locator(".lm-Menu-itemLabel", has_text="Explain Plot").click()
    expect(page.locator(".jp-MistralQuestion").last).to_contain_text("Explain the plot of [cell 0].")
    ui.wait_answer()
    expect(page.locator(".jp-MistralAnswer")).to_contain_text("Three of b.")
    assert "Counts" in "\n".join(scripted.bodies[-1]["mistral"]["figures"])


def test_button_on_the_picture(ui: Ui, page: Page, endless: None) -> None:
    ui.open([PLOT], runs=True)
    ui.run_all()
    button = page.locator(".jp-MistralImage").get_by_role("button", name="Explain plot")
    page.locator(".jp-OutputArea-output img").first.wait_for()
    ui.show_panel()
    page.locator(".jp-OutputArea-output img").first.hover()
    expect(button).to_have_css("opacity", "1")
    button.click()
    expect(page.locator(".jp-MistralQuestion").last).to_contain_text("Explain the plot of [cell 0].")
    page.get_by_role("button", name="Stop", exact=True).click()


def test_fix_is_offered_only_where_a_cell_failed(ui: Ui, page: Page) -> None:
    ui.open(["1 + 1", "1 / 0"], runs=True)
    ui.run_all()
    page.locator(".jp-MistralError-buttons").wait_for()
    fix = page.locator(".jp-cell-toolbar [data-jp-item-name=mistral-fix]")
    prompts = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt")
    prompts.nth(0).click()
    fix.wait_for(state="hidden")
    prompts.nth(1).click()
    fix.wait_for(state="visible")


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
    # the answer goes on meanwhile and is followed here
    ui.wait_streaming()
    page.get_by_role("button", name="Stop", exact=True).click()
    ui.wait_answer("interrupted")
    text = page.locator(".jp-MistralAnswer .jp-MistralMarkdown").first.inner_text()
    other = tabs.own(False)
    second = Ui(other, ui.lab)
    other.goto(f"{ui.lab.url}/lab/tree/t.ipynb?token={TOKEN}")
    other.wait_for_selector(".jp-Notebook .jp-Cell")
    second.show_panel(new=False)
    second.wait_answer("interrupted")
    expect(other.locator(".jp-MistralAnswer .jp-MistralMarkdown").first).to_have_text(text)
    # what is asked in one tab shows in the other once it is looked at
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
    assert "The model host died" in text, text
    page.unroute(ASK)
    ui.ask("Say yes.")
    ui.wait_answer(nth=1)
    expect(page.locator(".jp-MistralAnswer").nth(1)).to_contain_text(ANSWER)


def test_load_and_unload_from_the_card(ui: Ui, page: Page) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    page.locator(".jp-MistralCard-head").click()
    card = page.get_by_role("region", name="Model")
    expect(card).to_contain_text("Licence" if ui.lab.ask("/mistral/api/status")["model"] else "State")
    if card.get_by_role("button", name="Unload").count():
        card.get_by_role("button", name="Unload").click()
    card.get_by_role("button", name="Load", exact=True).click(timeout=ANSWER_MS)
    expect(card).to_contain_text("none, measured", timeout=ANSWER_MS)
    expect(card).to_contain_text("weights")
    card.get_by_role("button", name="Other models…").click()
    expect(card.locator("li", has_text="Mistral Large")).to_contain_text("external engine")
    expect(card.locator("li", has_text="Qwen2.5 Coder 0.5B")).to_contain_text("fits the memory")
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
    ui.ask_again("Answer again")
    expect(page.locator(".jp-MistralAnswer")).to_have_count(1)
    question.hover()
    delete = question.get_by_role("button", name="Delete from here on")
    dialog = page.locator(".jp-Dialog")
    delete.click()
    expect(dialog).to_contain_text("2 messages of this chat will be gone for good.")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(question).to_have_text("Say no.")
    question.hover()
    delete.click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator(".jp-MistralQuestion")).to_have_count(0)


def test_a_citation_scrolls_to_its_cell(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open([f"x = {i}" for i in range(60)])
    ui.show_panel()
    scripted(["It is in [ce", "ll 55], not in `[cell 1]`."])
    ui.ask("Where?")
    link = page.locator(".jp-MistralCellLink")
    expect(link).to_have_count(1)
    link.click()
    page.wait_for_function("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex === 55")
    expect(page.locator(".jp-Notebook .jp-Cell.jp-mod-active")).to_be_in_viewport()


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


def test_pasted_picture_and_a_model_that_cannot_see(ui: Ui, page: Page) -> None:
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
    # made no larger than a model looks at, and said before sending
    expect(page.locator(".jp-MistralChip[data-kind=image]")).to_contain_text("1540×513")
    expect(page.locator(".jp-MistralComposer")).to_contain_text("cannot see pictures")
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

    # as for a model elsewhere whose tokenizer is not here
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


def test_settings_reach_the_questions(ui: Ui, page: Page, scripted: Script) -> None:
    put = f"{ui.lab.url}/lab/api/settings/jupyter-mistral:plugin"
    headers = {"Authorization": f"token {TOKEN}"}
    page.request.put(put, headers=headers, data={"raw": '{"maxTokens": 16, "instructions": "Be kind."}'})
    try:
        ui.open(["1"])
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
        page.request.put(put, headers=headers, data={"raw": "{}"})


@pytest.mark.own_page
def test_standing_instructions_are_written_in_lines(ui: Ui, page: Page) -> None:
    ui.open(["1"])
    page.evaluate("() => { void window.jupyterapp.commands.execute('settingeditor:open', { query: 'Standing' }); }")
    field = page.get_by_label("Standing instructions")
    field.wait_for()
    assert field.evaluate("node => node.tagName") == "TEXTAREA"
    low = field.evaluate("node => node.clientHeight")
    field.fill("Be kind.\n" * 12)
    page.wait_for_function(
        "([node, low]) => node.clientHeight > low && node.scrollHeight <= node.clientHeight",
        arg=[field.element_handle(), low],
    )
    while "Be kind.\\nBe kind." not in ui.lab.ask("/lab/api/settings/jupyter-mistral:plugin")["raw"]:
        page.wait_for_timeout(100)
    headers = {"Authorization": f"token {TOKEN}"}
    page.request.put(f"{ui.lab.url}/lab/api/settings/jupyter-mistral:plugin", headers=headers, data={"raw": "{}"})


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
    # it opens as a notebook does
    (ui.lab.root / "exported.ipynb").write_text(written)
    ui.open_written("exported.ipynb", runs=True)
    expect(page.locator(".jp-Notebook .jp-Cell", has_text="Say yes.").first).to_be_visible()
