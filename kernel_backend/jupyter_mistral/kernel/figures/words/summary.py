"""Summarizes a figure's facts in a few lines of Markdown. An explanation begins with it, so that its numbers are exact."""

from __future__ import annotations

import re

from ..model import Axis, Figure, Panel
from .phrases import phrase
from .terms import join_some, num

LIMIT = 1500
# the figure's own text must not become links, headings, formulas or tags of the answer
_MARKDOWN = re.compile(r"([\\`*_\[\]<>$#|~])")


def summarize(figure: Figure, limit: int = LIMIT) -> str:
    """Return axes, series and pitfalls, the first of each, in at most `limit` characters."""
    for items, series, panels in ((5, 8, 6), (3, 4, 3), (2, 2, 1)):
        text = "\n".join(_lines(figure, items, series, panels))
        if len(text) <= limit:
            return text
    return text[: limit - 1].rpartition("\n")[0] + "\n- …"


def _lines(figure: Figure, items: int, series: int, panels: int) -> list[str]:
    lines = [f"- title: {_safe(figure.title)}"] if figure.title else []
    for panel in figure.panels[:panels]:
        prefix = f"panel {panel.number}, " if len(figure.panels) > 1 else ""
        if panel.title:
            lines.append(f"- {prefix}title: {_safe(panel.title)}")
        axes = " · ".join(f"{name} {_axis(axis, items)}" for name, axis in panel.axes.items())
        lines += [f"- {prefix}axes: {axes}"] if axes else []
        lines += [f"- {prefix}{_series(panel, i, items)}" for i in range(min(series, len(panel.series)))]
        lines += _more(len(panel.series) - series, f"{prefix}series")
    lines += _more(len(figure.panels) - panels, "panels")
    lines += [f"- **Note:** {_safe(pitfall.text)}" for pitfall in figure.pitfalls[:items]]
    return lines + _more(len(figure.pitfalls) - items, "pitfalls")


def _more(n: int, what: str) -> list[str]:
    return [f"- … {n} more {what}"] if n > 0 else []


def _axis(axis: Axis, items: int) -> str:
    label = f"“{_safe(axis.label)}”" if axis.label else "without a label"
    if axis.kind == "category":
        return f"{label}, {len(axis.categories)} categories: {_safe(join_some(list(axis.categories), items))}"
    scale = f", {axis.scale}" if axis.scale not in ("linear", "date", "") else ""
    ends = "" if axis.limits is None else f" from {_end(axis, 0)} to {_end(axis, 1)}"
    return f"{label}{ends}{scale}{', inverted' if axis.is_inverted else ''}"


def _end(axis: Axis, which: int) -> str:
    assert axis.limits is not None
    return _safe(num(axis.at(axis.limits[which])))


def _series(panel: Panel, i: int, items: int) -> str:
    series = panel.series[i]
    name = f" “{_safe(series.name)}”" if series.name else ""
    return f"{series.kind}{name}: {_safe(phrase(series, panel.axes, items))}"


def _safe(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)
