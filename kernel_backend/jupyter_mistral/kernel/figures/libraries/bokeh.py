"""Reads a live bokeh plot or layout: glyphs, ranges, scales and titles of its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..facts.base import SeriesFacts
from ..facts.others import Count
from ..measure import columns
from ..measure.bars import measure_bars, measure_histogram
from ..measure.points import measure_points
from ..measure.positions import Convert, map_axis
from ..model import Axis, Panel, Series, clean_text
from ..reader import MAX_PANELS, MAX_SERIES, Reading, class_names

_LINES = {"Line": "line", "Step": "step line"}
_DOTS = {"Marker", "Scatter", "Circle"}


def read_bokeh(model: Any, reading: Reading) -> bool:
    """Read the plots of a model. Returns whether it has any."""
    into = reading.figure
    plots = _find_plots(model, 0)
    into.source = "bokeh"
    for plot in plots[:MAX_PANELS]:
        panel = Panel(len(into.panels) + 1)
        into.panels.append(panel)
        reading.attempt(f"panel {panel.number}", _read_plot, plot, panel, reading)
    return bool(plots)


def _find_plots(model: Any, depth: int) -> list[Any]:
    """Return the plots in a model, through rows, columns, grids and tabs."""
    if "Plot" in class_names(model):
        return [model]
    if depth > 10:
        return []
    plots = []
    for child in list(getattr(model, "children", None) or getattr(model, "tabs", None) or ())[:200]:
        inner = child[0] if isinstance(child, tuple) and child else getattr(child, "child", child)
        plots += _find_plots(inner, depth + 1)
    return plots


def _read_plot(plot: Any, panel: Panel, reading: Reading) -> None:
    panel.title = clean_text(getattr(plot.title, "text", "") if plot.title is not None else "")
    shown = [r for r in plot.renderers if "GlyphRenderer" in class_names(r) and r.visible]
    converts: dict[str, Convert] = {}
    for name, ends in (("x", ("left", "right")), ("y", ("bottom", "top"))):
        data = [_column(renderer, field) for renderer in shown for field in (name, *ends)]
        panel.axes[name], converts[name] = _read_axis(plot, name, data)
    items = [i for legend in plot.legend for i in legend.items]
    panel.legend += [_legend_text(item.label) for item in items]
    names = {id(r): _legend_text(item.label) for item in items for r in item.renderers}
    for renderer in shown:
        if len(panel.series) >= MAX_SERIES:
            panel.skip(type(renderer.glyph).__name__)
            continue
        name = names.get(id(renderer)) or clean_text(renderer.name)
        glyph = _Glyph(renderer, panel, converts, reading)
        reading.attempt(f"a glyph of panel {panel.number}", _read_glyph, glyph, name)


def _read_axis(plot: Any, name: str, data: list[Any]) -> tuple[Axis, Convert]:
    drawn = (plot.below or plot.above) if name == "x" else (plot.left or plot.right)
    axes = [a for a in drawn if "Axis" in class_names(a)]
    label = next((clean_text(a.axis_label) for a in axes if getattr(a, "axis_label", None)), "")
    is_date = any("DatetimeAxis" in class_names(a) for a in axes)
    range_ = getattr(plot, f"{name}_range")
    scale = "log" if "LogScale" in class_names(getattr(plot, f"{name}_scale")) else "linear"
    axis = Axis(name, label, scale)
    if "FactorRange" in class_names(range_):
        return axis, map_axis(axis, [], "category", list(range_.factors))
    convert = map_axis(axis, data, "date" if is_date else "number")
    # a data range has no ends until it is drawn, and the browser does not report them to Python
    ends = (range_.start, range_.end)
    if None not in ends and "DataRange1d" not in class_names(range_):
        low, high = columns.to_floats(columns.to_column(convert(list(ends))))
        axis.limits = (low, high) if low == low and high == high else None
    elif getattr(range_, "flipped", False):
        axis.reversed = True
    return axis, convert


def _legend_text(label: Any) -> str:
    text = getattr(label, "value", None) or getattr(label, "field", None) or label
    return clean_text(text if isinstance(text, str) else "")


def _column(renderer: Any, name: str) -> Any:
    """Return the column that a glyph's property names, or its one value repeated."""
    spec = getattr(renderer.glyph, name, None)
    field = getattr(spec, "field", None) or (spec if isinstance(spec, str) else None)
    data = renderer.data_source.data
    if isinstance(field, str):
        column = data.get(field)
        return column.to_numpy() if hasattr(column, "to_numpy") else column
    value = getattr(spec, "value", spec)
    if isinstance(value, int | float) and not isinstance(value, bool):
        lengths = [columns.length(c) for c in data.values()] if isinstance(data, Mapping) else []
        return [value] * max(lengths, default=1)
    return None


@dataclass
class _Glyph:
    """A glyph, the panel it is read into, and the functions that convert values to positions."""

    renderer: Any
    panel: Panel
    converts: Mapping[str, Convert]
    reading: Reading

    def positions(self, field: str, axis: str) -> Any:
        values = _column(self.renderer, field)
        return None if values is None else columns.to_column(self.converts[axis](values))


def _read_glyph(glyph: _Glyph, name: str) -> None:
    drawn = glyph.renderer.glyph
    names, kind = class_names(drawn), type(drawn).__name__
    facts: SeriesFacts
    if kind in ("VBar", "HBar"):
        kind, facts = "bars", _read_bars(glyph, kind == "HBar")
    elif kind == "Quad":
        kind, facts = _read_quads(glyph)
    elif (kind in _LINES or names & _DOTS) and _has_points(glyph):
        xs, ys, axes = glyph.positions("x", "x"), glyph.positions("y", "y"), glyph.panel.axes
        facts = measure_points(xs, ys, axes["x"], axes["y"], glyph.reading.allowance, kind in _LINES)
        kind = _LINES.get(kind, "scatter")
    else:
        data = glyph.renderer.data_source.data
        kind, facts = kind.lower(), Count(n=max((columns.length(c) for c in data.values()), default=0))
    colour = getattr(drawn, "line_color" if kind in ("line", "step line") else "fill_color", "")
    text = clean_text(colour, 30) if isinstance(colour, str) else ""
    glyph.panel.series.append(Series(kind, name, facts, text))


def _has_points(glyph: _Glyph) -> bool:
    return glyph.positions("x", "x") is not None and glyph.positions("y", "y") is not None


def _read_bars(glyph: _Glyph, is_horizontal: bool) -> SeriesFacts:
    place, value, end, start = ("y", "x", "right", "left") if is_horizontal else ("x", "y", "top", "bottom")
    tops, places = glyph.positions(end, value), glyph.positions(place, place)
    bases = glyph.positions(start, value)
    bases = columns.to_column([0.0] * len(tops)) if bases is None else bases
    lengths = [a - b for a, b in zip(columns.to_floats(tops), columns.to_floats(bases), strict=True)]
    names = [glyph.panel.axes[place].near(p) for p in columns.to_floats(places)]
    return measure_bars(names, lengths, columns.to_floats(bases), is_horizontal)


def _read_quads(glyph: _Glyph) -> tuple[str, SeriesFacts]:
    """Read rectangles: a histogram if each begins where the one before it ends."""
    left, right, top = glyph.positions("left", "x"), glyph.positions("right", "x"), glyph.positions("top", "y")
    edges = [*columns.to_floats(left), float(right[-1])]
    if any(a != b for a, b in zip(edges[1:], columns.to_floats(right), strict=True)):
        return "rectangles", Count(n=len(top))
    return "histogram", measure_histogram(edges, columns.to_floats(top), glyph.panel.axes["x"])
