"""Attachments of a question: cells and files by drag, `@` and picker; files that cannot be read are rejected with a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from .scripts import Script
from .user import ANSWER_MS, Ui

FIELD = ".jp-MistralComposer textarea"
# passes files to the field as a paste would
PASTE = """({ name, type, size, byte }) => {
  const bytes = new Uint8Array(size).fill(byte);
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  document.querySelector('.jp-MistralComposer textarea').dispatchEvent(
    new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
}"""
PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>endobj
4 0 obj<</Length 55>>stream
BT /F1 18 Tf 30 100 Td (The harvest was 42 tonnes.) Tj ET
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R>>
"""


def drag(page: Page, what: Locator, onto: Locator) -> None:
    # waits until both have stopped moving
    onto.hover()
    what.hover()
    start, end = what.bounding_box(), onto.bounding_box()
    assert start and end
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    # a drag begins only after some distance
    page.mouse.move(start["x"] + start["width"] / 2 + 20, start["y"] + start["height"] / 2 + 20, steps=5)
    page.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2, steps=10)
    page.mouse.up()


def sent(scripted: Script) -> str:
    return "".join(part for part in scripted.bodies[-1]["content"] if isinstance(part, str))


def test_cells_and_files_are_dragged_into_the_question(ui: Ui, page: Page, scripted: Script) -> None:
    (ui.lab.root / "notes.txt").write_text("The harvest was 42 tonnes.")
    ui.open(["first = 1", "second = 2"])
    ui.show_panel()
    scripted(["Yes."])
    field = page.locator(FIELD)
    drag(page, page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").nth(1), field)
    expect(page.locator(".jp-MistralChip[data-kind=cells]")).to_contain_text("cell 1")
    page.evaluate("() => window.jupyterapp.commands.execute('filebrowser:refresh')")
    drag(page, page.locator(".jp-DirListing-itemText", has_text="notes.txt"), field)
    expect(page.locator(".jp-MistralChip[data-kind=file]")).to_contain_text("notes.txt")
    ui.ask("What was it?")
    ui.wait_answer()
    assert "[cell 1]:\n```python\nsecond = 2\n```" in sent(scripted)
    assert "The harvest was 42 tonnes." in sent(scripted)
    assert ui.sources() == ["first = 1", "second = 2"], "a dragged cell stays where it was"
    expect(page.locator(".jp-MistralChip[data-kind=file]")).to_have_count(0)
    # the chat shows the attachments, folded
    expect(page.locator(".jp-MistralAttached summary")).to_have_text(["[cell 1]", "The file notes.txt"])


def test_an_at_sign_attaches_cells_files_and_variables(ui: Ui, page: Page, scripted: Script) -> None:
    (ui.lab.root / "data.csv").write_text("x,y\n1,2\n")
    ui.open(["harvest = 42"], runs=True)
    ui.run_all()
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.content.model.cells.get(0).executionCount === 1"
    )
    ui.show_panel()
    expect(page.locator(".jp-MistralChip[data-kind=variables]")).to_contain_text("1 variable")
    scripted(["Yes."])
    options = page.get_by_label("Suggestions").get_by_role("option")
    page.get_by_label("Your question").click()
    for typed, label in (("@harv", "harvest"), ("@cell", "cell 0"), ("@data", "data.csv")):
        page.keyboard.type(typed)
        options.get_by_text(label, exact=True).wait_for()
        page.keyboard.press("Tab")
        expect(options).to_have_count(0)
    expect(page.get_by_label("Your question")).to_have_value("`harvest` [cell 0] `data.csv` ")
    expect(page.locator(".jp-MistralChip[data-kind=cells]")).to_contain_text("cell 0")
    expect(page.locator(".jp-MistralChip[data-kind=file]")).to_contain_text("data.csv")
    page.keyboard.press("Enter")
    ui.wait_answer()
    assert "x,y\n1,2" in sent(scripted)
    assert [v["name"] for v in scripted.bodies[-1]["mistral"]["variables"]] == ["harvest"]


def test_the_picker_attaches_text_and_pdfs(ui: Ui, page: Page, scripted: Script, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("answer = 42\n")
    (tmp_path / "paper.pdf").write_bytes(PDF)
    ui.open(["x = 1"])
    ui.show_panel()
    scripted(["Yes."])
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Attach an image, a PDF or a text file").click()
    chooser.value.set_files([tmp_path / "a.py", tmp_path / "paper.pdf"])
    chips = page.locator(".jp-MistralChip[data-kind=file]")
    expect(chips).to_have_count(2, timeout=ANSWER_MS)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    ui.ask("What is in it?")
    ui.wait_answer()
    assert "answer = 42" in sent(scripted)
    assert "[page 1]" in sent(scripted) and "The harvest was 42 tonnes." in sent(scripted)
    # a click on a chip removes it
    chooser.value.set_files([tmp_path / "a.py"])
    chips.click()
    expect(chips).to_have_count(0)


def test_unreadable_files_are_rejected_and_typed_text_is_kept(ui: Ui, page: Page) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    field = page.get_by_label("Your question")
    field.fill("Look at this:")
    note = page.locator(".jp-MistralFailure")

    def paste(**file: Any) -> None:
        page.evaluate(PASTE, file)

    paste(name="huge.png", type="image/png", size=50 * 2**20, byte=7)
    expect(note).to_contain_text("huge.png is 50 MB; the limit is 20 MB. Crop or resize it.")
    paste(name="program.bin", type="", size=100, byte=0xFF)
    expect(note).to_contain_text("program.bin is not a text file. Attach a text file, a PDF or an image.")
    paste(name="zeros.txt", type="text/plain", size=100, byte=0)
    expect(note).to_contain_text("zeros.txt is not a text file. Attach a text file, a PDF or an image.")
    paste(name="long.txt", type="text/plain", size=900_000, byte=65)
    expect(note).to_contain_text("long.txt has 900,000 characters")
    paste(name="broken.png", type="image/png", size=100, byte=1)
    expect(note).to_contain_text("broken.png is damaged or is not an image.")
    expect(page.locator(".jp-MistralChip[data-kind=file], .jp-MistralChip[data-kind=image]")).to_have_count(0)
    expect(field).to_have_value("Look at this:")


def test_clear_help_and_the_status_bar(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 1"])
    page.get_by_role("button", name="Mistral: ").click()
    page.get_by_label("Your question").wait_for()
    page.get_by_role("button", name="New chat").click()
    scripted(["Yes."])
    ui.ask("First question")
    ui.wait_answer()
    ui.ask("/help")
    expect(page.get_by_label("Suggestions").get_by_role("option")).to_have_count(8)
    page.get_by_label("Your question").fill("")
    ui.ask("/clear")
    expect(page.locator(".jp-MistralQuestion")).to_have_count(0)
    expect(page.get_by_label("Your question")).to_have_value("")
    assert len(scripted.bodies) == 1, "/clear asks nobody"
