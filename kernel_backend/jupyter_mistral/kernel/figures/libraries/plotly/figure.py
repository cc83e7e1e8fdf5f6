"""Reads a plotly figure's specification (data and layout) into panels and axes. Does not guess what the browser computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...measure.positions import Convert, map_axis
from ...model import Axis, Panel, clean_text
from ...reader import MAX_PANELS, MAX_SERIES, Reading
from .arrays import read_array
from .panel import Spec, Traces
from .traces import read_trace

# types with an x and a y axis
_FLAT = {
    *("scatter", "scattergl", "bar", "funnel", "waterfall", "candlestick", "ohlc"),
    *("histogram", "box", "violin", "heatmap", "contour", "image", "histogram2d", "histogram2dcontour"),
}
# types whose every trace is a plot of its own
_ALONE = {"pie", "indicator", "table", "sankey", "sunburst", "treemap", "parcoords", "parcats", "splom"}
_KINDS = {"linear": "number", "log": "number", "date": "date", "category": "category", "multicategory": "category"}


def is_plotly(spec: Spec) -> bool:
    return (isinstance(spec.get("data"), list | tuple) and "layout" in spec) or (
        isinstance(spec.get("data"), list) and bool(spec["data"]) and "mark" not in spec and "$schema" not in spec
    )


def read_plotly(spec: Spec, reading: Reading) -> None:
    layout = spec.get("layout") or {}
    into = reading.figure
    into.source, into.title = "plotly", title_of(layout)
    shown = [t for t in spec["data"] if isinstance(t, Mapping) and t.get("visible", True) is True]
    hidden = len(spec["data"]) - len(shown)
    if hidden:
        into.notes.append(f"{hidden} traces are not visible and were not read")
    if spec.get("frames"):
        into.notes.append(f"animated: {len(spec['frames'])} frames; only the displayed one was read")
    groups: dict[tuple[str, str], list[Spec]] = {}
    for i, trace in enumerate(shown):
        groups.setdefault(_place(trace, i), []).append(trace)
    panels: dict[str, Panel] = {}
    for key, traces in list(groups.items())[:MAX_PANELS]:
        panel = Panel(len(into.panels) + 1)
        into.panels.append(panel)
        panels[key[1]] = panel
        reading.attempt(f"panel {panel.number}", _read_panel, key, traces, layout, panel, reading)
        below = _axis_layout(layout, key[1]).get("overlaying")
        if isinstance(below, str) and below in panels:
            panel.twin_of = panels[below].number
    reading.attempt("the annotations", _read_annotations, layout, into.panels, panels)


def title_of(spec: Any) -> str:
    """Return `title`, which is text or an object with text."""
    title = spec.get("title") if isinstance(spec, Mapping) else None
    return clean_text(title.get("text") if isinstance(title, Mapping) else title)


def _place(trace: Spec, i: int) -> tuple[str, str]:
    """Return a key; traces with the same key share a panel."""
    kind = str(trace.get("type", "scatter"))
    if kind in _FLAT:
        return str(trace.get("xaxis") or "x"), str(trace.get("yaxis") or "y")
    for name in ("scene", "subplot", "geo", "polar", "ternary"):
        if trace.get(name):
            return "", str(trace[name])
    return "", f"{kind} {i}" if kind in _ALONE else kind


def _axis_layout(layout: Spec, key: str) -> Spec:
    """Return the layout of an axis: that of `x2` is under `xaxis2`."""
    own = layout.get(f"{key[:1]}axis{key[1:]}") if key[:1] in ("x", "y") else None
    return own if isinstance(own, Mapping) else {}


def _read_panel(key: tuple[str, str], group: list[Spec], layout: Spec, panel: Panel, reading: Reading) -> None:
    traces = Traces(panel, reading, _read_axes(key, group, layout, panel), layout)
    for i, trace in enumerate(group):
        if len(panel.series) >= MAX_SERIES:
            panel.skip(clean_text(trace.get("type", "scatter"), 30))
            continue
        name = clean_text(trace.get("name"))
        what = f'trace "{name}"' if name else f"trace {i + 1}"
        reading.attempt(f"{what} of panel {panel.number}", read_trace, traces, trace)
    traces.finish()
    named = [clean_text(t.get("name")) for t in group if t.get("name") and t.get("showlegend", True)]
    if layout.get("showlegend", len(named) > 1):
        panel.legend = [n for n in dict.fromkeys(named) if n]
        panel.legend_title = title_of(layout.get("legend") or {})


def _read_axes(key: tuple[str, str], group: list[Spec], layout: Spec, panel: Panel) -> dict[str, Convert]:
    """Add the axes of a panel; return the functions that convert values to positions on them."""
    kind = group[0].get("type")
    layouts: dict[str, Spec] = {}
    if key[0]:
        layouts = {name: _axis_layout(layout, own) for name, own in zip("xy", key, strict=True)}
    elif str(kind).endswith("3d") or kind in ("surface", "mesh3d"):
        scene = layout.get(key[1]) or {}
        layouts = {name: scene.get(f"{name}axis") or {} for name in "xyz"}
    converts: dict[str, Convert] = {}
    for name, own_layout in layouts.items():
        data = [read_array(t.get(name)) for t in group]
        panel.axes[name], converts[name] = _read_axis(name, own_layout, data)
    return converts


def _read_axis(name: str, layout: Spec, data: list[Any]) -> tuple[Axis, Convert]:
    """Return the axis, and the function that converts values to positions on it."""
    axis = Axis(name, title_of(layout), "log" if layout.get("type") == "log" else "linear")
    order = layout.get("categoryarray") or ()
    order = order if isinstance(order, list | tuple) else ()
    convert = map_axis(axis, [_pair_rows(d) for d in data], _KINDS.get(str(layout.get("type")), ""), order)
    limits = layout.get("range")
    if isinstance(limits, list | tuple) and len(limits) == 2 and None not in limits:
        low, high = (float(v) for v in (convert(limits) if axis.kind == "date" else limits))
        axis.limits = (10**low, 10**high) if axis.scale == "log" else (low, high)
    axis.reversed = str(layout.get("autorange")) in ("reversed", "min reversed", "max reversed") and axis.limits is None
    if layout.get("tickformat") and "%" in str(layout["tickformat"]) and axis.kind == "number":
        axis.note = "ticks are shown as percent"
    return axis, lambda values: convert(_pair_rows(values))


def _pair_rows(data: Any) -> Any:
    """Turn two rows of categories, one above the other, into pairs."""
    if isinstance(data, list | tuple) and len(data) == 2 and all(isinstance(row, list | tuple) for row in data):
        return list(zip(*data, strict=False))
    return data


def _read_annotations(layout: Spec, panels: list[Panel], by_axis: Mapping[str, Panel]) -> None:
    for note in list(layout.get("annotations") or ())[:40]:
        text = clean_text(note.get("text"))
        panel = by_axis.get(str(note.get("yref", "")).removesuffix(" domain")) or (panels[0] if panels else None)
        if text and panel is not None:
            is_data = note.get("xref", "paper") in ("x",) or str(note.get("xref", "")).lstrip("x").isdigit()
            at = f" (at x {clean_text(note.get('x'), 30)}, y {clean_text(note.get('y'), 30)})" if is_data else ""
            panel.texts.append(text + at)
