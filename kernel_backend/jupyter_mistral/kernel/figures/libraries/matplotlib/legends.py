"""Reads the legends of a matplotlib figure: entries, names for series without a label, and contradictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...facts.boxes import Boxes, Violins
from ...model import Panel, Pitfall, Series, clean_text
from ...reader import Reading
from .colours import get_handle_colour

# kinds of series that a legend entry can stand for
_NAMED = {"line", "points", "step line", "scatter", "bars", "histogram", "area", "stems", "3D line", "3D points"}


def read_legends(figure: Any, panels: list[tuple[Any, Panel]], reading: Reading) -> None:
    """Add each legend to its panel; a legend of the figure, to all panels."""
    common = list(getattr(figure, "legends", ()) or ())
    for axes, panel in panels:
        own = axes.get_legend()
        for legend in [*([own] if own is not None else []), *common]:
            if legend.get_visible():
                reading.attempt(f"the legend of panel {panel.number}", _read, legend, panel, reading)


def _read(legend: Any, panel: Panel, reading: Reading) -> None:
    handles = getattr(legend, "legend_handles", None) or getattr(legend, "legendHandles", [])
    entries = [clean_text(text.get_text()) for text in legend.get_texts()]
    panel.legend += [entry for entry in entries if entry]
    title = clean_text(legend.get_title().get_text()).removesuffix("None").strip()
    panel.legend_title = title or panel.legend_title
    entries_of: dict[str, list[str]] = {}
    for entry, handle in zip(entries, handles, strict=False):
        colour = get_handle_colour(handle) if handle is not None else ""
        if entry and colour:
            entries_of.setdefault(colour, []).append(entry)
    names = {colour: texts[0] for colour, texts in entries_of.items() if len(set(texts)) == 1}
    _name_boxes(panel, names)
    series_of: dict[str, list[Series]] = {}
    for series in panel.series:
        if series.kind in _NAMED and series.colour:
            series_of.setdefault(series.colour, []).append(series)
    for colour, name in names.items():
        _name_series(series_of.get(colour, []), name, entries, panel, reading)


def _name_boxes(panel: Panel, names: dict[str, str]) -> None:
    """Name the boxes and violins by the colours of the legend, unless all have the same colour."""
    drawn = [each for each in map(_colours_of, panel.series) if each]
    if len({colour for colours in drawn for colour in colours}) < 2:
        return
    for series in panel.series:
        facts = series.facts
        if isinstance(facts, Boxes):
            boxes = tuple(replace(box, name=names.get(box.colour, box.name)) for box in facts.boxes)
            series.facts = replace(facts, boxes=boxes)
        elif isinstance(facts, Violins):
            violins = tuple(replace(each, name=names.get(each.colour, each.name)) for each in facts.violins)
            series.facts = replace(facts, violins=violins)


def _colours_of(series: Series) -> list[str]:
    if isinstance(series.facts, Boxes):
        return [box.colour for box in series.facts.boxes]
    return [violin.colour for violin in series.facts.violins] if isinstance(series.facts, Violins) else []


def _name_series(drawn: list[Series], entry: str, entries: list[str], panel: Panel, reading: Reading) -> None:
    """Name the unnamed series of the entry's colour. A series that has another entry's name is a contradiction."""
    if all(not series.name for series in drawn):
        for series in drawn:
            series.name = entry
    others = [s for s in drawn if s.name != entry and s.name in entries]
    if others and len(drawn) == len(others):
        text = f'the legend shows "{entry}" in the colour of the series that is labelled "{others[0].name}"'
        reading.figure.pitfalls.append(Pitfall("legend contradicts labels", text, panel.number))
