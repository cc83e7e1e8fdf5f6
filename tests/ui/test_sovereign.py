"""Sovereign mode in a real browser: a hostile notebook reaches no server, while cells, widgets and the panel work as before.

The last test is the control: in a JupyterLab without the mode the same notebook calls home.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .labs import TOKEN, Lab, start, write_notebook
from .tabs import KERNEL_IDLE, PageErrors
from .test_hostile_text import MARKDOWN, Sink, sink
from .user import Ui

__all__ = ["sink"]  # a fixture of the neighbour's
pytestmark = pytest.mark.own_page

SOVEREIGN = "--MistralExtension.sovereign=True"
# what an untrusted notebook may bring into a page although it is sanitized
OUTPUTS = [
    "<img src='{sink}/o-image.png'>",
    "<img SRC='{SINK}/o-upper.png'>",
    "<img src='//{bare}/o-relative.png'>",
    "<p style='background: url({sink}/o-background.png)'>x</p>",
    "<p style='background-image: url({sink}/o-background-image.png)'>x</p>",
    "<p style='border: 9px solid; border-image: url({sink}/o-border.png) 9'>x</p>",
    "<ul style='list-style-image: url({sink}/o-list.png)'><li>x</li></ul>",
    "<p style='cursor: url({sink}/o-cursor.png), auto'>x</p>",
    "<input type=image src='{sink}/o-input.png'>",
    "<video src='{sink}/o-video.mp4' poster='{sink}/o-poster.png'></video>",
    "<video><source src='{sink}/o-video-source.mp4'></video>",
    "<audio src='{sink}/o-audio.mp3' preload=auto></audio>",
    "<table background='{sink}/o-table.png'><tr><td>x</td></tr></table>",
    "<body background='{sink}/o-body.png'>x</body>",
    "<svg width=9 height=9><image href='{sink}/o-svg.png' width=9 height=9></image></svg>",
    "<svg><use href='{sink}/o-use.svg#a'></use></svg>",
    "<object data='{sink}/o-object.svg' type='image/svg+xml'></object>",
    "<iframe src='{sink}/o-frame'></iframe>",
    "<link rel=stylesheet href='{sink}/o-style.css'><link rel=dns-prefetch href='{sink}/o-dns'>",
    "<link rel=prefetch href='{sink}/o-prefetch'><link rel=preload as=image href='{sink}/o-preload.png'>",
    "<style>@import url({sink}/o-import.css); p {{ background: url({sink}/o-style.png) }}</style>",
    "<script>fetch('{sink}/o-script'); window.pwned = 1</script>",
    "<img src=x onerror=\"fetch('{sink}/o-onerror'); window.pwned = 1\">",
    "<math href='{sink}/o-math'><mtext>x</mtext></math>",
]


# outputs and cells render as they come into view: a screen at a time, each drawn in full before the next
SCROLL = """async () => {
  const outer = Array.from(document.querySelectorAll('.jp-WindowedPanel-outer')).pop();
  const idle = () => new Promise(resolve => requestAnimationFrame(() => requestIdleCallback(resolve)));
  do {
    await idle();
    await idle();
    outer.scrollTop += outer.clientHeight / 2;
    await idle();
  } while (outer.scrollTop + outer.clientHeight < outer.scrollHeight - 1);
}"""


def hostile_notebook(sink: Sink) -> dict[str, Any]:
    """Each vector as a Markdown cell, as Markdown output or as HTML output of a cell that nobody ran."""
    names = {"sink": f"http://{sink.bare}", "SINK": f"HTTP://{sink.bare}", "bare": sink.bare}
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "id": f"m{i}", "metadata": {}, "source": vector.format(**names)}
        for i, vector in enumerate([*MARKDOWN, *OUTPUTS])
    ]
    data = [{"text/html": vector.format(**names)} for vector in OUTPUTS]
    data += [{"text/markdown": vector.format(**names)} for vector in MARKDOWN]
    outputs = [{"output_type": "display_data", "metadata": {}, "data": one} for one in data]
    cells.append(
        {"cell_type": "code", "id": "c", "metadata": {}, "source": "x", "execution_count": 1, "outputs": outputs}
    )
    cells.append({"cell_type": "markdown", "id": "end", "metadata": {}, "source": "The end."})
    meta = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return {"cells": cells, "metadata": meta, "nbformat": 4, "nbformat_minor": 5}


def open_hostile(page: Page, lab: Lab, sink: Sink) -> None:
    (lab.root / "hostile.ipynb").write_text(json.dumps(hostile_notebook(sink)))
    page.goto(f"{lab.url}/lab/tree/hostile.ipynb?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.set_viewport_size({"width": 1400, "height": 4000})
    page.evaluate(SCROLL)
    page.locator(".jp-MarkdownOutput").get_by_text("The end.").wait_for()
    page.wait_for_timeout(1500)  # what would load, loads by now


@pytest.fixture(scope="module")
def sovereign_lab(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("sovereign")
    server = start("jupyterlab", home, models, SOVEREIGN)
    yield server
    server.stop()


@pytest.mark.threat("T3", "T4")
def test_a_hostile_notebook_reaches_nobody(page: Page, sovereign_lab: Lab, sink: Sink, page_errors: PageErrors) -> None:
    open_hostile(page, sovereign_lab, sink)
    assert sink.hits == []
    assert page.evaluate("() => window.pwned") is None
    page_errors.are_expected = True  # what the vectors' own text breaks (diagrams)


@pytest.mark.threat("T5")
def test_lab_cells_widgets_and_the_panel_work_under_the_policy(page: Page, sovereign_lab: Lab) -> None:
    refused: list[str] = []
    page.on("console", lambda m: refused.append(m.text) if "Content Security Policy" in m.text else None)
    ui = Ui(page, sovereign_lab)
    ui.open(
        [
            "6 * 7",
            "import ipywidgets\nipywidgets.IntSlider(value=3, description='a slider')",
            'from IPython.display import Javascript\nJavascript(\'element.textContent = "script of " + "my own cell"\')',
            "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        ],
        runs=True,
    )
    assert "token=" not in page.url
    ui.run_all()
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs.first).to_contain_text("42")
    expect(page.locator(".widget-slider")).to_contain_text("a slider")
    page.get_by_text("script of my own cell").wait_for()
    page.locator(".jp-OutputArea-output img[src^='data:image/png']").wait_for()
    ui.show_panel()
    page.locator(".jp-MistralStatus, [class*=jp-Mistral]").first.wait_for()
    assert refused == []


@pytest.mark.threat("T5")
def test_notebook_7_works_under_the_policy_too(
    page: Page, tmp_path_factory: pytest.TempPathFactory, models: Path
) -> None:
    refused: list[str] = []
    page.on("console", lambda m: refused.append(m.text) if "Content Security Policy" in m.text else None)
    server = start("notebook", tmp_path_factory.mktemp("sovereign7"), models, SOVEREIGN)
    try:
        write_notebook(server.root, "t.ipynb", ["6 * 7"])
        page.goto(f"{server.url}/notebooks/t.ipynb?token={TOKEN}")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        assert "token=" not in page.url
        page.wait_for_function(KERNEL_IDLE)
        ui = Ui(page, server)
        ui.command("notebook:run-all-cells")
        expect(page.locator(".jp-OutputArea-output").first).to_contain_text("42")
    finally:
        server.stop()
    assert refused == []


@pytest.mark.threat("T2")
def test_jupyterlab_asks_nobody_for_news(sovereign_lab: Lab) -> None:
    assert sovereign_lab.ask("/lab/api/update") == {"notification": None}
    assert sovereign_lab.ask("/lab/api/news") == {"news": []}
    names = [row["name"] for row in sovereign_lab.ask("/lab/api/extensions?query=a")]
    assert "jupyter-mistral" in names or names == []  # what is installed here, and no index


def test_without_the_mode_the_same_notebook_calls_home(
    page: Page, lab: Lab, sink: Sink, page_errors: PageErrors
) -> None:
    open_hostile(page, lab, sink)
    sink.wait(page, 20)
    page_errors.are_expected = True
