"""The actions of a user in JupyterLab."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Locator, Page

from .labs import TOKEN, Lab, write_notebook
from .tabs import KERNEL_IDLE, Tabs

ANSWER_MS = 300_000  # long enough for a busy machine to load the model and answer


class Ui:
    """`tabs` is set if the page is the shared tab."""

    def __init__(self, page: Page, lab: Lab, tabs: Tabs | None = None) -> None:
        self.page, self.lab, self._tabs = page, lab, tabs
        self.has_run = False

    def open(self, sources: list[str], name: str = "t.ipynb", *, runs: bool = False) -> None:
        """Open a notebook with these cells. If the test `runs` cells, wait for its kernel."""
        write_notebook(self.lab.root, name, sources)
        self.open_written(name, runs=runs)

    def open_written(self, name: str, *, runs: bool = False) -> None:
        """Open a notebook in the root folder."""
        if self._tabs:
            self._tabs.open(self.lab, name)
        else:
            self.page.goto("about:blank")  # an earlier page would miss its kernel
            self.lab.end_kernels()
            self.page.goto(f"{self.lab.url}/lab/tree/{name}?token={TOKEN}&reset")
        self.page.locator(".jp-Notebook:visible .jp-Cell").first.wait_for()
        if runs:
            self.has_run = True
            self.page.wait_for_function(KERNEL_IDLE)

    def open_with(self, settings: dict[str, Any], sources: list[str]) -> None:
        """Open a notebook in a page with these settings; the test must reset them."""
        self.set(settings)
        self.open(sources)
        # a page reads its settings some time after it loads: once the editor shows ours, they are in effect
        self.show_settings()
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.dispose()")
        self.page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.content?.model?.cells")

    def show_settings(self) -> Locator:
        """Open the settings editor and return the field of the standing instructions."""
        open = "() => { void window.jupyterapp.commands.execute('settingeditor:open', { query: 'Standing' }); }"
        self.page.evaluate(open)
        field = self.page.get_by_label("Standing instructions")
        field.wait_for()
        return field

    def set(self, settings: dict[str, Any]) -> None:
        body = {"raw": json.dumps(settings)}
        self.lab.ask("/lab/api/settings/jupyter-mistral:plugin", "PUT", body)

    def wait_model(self) -> None:
        """Wait until the page knows that a model is loaded."""
        self.lab.load()
        self.page.locator(".jp-MistralCard-head .jp-MistralDot.jp-mod-ready").wait_for(timeout=ANSWER_MS)

    def command(self, id: str) -> None:
        # not awaited: its promise may take as long as an answer
        self.page.evaluate("id => { void window.jupyterapp.commands.execute(id); }", id)

    def show_panel(self, new: bool = True) -> None:
        self.command("jupyter-mistral:open")
        self.page.get_by_label("Your question").wait_for()
        if new:
            self.page.get_by_role("button", name="New chat").click()

    def run_all(self) -> None:
        assert self.has_run, "open(…, runs=True)"
        self.command("notebook:run-all-cells")

    def ask(self, text: str) -> None:
        self.page.get_by_label("Your question").fill(text)
        self.page.keyboard.press("Enter")

    def wait_streaming(self) -> None:
        """Wait for the first words of an answer in progress."""
        streaming = self.page.locator(".jp-MistralAnswer[data-state=streaming] .jp-MistralMarkdown")
        streaming.wait_for(timeout=ANSWER_MS)

    def wait_answer(self, state: str = "done", nth: int = -1) -> str:
        """Wait until an answer has ended in `state`, and return its text."""
        answer = self.page.locator(".jp-MistralAnswer").nth(nth)
        answer.wait_for(timeout=ANSWER_MS)
        self.page.locator(".jp-MistralAnswer[data-state=streaming]").wait_for(state="detached", timeout=ANSWER_MS)
        text = answer.inner_text()
        assert answer.get_attribute("data-state") == state, text
        return text

    def wait_idle(self) -> None:
        """Wait until the server is idle: the page sees the end of an answer before its turn is over."""
        while self.lab.ask("/mistral/api/status")["running"]:
            self.page.wait_for_timeout(20)

    def ask_again(self, button: str) -> None:
        """Press a button that regenerates the last answer, and wait for the new one."""
        answers = self.page.locator(".jp-MistralAnswer")
        answers.last.evaluate("node => { node.dataset.old = 'yes'; }")
        self.page.get_by_role("button", name=button).click()
        self.page.locator(".jp-MistralAnswer[data-state=done]:not([data-old])").last.wait_for(timeout=ANSWER_MS)

    def wait_sources(self, sources: list[str]) -> None:
        expected = "() => window.jupyterapp.shell.currentWidget.content.model.cells"
        self.page.wait_for_function(
            f"wanted => JSON.stringify(Array.from(({expected})(), c => c.sharedModel.getSource())) === wanted",
            arg=json.dumps(sources, separators=(",", ":"), ensure_ascii=False),
        )

    def sources(self) -> list[str]:
        return list(
            self.page.evaluate(
                "() => Array.from(window.jupyterapp.shell.currentWidget.content.model.cells, "
                "cell => cell.sharedModel.getSource())"
            )
        )
