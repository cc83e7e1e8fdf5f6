"""A live bokeh plot or layout into panels: glyphs, ranges, scales and titles of its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..measure import columns, series
from ..measure.positions import Convert, mapped
from ..model import Axis, Panel, words
from ..model import Series as Found
from ..reader import MAX_PANELS, MAX_SERIES, Reading, kinds

_LINES = {"Line": "line", "Step": "step line"}
_DOTS = {"Marker", "Scatter", "Circle"}


def read_bokeh(model: Any, reading: Reading) -> bool:
    into = reading.figure
    plots = _plots(model, 0)
    into.source = "bokeh"
    for plot in plots[:MAX_PANELS]:
        panel = Panel(len(into.panels) + 1)
        into.panels.append(panel)
        reading.attempt(f"panel {panel.number}", _read_plot, plot, panel, reading)
    return bool(plots)


def _plots(model: Any, depth: int) -> list[Any]:
    """The plots in a model, through rows, columns, grids and tabs."""
    if "Plot" in kinds(model):
        return [model]
    if depth > 10:
        return []
    found = []
    for child in list(getattr(model, "children", None) or getattr(model, "tabs", None) or ())[:200]:
        inner = child[0] if isinstance(child, tuple) and child else getattr(child, "child", child)
        found += _plots(inner, depth + 1)
    return found


def _read_plot(plot: Any, panel: Panel, reading: Reading) -> None:
    panel.title = words(getattr(plot.title, "text", "") if plot.title is not None else "")
    shown = [r for r in plot.renderers if "GlyphRenderer" in kinds(r) and r.visible]
    converts: dict[str, Convert] = {}
    for name, own in (("x", plot.below or plot.above), ("y", plot.left or plot.right)):
        held = [_held(r, f) for r in shown for f in (name, *(("left", "right") if name == "x" else ("bottom", "top")))]
        label = next((words(a.axis_label) for a in own if "Axis" in kinds(a) and getattr(a, "axis_label", None)), "")
        is_date = any("DatetimeAxis" in kinds(a) for a in own)
        panel.axes[name], converts[name] = _axis(plot, name, label, held, is_date)
    for item in [i for legend in plot.legend for i in legend.items]:
        panel.legend.append(_legend_text(item.label))
    names = {id(r): _legend_text(i.label) for legend in plot.legend for i in legend.items for r in i.renderers}
    for renderer in shown:
        kind = type(renderer.glyph).__name__
        if len(panel.series) >= MAX_SERIES:
            panel.more[kind] = panel.more.get(kind, 0) + 1
            continue
        name = names.get(id(renderer)) or words(renderer.name)
        reading.attempt(f"a glyph of panel {panel.number}", _read_glyph, renderer, name, panel, converts, reading)


def _axis(plot: Any, name: str, label: str, held: list[Any], is_date: bool) -> tuple[Axis, Convert]:
    range_ = getattr(plot, f"{name}_range")
    scale = "log" if "LogScale" in kinds(getattr(plot, f"{name}_scale")) else "linear"
    axis = Axis(name, label, scale)
    if "FactorRange" in kinds(range_):
        return axis, mapped(axis, [], "category", list(range_.factors))
    convert = mapped(axis, [h for h in held if h is not None], "date" if is_date else "number")
    # a data range that was never drawn has no ends yet; what a browser drew is not told back to Python
    ends = (range_.start, range_.end)
    if None not in ends and "DataRange1d" not in kinds(range_):
        low, high = columns.plain(columns.column(convert(list(ends))))
        axis.limits = (low, high) if low == low and high == high else None
    elif getattr(range_, "flipped", False):
        axis.reversed = True
    return axis, convert


def _legend_text(label: Any) -> str:
    held = getattr(label, "value", None) or getattr(label, "field", None) or label
    return words(held if isinstance(held, str) else "")


def _held(renderer: Any, name: str) -> Any:
    """The column that a glyph's property names, or the one value that it holds for all."""
    spec = getattr(renderer.glyph, name, None)
    field = getattr(spec, "field", None) or (spec if isinstance(spec, str) else None)
    data = renderer.data_source.data
    if isinstance(field, str):
        held = data.get(field)
        return held.to_numpy() if hasattr(held, "to_numpy") else held
    value = getattr(spec, "value", spec)
    if isinstance(value, int | float) and not isinstance(value, bool):
        lengths = [columns.length(c) for c in data.values()] if isinstance(data, Mapping) else []
        return [value] * max(lengths, default=1)
    return None


def _read_glyph(renderer: Any, name: str, panel: Panel, converts: Mapping[str, Convert], reading: Reading) -> None:
    glyph = renderer.glyph
    found, kind = kinds(glyph), type(glyph).__name__
    x, y = panel.axes["x"], panel.axes["y"]

    def column(field: str, axis: str) -> Any:
        held = _held(renderer, field)
        return None if held is None else columns.column(converts[axis](held))

    facts: dict[str, Any]
    if kind in ("VBar", "HBar"):
        is_flat = kind == "HBar"
        place, end, start = ("y", "right", "left") if is_flat else ("x", "top", "bottom")
        value = "x" if is_flat else "y"
        tops, places = column(end, value), column(place, place)
        bases = column(start, value)
        bases = columns.column([0.0] * len(tops)) if bases is None else bases
        lengths = [a - b for a, b in zip(columns.plain(tops), columns.plain(bases), strict=True)]
        texts = [panel.axes[place].near(p) for p in columns.plain(places)]
        facts, kind = series.bars(texts, lengths, columns.plain(bases), is_flat), "bars"
    elif kind == "Quad":
        left, right, top = column("left", "x"), column("right", "x"), column("top", "y")
        edges = [*columns.plain(left), float(right[-1])]
        if any(a != b for a, b in zip(edges[1:], columns.plain(right), strict=True)):
            facts, kind = {"n": len(top)}, "rectangles"
        else:
            facts, kind = series.histogram(edges, columns.plain(top), x), "histogram"
    elif (kind in _LINES or found & _DOTS) and column("x", "x") is not None and column("y", "y") is not None:
        ordered = kind in _LINES
        facts = series.points(column("x", "x"), column("y", "y"), x, y, reading.allowance, ordered)
        kind = _LINES.get(kind, "scatter")
    else:
        data = renderer.data_source.data
        facts, kind = {"n": max((columns.length(c) for c in data.values()), default=0)}, kind.lower()
    colour = getattr(glyph, "line_color", "") if kind in ("line", "step line") else getattr(glyph, "fill_color", "")
    panel.series.append(Found(kind, name, facts, words(colour, 30) if isinstance(colour, str) else ""))
