"""Legends of a matplotlib figure: their entries, names for series that have none of their own, and contradictions."""

from __future__ import annotations

from typing import Any

from ...model import Panel, Pitfall, Series, words
from ...reader import Reading
from .lines import handle_colour

# kinds of series that a legend's entry can stand for
_NAMED = {"line", "points", "step line", "scatter", "bars", "histogram", "area", "stems", "3D line", "3D points"}


def read_legends(figure: Any, panels: list[tuple[Any, Panel]], reading: Reading) -> None:
    """Adds each legend to its panel; a legend of the figure, to all."""
    common = list(getattr(figure, "legends", ()) or ())
    for axes, panel in panels:
        own = axes.get_legend()
        for legend in [*([own] if own is not None else []), *common]:
            if legend.get_visible():
                reading.attempt(f"the legend of panel {panel.number}", _read, legend, panel, reading)


def _read(legend: Any, panel: Panel, reading: Reading) -> None:
    handles = getattr(legend, "legend_handles", None) or getattr(legend, "legendHandles", [])
    entries = [words(text.get_text()) for text in legend.get_texts()]
    panel.legend += [entry for entry in entries if entry]
    panel.legend_title = words(legend.get_title().get_text()).removesuffix("None").strip() or panel.legend_title
    said: dict[str, list[str]] = {}
    for entry, handle in zip(entries, handles, strict=False):
        colour = handle_colour(handle) if handle is not None else ""
        if entry and colour:
            said.setdefault(colour, []).append(entry)
    by_colour: dict[str, list[Series]] = {}
    for series in panel.series:
        if series.kind in _NAMED and series.colour:
            by_colour.setdefault(series.colour, []).append(series)
    parts = [row for s in panel.series for kind in ("boxes", "violins") for row in s.facts.get(kind, ())]
    if len({row["colour"] for row in parts}) < 2:
        parts = []
    for colour, names in said.items():
        if len(set(names)) == 1:
            for row in parts:
                if row["colour"] == colour:
                    row["name"] = names[0]
            _name(by_colour.get(colour, []), names[0], entries, panel, reading)


def _name(drawn: list[Series], entry: str, entries: list[str], panel: Panel, reading: Reading) -> None:
    """Gives `entry` to the series of its colour that have no name; one that bears another entry's name is a contradiction."""
    if all(not series.name for series in drawn):
        for series in drawn:
            series.name = entry
    others = [s for s in drawn if s.name != entry and s.name in entries]
    if others and len(drawn) == len(others):
        text = f'the legend says "{entry}" for the colour of the series that is labelled "{others[0].name}"'
        reading.figure.pitfalls.append(Pitfall("legend contradicts labels", text, panel.number))
