"""A plotly figure's specification (data and layout) into panels and their axes. What the browser works out is not guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...measure.positions import Convert, mapped
from ...model import Axis, Panel, words
from ...reader import MAX_PANELS, MAX_SERIES, Reading
from .arrays import values
from .panel import Traces
from .traces import FLAT, read_trace

Spec = Mapping[str, Any]
# types of which each trace is a picture by itself
_ALONE = {"pie", "indicator", "table", "sankey", "sunburst", "treemap", "parcoords", "parcats", "splom"}


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
        into.notes.append(f"animated: {len(spec['frames'])} frames, of which the one that is shown was read")
    groups: dict[tuple[str, str], list[Spec]] = {}
    for i, trace in enumerate(shown):
        groups.setdefault(_place(trace, i), []).append(trace)
    by_key: dict[str, Panel] = {}
    for key, traces in list(groups.items())[:MAX_PANELS]:
        panel = Panel(len(into.panels) + 1)
        into.panels.append(panel)
        by_key[key[1]] = panel
        reading.attempt(f"panel {panel.number}", _read_panel, key, traces, layout, panel, reading)
        over = _axis_layout(layout, key[1]).get("overlaying")
        if isinstance(over, str) and over in by_key:
            panel.twin_of = by_key[over].number
    reading.attempt("the annotations", _read_annotations, layout, into.panels, by_key)


def title_of(held: Any) -> str:
    """`title` is text, or an object with text."""
    title = held.get("title") if isinstance(held, Mapping) else None
    return words(title.get("text") if isinstance(title, Mapping) else title)


def _place(trace: Spec, i: int) -> tuple[str, str]:
    """Traces with the same place share a panel."""
    kind = str(trace.get("type", "scatter"))
    if kind in FLAT:
        return str(trace.get("xaxis") or "x"), str(trace.get("yaxis") or "y")
    for name in ("scene", "subplot", "geo", "polar", "ternary"):
        if trace.get(name):
            return "", str(trace[name])
    return "", f"{kind} {i}" if kind in _ALONE else kind


def _axis_layout(layout: Spec, key: str) -> Spec:
    """`x2` is described under `xaxis2`."""
    held = layout.get(f"{key[:1]}axis{key[1:]}") if key[:1] in ("x", "y") else None
    return held if isinstance(held, Mapping) else {}


def _read_panel(key: tuple[str, str], group: list[Spec], layout: Spec, panel: Panel, reading: Reading) -> None:
    converts: dict[str, Convert] = {}
    if key[0]:
        for name, own in zip("xy", key, strict=True):
            held = [values(t.get(name)) for t in group]
            panel.axes[name], converts[name] = _axis(name, _axis_layout(layout, own), held)
    elif str(group[0].get("type")).endswith("3d") or group[0].get("type") in ("surface", "mesh3d"):
        scene = layout.get(key[1]) or {}
        for name in "xyz":
            held = [values(t.get(name)) for t in group]
            panel.axes[name], converts[name] = _axis(name, scene.get(f"{name}axis") or {}, held)
    traces = Traces(panel, reading, converts, layout)
    for i, trace in enumerate(group):
        if len(panel.series) >= MAX_SERIES:
            kind = words(trace.get("type", "scatter"), 30)
            panel.more[kind] = panel.more.get(kind, 0) + 1
            continue
        name = words(trace.get("name"))
        said = f'trace "{name}"' if name else f"trace {i + 1}"
        reading.attempt(f"{said} of panel {panel.number}", read_trace, traces, trace)
    traces.finish()
    named = [words(t.get("name")) for t in group if t.get("name") and t.get("showlegend", True)]
    if layout.get("showlegend", len(named) > 1):
        panel.legend = [n for n in dict.fromkeys(named) if n]
        panel.legend_title = title_of(layout.get("legend") or {})


def _axis(name: str, held: Spec, found: list[Any]) -> tuple[Axis, Convert]:
    """The axis, and what turns values into its positions."""
    kind = {"linear": "number", "log": "number", "date": "date", "category": "category", "multicategory": "category"}
    axis = Axis(name, title_of(held), "log" if held.get("type") == "log" else "linear")
    flat = [_joined(f) for f in found]
    order = held.get("categoryarray") or ()
    convert = mapped(axis, flat, kind.get(str(held.get("type")), ""), order if isinstance(order, list | tuple) else ())
    limits = held.get("range")
    if isinstance(limits, list | tuple) and len(limits) == 2 and None not in limits:
        low, high = (float(v) for v in (convert(limits) if axis.kind == "date" else limits))
        axis.limits = (10**low, 10**high) if axis.scale == "log" else (low, high)
    axis.reversed = str(held.get("autorange")) in ("reversed", "min reversed", "max reversed") and axis.limits is None
    if held.get("tickformat") and "%" in str(held["tickformat"]) and axis.kind == "number":
        axis.note = "ticks are shown as percent"
    return axis, lambda values_: convert(_joined(values_))


def _joined(found: Any) -> Any:
    """Two rows of categories, one over the other, are pairs."""
    if isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(f, list | tuple) for f in found):
        return list(zip(*found, strict=False))
    return found


def _read_annotations(layout: Spec, panels: list[Panel], by_key: Mapping[str, Panel]) -> None:
    for note in list(layout.get("annotations") or ())[:40]:
        said = words(note.get("text"))
        panel = by_key.get(str(note.get("yref", "")).removesuffix(" domain")) or (panels[0] if panels else None)
        if said and panel is not None:
            is_data = note.get("xref", "paper") in ("x",) or str(note.get("xref", "")).lstrip("x").isdigit()
            at = f" (at x {words(note.get('x'), 30)}, y {words(note.get('y'), 30)})" if is_data else ""
            panel.texts.append(said + at)
