"""Explain plot on saved plot specifications, without a kernel or a renderer."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Page, expect

from .scripts import Script
from .user import Ui

PLOTLY = "application/vnd.plotly.v1+json"
VEGA = "application/vnd.vegalite.v5+json"


def bars(*heights: float) -> dict[str, Any]:
    figure = {"data": [{"type": "bar", "x": ["ash", "oak", "elm"], "y": list(heights), "name": "trees"}], "layout": {}}
    return shown({PLOTLY: figure, "text/plain": "Figure()"})


def shown(data: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": data}


def open_saved(ui: Ui, outputs: list[dict[str, Any]]) -> None:
    """Open a notebook with one cell that ran in an earlier session."""
    cell = {
        "cell_type": "code",
        "id": "c0",
        "metadata": {},
        "source": "draw()",
        "execution_count": 3,
        "outputs": outputs,
    }
    meta = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    text = json.dumps({"cells": [cell], "metadata": meta, "nbformat": 4, "nbformat_minor": 5})
    (ui.lab.root / "saved.ipynb").write_text(text)
    ui.open_written("saved.ipynb")


def test_a_saved_specification_is_explained_with_its_own_data(ui: Ui, page: Page, scripted: Script) -> None:
    plain = shown({"text/plain": "nothing drawn"})
    rows = [{"a": 1, "b": 40.25}, {"a": 2, "b": 12.5}]
    chart = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": rows},
        "mark": "line",
        "encoding": {"x": {"field": "a", "type": "quantitative"}, "y": {"field": "b", "type": "quantitative"}},
    }
    outputs = [bars(7, 31.5, 12), plain, bars(5, 6, 88.75), shown({VEGA: chart, "text/plain": "Chart"})]
    open_saved(ui, outputs)
    ui.show_panel()
    scripted(["Oak leads."])
    children = page.locator(".jp-Notebook .jp-OutputArea-child")
    expect(children.get_by_role("button", name="Explain plot")).to_have_count(3)
    figures = []
    for asked, nth in enumerate((0, 2, 3), 1):
        button = children.nth(nth).get_by_role("button", name="Explain plot")
        children.nth(nth).hover()
        expect(button).to_have_css("opacity", "1")
        button.click()
        expect(page.locator(".jp-MistralQuestion")).to_have_count(asked)
        expect(page.locator(".jp-MistralQuestion").last).to_contain_text("Explain the plot of [cell 0].")
        ui.wait_answer()
        figures.append("\n".join(scripted.bodies[-1]["mistral"]["figures"]))
    assert len(scripted.bodies) == 3
    assert "31.5" in figures[0] and "88.75" not in figures[0]
    assert "88.75" in figures[1] and "31.5" not in figures[1]
    assert "40.25" in figures[2]
    # a cleared output has no button
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    expect(children.get_by_role("button", name="Explain plot")).to_have_count(0)
