"""A model with vision, in the panel: images reach its worker as pixels and are counted first; a model without vision gets none."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, Request, expect

from .labs import Lab, default, start
from .scripts import ASK, numbers
from .user import ANSWER_MS, Ui

TESTS = Path(__file__).parent.parent
SHORT = {"max_tokens": 6, "temperature": 0}
# of this model: the longest side in pixels, and the side of the square that is one token
LONGEST, SQUARE = 112, 28
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="84" height="56"><circle cx="30" cy="30" r="20"/></svg>'
PLOT = "import matplotlib.pyplot as plt\nplt.bar(['a', 'b'], [1, 3])\nplt.title('Counts');"
# puts an image on the clipboard, as a screenshot does
COPY = """async () => {
  const canvas = document.createElement('canvas');
  canvas.width = 40; canvas.height = 20;
  canvas.getContext('2d').fillRect(0, 0, 40, 20);
  const picture = await new Promise(done => canvas.toBlob(done, 'image/png'));
  await navigator.clipboard.write([new ClipboardItem({ 'image/png': picture })]);
}"""
# everything that the panel shows while it waits for an answer
LABELS = """() => {
  window.labels = [];
  new MutationObserver(() => {
    const label = document.querySelector('.jp-MistralWait')?.textContent ?? '';
    if (label !== window.labels[window.labels.length - 1]) { window.labels.push(label); }
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


@pytest.fixture(scope="module")
def seer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `tests/vision` that names plots. Its context is made longer than it was trained with, for lengths only."""
    folder = tmp_path_factory.mktemp("seer") / "plots"
    shutil.copytree(TESTS / "vision" / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 8192
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def lab(seer: Path, tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Lab]:
    """A JupyterLab whose model has vision."""
    server = start("jupyterlab", tmp_path_factory.mktemp("seeing"), models, default(seer))
    yield server
    server.stop()


@pytest.fixture
def bodies(page: Page) -> list[dict[str, Any]]:
    """The questions that the page sent."""
    bodies: list[dict[str, Any]] = []

    def watch(request: Request) -> None:
        if ASK.search(request.url):
            bodies.append(request.post_data_json or {})

    page.on("request", watch)
    return bodies


def receipt(ui: Ui) -> tuple[int, int]:
    """Prompt tokens and cached tokens of the last answer; checks that the panel shows the server's numbers."""
    shown = ui.page.locator(".jp-MistralFacts").last.get_attribute("title") or ""
    match = re.fullmatch(r"Prompt: ([\d,]+) tokens \(([\d,]+) cached\)\. Answer: [\d,]+ tokens\.", shown)
    assert match, shown
    prompt, known = (int(number.replace(",", "")) for number in match.groups())
    last = ui.lab.ask("/mistral/api/status")["last"]
    assert (last["prompt_tokens"], last["prompt_tokens_details"]["cached_tokens"]) == (prompt, known)
    return prompt, known


def without_images(lab: Lab, body: dict[str, Any]) -> int:
    """Tokens of the same question without its images."""
    text = [{"type": "text", "text": part} for part in body["content"] if isinstance(part, str)]
    asked = {**SHORT, "messages": [{"role": "user", "content": text}], "mistral": body["mistral"]}
    return int(lab.ask("/mistral/api/context", "POST", asked)["tokens"])


def image_of(body: dict[str, Any]) -> tuple[str, bytes]:
    """Type and bytes of the only image of a question."""
    (url,) = [part["image_url"]["url"] for part in body["content"] if not isinstance(part, str)]
    head, _, data = url.partition(";base64,")
    return head.removeprefix("data:"), base64.b64decode(data)


def tokens_of(width: int, height: int) -> int:
    """Image tokens as in Pixtral: one per square, and one per row of squares."""
    ratio = max(width / LONGEST, height / LONGEST, 1)
    columns, rows = (-(-int(side / ratio) // SQUARE) for side in (width, height))
    return rows * (columns + 1)


def test_an_image_is_kept_from_a_model_without_vision_and_sent_to_one_with_vision(
    ui: Ui,
    page: Page,
    seer: Path,
    clock: Path,
    bodies: list[dict[str, Any]],
    reshaped: Callable[[dict[str, Any]], None],
    tmp_path: Path,
) -> None:
    sys.path.insert(0, str(TESTS / "vision"))  # pytest's importlib mode does not
    import plots

    pie, heatmap = tmp_path / "pie.png", tmp_path / "heatmap.png"
    for path in (pie, heatmap):
        path.write_bytes(plots.draw(path.stem, 20_000, plots.HELD_OUT))
    ui.lab.load(str(clock))
    ui.open(["x = 1"])
    ui.show_panel()
    reshaped(SHORT)
    field = page.get_by_label("Your question")
    chip = page.locator(".jp-MistralChip[data-kind=image]")

    def attach(path: Path) -> None:
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Attach an image, a PDF or a text file").click()
        chooser.value.set_files(path)
        expect(chip).to_contain_text("112×112")

    def ask_in_new_chat(path: Path | None) -> tuple[int, int]:
        """Ask in a new chat, and check the meter before and the receipt after."""
        page.get_by_role("button", name="New chat").click()
        if path:
            attach(path)
        field.fill(plots.QUESTION)
        if path:
            expect(chip.locator(".jp-MistralChip-tokens")).to_have_text("20")
        field.press("Enter")
        ui.wait_answer()
        return receipt(ui)

    attach(pie)
    field.fill(plots.QUESTION)
    field.press("Enter")
    note = page.locator(".jp-MistralFailure")
    expect(note).to_have_count(1)
    expect(note).to_contain_text("clockwork cannot see images. Load a model with vision, or remove the image.")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    assert bodies == []
    expect(field).to_have_value(plots.QUESTION)
    expect(chip.locator(".jp-MistralChip-tokens")).to_have_count(0)

    # another model, by its folder, gets the typed text and the attachment
    card = page.locator(".jp-MistralCard")
    card.locator(".jp-MistralCard-head").click()
    card.get_by_role("button", name="Other models…").click()
    card.get_by_label("Another model").fill(str(seer))
    card.get_by_label("Another model").press("Enter")
    expect(chip.locator(".jp-MistralChip-tokens")).to_have_text("20", timeout=ANSWER_MS)
    meter = page.locator(".jp-MistralMeter")
    counted = int(meter.get_attribute("aria-valuenow") or 0)
    field.press("Enter")
    ui.wait_answer()
    assert image_of(bodies[0]) == ("image/png", pie.read_bytes())
    seen, _ = receipt(ui)
    assert seen == counted, "the meter said so before"
    bare, _ = ask_in_new_chat(None)
    assert seen - bare == tokens_of(112, 112) == 20

    # the cache depends on the pixels: the same image again, then another of the same size
    again, known = ask_in_new_chat(pie)
    other, less = ask_in_new_chat(heatmap)
    assert again == other == seen
    assert known - less >= 20 and less < bare


def test_plots_and_images_from_the_clipboard_reach_the_model(
    ui: Ui, page: Page, seer: Path, bodies: list[dict[str, Any]], reshaped: Callable[[dict[str, Any]], None]
) -> None:
    ui.lab.load(str(seer))
    ui.open([PLOT, f"from IPython.display import SVG\nSVG({SVG!r})"], runs=True)
    ui.show_panel()
    ui.run_all()
    reshaped(SHORT)
    buttons = page.locator(".jp-Notebook").get_by_role("button", name="Explain plot")
    expect(buttons).to_have_count(2)
    for cell in (0, 1):
        page.get_by_role("button", name="New chat").click()
        buttons.nth(cell).click(force=True)
        expect(page.locator(".jp-MistralQuestion").last).to_contain_text(f"Explain the plot of [cell {cell}].")
        ui.wait_answer()
        mime, data = image_of(bodies[-1])
        # an SVG is sent as is, and the server's sealed child rasterizes it at a high resolution
        size = (840, 560) if cell else Image.open(io.BytesIO(data)).size
        assert mime == ("image/svg+xml" if cell else "image/png")
        assert receipt(ui)[0] - without_images(ui.lab, bodies[-1]) == tokens_of(*size)

    page.get_by_role("button", name="New chat").click()
    page.evaluate(COPY)
    page.get_by_label("Your question").click()
    page.keyboard.press("Control+V")
    expect(page.locator(".jp-MistralChip[data-kind=image]")).to_contain_text("40×20")
    ui.ask("What is this?")
    ui.wait_answer()
    mime, data = image_of(bodies[-1])
    assert mime == "image/png" and Image.open(io.BytesIO(data)).convert("RGB").getcolors() == [(40 * 20, (0, 0, 0))]
    assert receipt(ui)[0] - without_images(ui.lab, bodies[-1]) == tokens_of(40, 20) == 3


@pytest.mark.own_page
def test_a_long_notebook_is_read_in_parts_and_stop_frees_the_model(
    ui: Ui, page: Page, seer: Path, bodies: list[dict[str, Any]], reshaped: Callable[[dict[str, Any]], None]
) -> None:
    ui.lab.load(str(seer))
    lines = [f"value_{i} = {i * i}  # the square of {i}" for i in range(550)]
    ui.open(["\n".join(lines[i : i + 50]) for i in range(0, len(lines), 50)])
    ui.show_panel()
    page.evaluate(LABELS)
    reshaped(numbers(1500))
    field = page.get_by_label("Your question")
    field.fill("Which value is the largest?")
    read_all = page.get_by_role("button", name="Read whole notebook")
    read_all.click()
    expect(read_all).to_have_attribute("aria-pressed", "true")
    field.press("Enter")
    waiting = page.locator(".jp-MistralWait")
    expect(waiting).to_contain_text("Reading part", timeout=ANSWER_MS)
    expect(waiting.get_by_role("progressbar")).to_be_visible()
    assert ui.lab.ask("/mistral/api/status")["running"] == 1
    page.get_by_role("button", name="Stop", exact=True).click()
    assert "Stopped here." in ui.wait_answer("interrupted")
    ui.wait_idle()

    # regenerating reads in parts again, to the end
    reshaped({**numbers(5), "max_tokens": 64})
    page.evaluate("() => { window.labels = []; }")
    ui.ask_again("Regenerate")
    assert [body["mistral"]["thorough"] for body in bodies] == [True, True]
    answer = page.locator(".jp-MistralAnswer .jp-MistralMarkdown").last
    expect(answer).to_have_text(re.compile(r"\[.*\]"))  # Markdown is rendered a moment after the answer is done
    assert len(json.loads(answer.inner_text())) == 5
    matches = [re.fullmatch(r"Reading part (\d+) of (\d+)….*", label) for label in page.evaluate("() => window.labels")]
    parts = [(int(match[1]), int(match[2])) for match in matches if match]
    last = ui.lab.ask("/mistral/api/status")["last"]
    assert len(last["mistral"]["parts"]) > 2
    assert parts and parts == sorted(parts)
    assert {of for _, of in parts} == {len(last["mistral"]["parts"])}
    assert len({part for part, _ in parts}) > 1
    assert receipt(ui)[0] == last["prompt_tokens"] > len("\n".join(lines)), "a token is a character or less"
