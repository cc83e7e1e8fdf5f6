"""Between panel and notebook: code is inserted, errors are fixed, plots are explained, citations are followed."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .scripts import Script
from .user import Ui

# holds back the last three events of answers (a piece of text, the end, [DONE]) until goOn()
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
# whether the sign of a copied text appeared, which it does only briefly
SEEN_COPIED = """() => { window.copied = new Promise(seen => {
  const watch = new MutationObserver(() => {
    if (document.querySelector('[aria-label=Copied]')) { watch.disconnect(); seen(true); }
  });
  watch.observe(document.body, { subtree: true, childList: true, attributes: true });
}); }"""
PLOT = "import matplotlib.pyplot as plt\nplt.bar(['a', 'b'], [1, 3])\nplt.title('Counts');"


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
    # the change to the failed cell is shown, and nothing changes before a click
    expect(diff).to_contain_text("cell 1")
    expect(diff.locator(".jp-mod-removed")).to_contain_text("print(sum(valuse))")
    assert ui.sources() == ["values = [1, 2, 3]", "print(sum(valuse))"]
    diff.get_by_role("button", name="Accept").click()
    expect(diff).to_have_count(0)
    ui.wait_sources(["values = [1, 2, 3]", "print(sum(values))"])
    # the request contains the failed cell and its error
    (body,) = scripted.bodies
    assert body["mistral"]["focus"] == 1 and "NameError" in "".join(body["content"])


@pytest.mark.own_page
def test_the_change_shows_though_the_end_comes_with_the_last_word(ui: Ui, page: Page, scripted: Script) -> None:
    """Half of the code is rendered when the other half and the end arrive together."""
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
    expect(note).to_contain_text("The model suggested no change.")
    assert page.locator(".jp-MistralDiff").count() == 0
    again = page.get_by_role("button", name="Try again")
    again.click()
    expect(note).to_contain_text("The answer contains no code.")
    again.click()
    # the block that changes the cell is offered
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


def test_the_button_on_an_image_explains_it(ui: Ui, page: Page, endless: None) -> None:
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
