"""Reads the fields of a Vega-Lite view as they are in its data, for charts that the browser computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...measure.positions import map_axis
from ...measure.summaries import measure_groups, measure_sample
from ...model import Axis, Series, clean_text
from .view import KINDS, View, read_axis, title_of_channel

_TRANSFORMS = {
    *("filter", "calculate", "aggregate", "bin", "timeUnit", "fold", "flatten", "joinaggregate", "window", "stack"),
    *("density", "regression", "loess", "lookup", "pivot", "sample", "impute", "quantile", "extent"),
}


def is_derived(view: View) -> bool:
    """Return whether the browser computes what is drawn: bins, time units, composite marks."""
    if view.mark in ("boxplot", "errorbar", "errorband", "geoshape"):
        return True
    return any(view.channel(name).get(key) for name in ("x", "y", "color") for key in ("bin", "timeUnit", "impute"))


def read_raw(view: View) -> None:
    """Read the fields of the channels, with a note that these are not what is drawn."""
    note = _note(view)
    for name in ("x", "y", "theta", "color", "size"):
        if name in ("x", "y") and view.channel(name):
            _read_axis(view, name)
        field = view.field(name)
        if field and any(field in row for row in view.rows[:100]):
            _read_field(view, name, field, note)


def _note(view: View) -> str:
    if view.transforms:
        steps = [clean_text(k, 30) for t in view.transforms if isinstance(t, Mapping) for k in t if k in _TRANSFORMS]
        return f"in the data; the chart transforms it first ({', '.join(steps[:5]) or 'in an unknown way'})"
    return "in the data; the browser groups it" if is_derived(view) else "in the data"


def _read_axis(view: View, name: str) -> None:
    channel = view.channel(name)
    unit = clean_text(channel.get("timeUnit"), 30)
    if not unit:
        read_axis(view, name, view.rows)
        return
    # the browser computes months and weekdays: the moments in the data are not the categories
    title = title_of_channel(channel, view.field(name))
    view.panel.axes[name] = Axis(name, title, kind="date", note=f"grouped by {unit}")


def _read_field(view: View, name: str, field: str, note: str) -> None:
    channel = view.channel(name)
    column = [row.get(field) for row in view.rows]
    axis = Axis(name)
    convert = map_axis(axis, [column], KINDS.get(str(channel.get("type")), ""))
    if axis.kind == "category":
        return
    facts = replace(measure_sample(convert(column), axis, view.reading.allowance), note=note)
    other = view.field("y" if name == "x" else "x") if view.mark == "boxplot" and name in ("x", "y") else ""
    if other:
        facts = replace(facts, groups=measure_groups((row.get(other) for row in view.rows), column, Axis("y")))
    is_box = view.mark == "boxplot"
    kind = "values of boxes" if is_box else "values of a histogram" if channel.get("bin") else "values"
    view.panel.series.append(Series(kind, clean_text(field), facts))
