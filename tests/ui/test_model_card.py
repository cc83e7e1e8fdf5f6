"""The model card and the start page: status, failed checks and what to do, the catalogue, reasoning and vision."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from .labs import start
from .scripts import Script
from .tabs import PageErrors
from .user import ANSWER_MS, Ui

STATUS = "**/mistral/api/status*"
Status = dict[str, Any]


@pytest.fixture
def change_status(ui: Ui, page: Page) -> Iterator[Callable[[Callable[[Status], Status]], None]]:
    """Change the status that the page receives; reset afterwards."""

    def changed(change: Callable[[Status], Status]) -> None:
        def answer(route: Route) -> None:
            reply = route.fetch()
            status = reply.json()
            model = {**(status["model"] or {}), "title": "Another"}
            route.fulfill(response=reply, body=json.dumps(change({**status, "model": model, "state": "ready"})))

        page.route(STATUS, answer)

    yield changed
    page.unroute(STATUS)
    page.evaluate("() => window.jupyterapp.shell.collapseRight()")
    ui.show_panel(new=False)  # the status is asked for
    expect(page.locator(".jp-MistralCard-name")).not_to_have_text("Another")


@pytest.mark.own_page(asks_the_doctor=True)
def test_without_a_model_each_failed_check_says_what_to_do(
    page: Page, page_errors: PageErrors, tmp_path_factory: pytest.TempPathFactory
) -> None:
    empty = tmp_path_factory.mktemp("empty")
    lab = start("jupyterlab", tmp_path_factory.mktemp("bare"), empty)
    ui = Ui(page, lab)
    try:
        # the results that the page received: free memory changes from one moment to the next
        with page.expect_response("**/mistral/api/doctor*") as checks:
            ui.open(["x = 1"])
            ui.show_panel()
        first = page.locator(".jp-MistralReadiness")
        expect(first.get_by_role("heading")).to_have_text("Almost ready")
        expect(first).to_contain_text("is not downloaded yet")
        # every check is listed, and each failed check has a next step
        for check in checks.value.json()["checks"]:
            if check["name"] != "model":
                expect(first).to_contain_text(check["found"].split(",")[0][:20])
        unwell = first.locator("li.jp-mod-warn, li.jp-mod-blocked")
        expect(unwell.filter(has_not=page.locator(".jp-MistralReadiness-next, button"))).to_have_count(0)
        expect(unwell.first).to_be_visible()
        first.get_by_role("button", name="Download ").click()
        dialog = page.locator(".jp-Dialog")
        expect(dialog).to_contain_text("One-time download: ")
        expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        dialog.get_by_role("button", name="Cancel").click()
        # a question fails with the same button, which asks first
        ui.ask("Hello?")
        note = page.locator(".jp-MistralFailure").first
        expect(note).to_contain_text("is not downloaded yet", timeout=ANSWER_MS)
        note.get_by_role("button", name="Download ").click()
        expect(dialog).to_contain_text("One-time download: ")
        dialog.get_by_role("button", name="Cancel").click()
        assert page_errors.unexpected() == []
    finally:
        lab.stop()
        page_errors.are_expected = True  # JupyterLab's own, when its server is gone


def test_the_card_shows_the_status(ui: Ui, page: Page) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    ui.ask("Say yes.")
    ui.wait_answer()
    card = page.locator(".jp-MistralCard")
    card.locator(".jp-MistralCard-head").click()
    status: dict[str, Any] = ui.lab.ask("/mistral/api/status")
    expect(card.locator(".jp-mod-seal")).to_have_count(int(status["seal"]["measured"]))
    expect(card).to_contain_text(f"{status['last']['mistral']['tokens_per_second']:.1f} tokens/s")
    assert status["last"]["mistral"]["energy_j"] is None and status["memory"]["gpu"] == "", "tests run without a GPU"
    expect(card.locator("dd", has_text="tokens/s")).not_to_contain_text("J")
    expect(page.locator(".jp-MistralReceipt").first).not_to_contain_text("J")
    expect(card.locator("dt", has_text="GPU")).to_have_count(0)
    bar = card.get_by_role("img", name="Memory of")
    label = bar.get_attribute("aria-label") or ""
    for part in ("Weights", "Context", "Free"):
        assert part in label
    expect(card.locator(".jp-MistralBadge").first).to_have_text("4-bit")


def test_gpu_readings_and_the_energy_of_an_answer_are_shown_if_measured(
    ui: Ui, page: Page, scripted: Script, change_status: Callable[[Callable[[Status], Status]], None]
) -> None:
    usage = {"completion_tokens": 9, "mistral": {"tokens_per_second": 20.0, "energy_j": 41.2}}
    sizes = {"weights": 5, "kv": 1, "free": 9, "total": 20, "others": 3}
    memory: dict[str, Any] = {name: size * 2**30 for name, size in sizes.items()}
    memory |= {"device": "cuda", "gpu": "NVIDIA L4", "power_w": 31.5, "temperature_c": 48, "spilled": 2**31}

    change_status(lambda status: {**status, "memory": memory, "last": usage})
    ui.open(["x = 1"])
    ui.show_panel()
    card = page.locator(".jp-MistralCard")
    card.locator(".jp-MistralCard-head").click()
    expect(card.locator("dd", has_text="tokens/s")).to_have_text("20.0 tokens/s · 41\u00a0J")
    expect(card.locator("dd", has_text="NVIDIA")).to_have_text("NVIDIA L4 · 32\u00a0W · 48\u00a0°C")
    expect(card.locator("dt", has_text="Offloaded to RAM").locator("+ dd")).to_have_text("2.0\u00a0GiB")
    label = card.get_by_role("img", name="Memory of cuda").get_attribute("aria-label") or ""
    assert [part.split("\u00a0")[0] for part in label.split(": ")[1].split(", ")] == [
        "Weights 5.0",
        "Context 1.0",
        "Working memory 2.0",
        "Other programs 3.0",
        "Free 9.0",
    ]
    scripted.usage = usage
    scripted(["Yes."])
    ui.ask("Say yes.")
    ui.wait_answer()
    expect(page.locator(".jp-MistralReceipt")).to_contain_text("41\u00a0J")


def test_the_catalogue_is_searched_and_other_models_are_named(ui: Ui, page: Page) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    card = page.locator(".jp-MistralCard")
    card.locator(".jp-MistralCard-head").click()
    card.get_by_role("button", name="Other models…").click()
    rows = card.locator(".jp-MistralCatalogue li")
    rows.first.wait_for()
    every = rows.count()
    search = card.get_by_label("Search models")
    search.fill("small 3.2")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Mistral Small 3.2")
    search.fill("no such model")
    expect(card).to_contain_text("No match. Enter a name below.")
    search.fill("")
    expect(rows).to_have_count(every)
    other = card.get_by_label("Another model")
    other.fill("nonsense")
    other.press("Enter")
    note = page.locator(".jp-MistralFailure", has_text="nonsense is not a model ID or a folder.")
    expect(note).to_be_visible()
    # asks before it downloads
    other.fill("somebody/some-model")
    other.press("Enter")
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("downloaded from Hugging Face")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    # a folder is loaded at once
    other.fill("/no/such/folder")
    other.press("Enter")
    expect(page.locator(".jp-MistralFailure", has_text="/no/such/folder")).to_be_visible()


def test_reasoning_is_folded_and_opens_on_a_click(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    for opening, closing in (("<think>", "</think>"), ("[THINK]", "[/THINK]")):
        page.get_by_role("button", name="New chat").click()
        scripted([opening[:3], opening[3:] + "First I ", f"wonder.{closing}", "The answer is 7."])
        expect(page.locator(".jp-MistralAnswer")).to_have_count(0)
        ui.ask("Why?")
        ui.wait_answer()
        answer = page.locator(".jp-MistralAnswer")
        expect(answer).to_contain_text("The answer is 7.")  # rendered after it has ended
        expect(answer).not_to_contain_text(opening)
        thought = page.locator(".jp-MistralThinking div")
        expect(thought).to_be_hidden()
        page.locator(".jp-MistralThinking summary").click()
        expect(thought).to_have_text("First I wonder.")


def test_a_notebook_that_does_not_fit_can_be_read_in_parts(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    ui.wait_model()
    words = " ".join(f"word{i}" for i in range(60))
    page.evaluate(
        """words => {
          const model = window.jupyterapp.shell.currentWidget.content.model.sharedModel;
          model.insertCells(1, Array.from({ length: 400 }, (_, i) => ({
            cell_type: 'markdown', source: `${i} ${words}`, metadata: {} })));
        }""",
        words,
    )
    page.get_by_label("Your question").fill("What is in here?")
    read_all = page.get_by_role("button", name="Read whole notebook")
    expect(read_all).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".jp-MistralMeter")).to_contain_text("left out")
    read_all.click()
    expect(read_all).to_have_attribute("aria-pressed", "true")
    scripted(["Words."])
    page.get_by_label("Your question").press("Enter")
    ui.wait_answer()
    assert scripted.bodies[-1]["mistral"]["thorough"] is True
    # applies to one question only
    ui.ask("And now?")
    ui.wait_answer(nth=1)
    assert "thorough" not in scripted.bodies[-1]["mistral"]


def test_our_own_errors_get_no_buttons(ui: Ui, page: Page) -> None:
    ui.open(["%load_ext jupyter_mistral", "%mistral fix", "1 / 0"], runs=True)
    ui.command("notebook:run-cell-and-select-next")
    ui.command("notebook:run-cell-and-select-next")
    page.get_by_text("No cell has failed in this kernel yet.").wait_for()
    expect(page.locator(".jp-MistralError-buttons")).to_be_hidden()
    page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").nth(1).click()
    expect(page.locator(".jp-cell-toolbar [data-jp-item-name=mistral-fix]")).to_be_hidden()
    page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").nth(2).click()
    ui.command("notebook:run-cell")
    expect(page.locator(".jp-MistralError-buttons").last).to_be_visible()


def test_a_model_with_vision_gets_images_and_the_chat_shows_a_thumbnail(
    ui: Ui, page: Page, scripted: Script, change_status: Callable[[Callable[[Status], Status]], None]
) -> None:
    change_status(lambda status: {**status, "model": {**status["model"], "can": ["text", "image"]}})
    ui.open(["x = 1"])
    ui.show_panel()
    expect(page.locator(".jp-MistralCard-name")).to_have_text("Another")
    scripted(["A black field."])
    page.evaluate(
        """async () => {
          const canvas = document.createElement('canvas');
          canvas.width = 40; canvas.height = 20;
          canvas.getContext('2d').fillRect(0, 0, 40, 20);
          const data = new DataTransfer();
          data.items.add(new File([await new Promise(done => canvas.toBlob(done))], 'p.png', { type: 'image/png' }));
          document.querySelector('.jp-MistralComposer').dispatchEvent(
            new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.locator(".jp-MistralChip[data-kind=image]")).to_contain_text("40×20")
    ui.ask("What is this?")
    ui.wait_answer()
    assert scripted.bodies[-1]["content"][-1]["image_url"]["url"].startswith("data:image/png;base64,")
    expect(page.locator(".jp-MistralQuestion img.jp-MistralThumbnail")).to_be_visible()
    expect(page.locator(".jp-MistralChip[data-kind=image]")).to_have_count(0)
