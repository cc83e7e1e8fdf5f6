"""Describes a figure in one sentence, and finds numbers in other texts that are not in the figure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..model import Facts, Figure, Panel

_NAMES = {
    "line": "Line plot",
    "step line": "Step plot",
    "points": "Point plot",
    "scatter": "Scatter plot",
    "bars": "Bar chart",
    "histogram": "Histogram",
    "values of a histogram": "Histogram",
    "box plot": "Box plot",
    "values of boxes": "Box plot",
    "violin plot": "Violin plot",
    "values of violins": "Violin plot",
    "pie": "Pie chart",
    "heatmap": "Heat map",
    "cells": "Heat map",
    "hexagons": "Hexbin plot",
    "contours": "Contour plot",
    "area": "Area plot",
    "picture": "Image",
    "stems": "Stem plot",
    "surface": "3D surface",
    "time spans": "Timeline",
    "broken bars": "Broken bar chart",
    "waterfall": "Waterfall chart",
    "table": "Table",
    "parallel coordinates": "Parallel coordinates",
    "scatter matrix": "Scatter plot matrix",
    "values of a density heatmap": "Density heat map",
}
_NUMBER = re.compile(r"(?<![\w.#])[-−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w]|\.\d)")
_DATE = re.compile(r"\d{4}-\d\d(?:-\d\d)?(?:[ T]\d\d:\d\d(?::\d\d)?)?")
SMALL = 10  # smaller integers are not checked: they usually count or number things


def headline(figure: Figure) -> str:
    """Return kind, axes, names of the series and title; "" if nothing could be read."""
    drawn = [panel for panel in figure.panels if panel.series]
    if not drawn:
        return ""
    title = (
        f", titled “{figure.title or drawn[0].title}”" if figure.title or (len(drawn) == 1 and drawn[0].title) else ""
    )
    if len(drawn) == 1:
        return f"{_of(drawn[0])}{title}"
    return (
        f"{len(drawn)} panels{title}: "
        + "; ".join(_lowered(_of(panel)) for panel in drawn[:4])
        + ("; …" * (len(drawn) > 4))
    )


def _of(panel: Panel) -> str:
    kinds = list(dict.fromkeys(_NAMES.get(s.kind, s.kind.capitalize()) for s in panel.series if s.kind in _NAMES))
    kind = " with ".join([kinds[0], *map(_lowered, kinds[1:3])]) if kinds else "Plot"
    labels = {name: panel.axes[name].label for name in ("x", "y") if name in panel.axes and panel.axes[name].label}
    over = f" of {labels['y']}" if "y" in labels else ""
    if "x" in labels:
        over += f" against {labels['x']}" if over else f" over {labels['x']}"
    names = [s.name for s in panel.series if s.name]
    series = f" for {', '.join(names[:4])}{' and others' if len(names) > 4 else ''}" if len(names) > 1 else ""
    return f"{kind}{over}{series}"


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def unknown_numbers(text: str, facts: list[Facts]) -> list[str]:
    """Return the numbers in `text` that are in no figure, however rounded: the model made them up or computed them."""
    known = [abs(v) for each in facts for v in _values(each.to_dict())]
    facts_text = " ".join(str(each) for each in facts)
    written = numbers_in(facts_text)
    unknown: list[str] = []
    for match in _NUMBER.finditer(_DATE.sub(lambda m: m[0] if m[0] not in facts_text else " ", text)):
        stated = _normalize(match[0])
        value = abs(float(stated))
        if (value < SMALL and value.is_integer()) or stated in written or match[0] in unknown:
            continue
        digits = len(stated.partition("e")[0].partition(".")[2])
        step = 0.5000001 * 10.0**-digits * 10.0 ** int(stated.partition("e")[2] or 0)
        if not any(abs(value - v) <= step or abs(value - 100 * v) <= step for v in known):
            unknown.append(match[0])
    return unknown


def numbers_in(text: str) -> set[str]:
    """Return the numbers in a text, without thousands separators."""
    return {_normalize(match[0]) for match in _NUMBER.finditer(text)}


def _normalize(number: str) -> str:
    return number.replace(",", "").replace("−", "-")


def _values(data: Any) -> Iterator[float]:
    if isinstance(data, Mapping):
        for value in data.values():
            yield from _values(value)
    elif isinstance(data, list):
        yield float(len(data))
        for value in data:
            yield from _values(value)
    elif isinstance(data, int | float) and not isinstance(data, bool):
        yield float(data)
