"""Reads one view of a Vega-Lite chart into series, by its mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...facts.base import Colours, ColourScale
from ...facts.fields import Cells
from ...facts.points import NumberPoints, Points, ReferenceLines
from ...measure import columns
from ...measure.bars import measure_bars, measure_pie
from ...measure.points import measure_points
from ...measure.positions import Convert, to_list
from ...measure.summaries import locate, measure_sample, measure_spread
from ...model import Axis, Series, clean_text
from ...reader import MAX_SERIES
from .browser_computed import is_derived, read_raw
from .view import GROUP_CHANNELS, Row, View, aggregate_rows, key, number_key, read_axis, title_of_channel

_DOTS = {"point", "circle", "square", "tick", "text", "image"}
_LINES = {"line", "trail", "area"}
_FACETS = ("row", "column", "facet")


def read_marks(view: View) -> None:
    if view.transforms or is_derived(view):
        read_raw(view)
        return
    rows = aggregate_rows(view)
    axes: dict[str, Convert] = {name: read_axis(view, name, rows) for name in ("x", "y") if view.channel(name)}
    if view.mark == "arc":
        _read_arcs(view, rows)
    elif view.mark == "rect" and number_key(view, "color"):
        _read_cells(view, rows, axes)
    elif set(axes) == {"x", "y"} and view.mark in (*_DOTS, *_LINES, "bar"):
        _read_groups(view, rows, axes)
    elif view.mark == "rule":
        _read_rules(view, rows, axes)
    else:
        read_raw(view)


def _split_rows(view: View, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows by the name of their series: the values of colours, shapes, facets."""
    fields: list[str] = []
    for name in GROUP_CHANNELS:
        channel, field = view.channel(name), view.field(name)
        is_nominal = not channel.get("aggregate") and channel.get("type") in ("nominal", "ordinal", None)
        is_own = field not in (view.field("x"), view.field("y")) or name in _FACETS
        if field and field not in fields and is_nominal and is_own:
            fields.append(field)
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(", ".join(clean_text(row.get(f), 60) for f in fields), []).append(row)
    colour = view.field("color")
    if fields and colour in fields:
        view.panel.legend = [n for n in dict.fromkeys(clean_text(r.get(colour), 60) for r in rows) if n]
        view.panel.legend_title = title_of_channel(view.channel("color"), colour)
    return parts


def _read_groups(view: View, rows: Sequence[Row], axes: Mapping[str, Convert]) -> None:
    parts = _split_rows(view, rows)
    for name, part in parts.items():
        if len(view.panel.series) >= MAX_SERIES:
            view.panel.skip(view.mark)
            continue
        xs = columns.to_column(axes["x"]([row.get(key(view, "x")) for row in part]))
        ys = columns.to_column(axes["y"]([row.get(key(view, "y")) for row in part]))
        if view.mark == "bar":
            _add_bars(view, name, xs, ys)
        else:
            _add_points(view, name, xs, ys, part)
    if view.mark == "bar":
        _note_stacks_and_groups(view, rows, len(parts), axes)
    if view.mark == "area" and len(parts) > 1 and view.channel("y").get("stack", "zero") not in (None, False):
        view.panel.notes.append("areas are stacked: the values of each series are its own heights")


def _add_points(view: View, name: str, xs: Any, ys: Any, part: Sequence[Row]) -> None:
    x, y = view.panel.axes["x"], view.panel.axes["y"]
    is_ordered = view.mark in _LINES
    if is_ordered and not view.channel("order"):  # Vega-Lite joins points in the order of x
        turn = sorted(range(len(xs)), key=lambda i: (xs[i] != xs[i], xs[i]))
        xs, ys = columns.to_column([xs[i] for i in turn]), columns.to_column([ys[i] for i in turn])
    facts = measure_points(xs, ys, x, y, view.reading.allowance, is_ordered)
    if x.kind == "category" and _has_own_order(view):
        facts = _without_order(facts)
    if not is_ordered:
        facts = replace(facts, colours=_read_colours(view, part))
    facts = replace(facts, drawn_as="area" if view.mark == "area" else "")
    colour = clean_text(view.options.get("color"), 30)
    view.panel.series.append(Series("line" if is_ordered else "scatter", name, facts, colour))


def _has_own_order(view: View) -> bool:
    sort = view.channel("x").get("sort")
    return isinstance(sort, str | Mapping) and sort not in ("ascending", "descending")


def _without_order(facts: Points) -> Points:
    """Leave out what depends on an order that only the browser computes."""
    if not isinstance(facts.drawn, NumberPoints):
        return facts
    return replace(facts, drawn=replace(facts.drawn, first=None, last=None, direction=""))


def _read_colours(view: View, part: Sequence[Row]) -> Colours | None:
    number = number_key(view, "color")
    if not number:
        return None
    sample = measure_sample([row.get(number) for row in part], Axis("colour"), view.reading.allowance)
    return Colours(sample=sample, scale=_colour_scale(view))


def _colour_scale(view: View) -> ColourScale:
    return ColourScale(
        colour_map="default colours",
        colour_label=title_of_channel(view.channel("color"), view.field("color")),
        colour_limits=(None, None),
        colour_scale="linear",
        colour_bar=True,
    )


def _is_horizontal(view: View) -> bool:
    """Return whether the lengths of the bars are along x."""
    x, y = view.panel.axes["x"], view.panel.axes["y"]
    if x.kind == "number" and y.kind == "number":
        return not view.channel("y").get("aggregate") and bool(view.channel("x").get("aggregate"))
    return x.kind == "number"


def _add_bars(view: View, name: str, xs: Any, ys: Any) -> None:
    is_horizontal = _is_horizontal(view)
    places, lengths = (ys, xs) if is_horizontal else (xs, ys)
    axis = view.panel.axes["y" if is_horizontal else "x"]
    names = [axis.near(p) for p in columns.to_floats(places)]
    facts = measure_bars(names, columns.to_floats(lengths), [0.0] * len(names), is_horizontal)
    view.panel.series.append(Series("bars", name, facts))


def _note_stacks_and_groups(view: View, rows: Sequence[Row], parts: int, axes: Mapping[str, Convert]) -> None:
    """Note whether bars are grouped or stacked; add the totals of a stack."""
    is_horizontal = _is_horizontal(view)
    name, value = ("y", "x") if is_horizontal else ("x", "y")
    stack = view.channel(value).get("stack", "zero")
    if view.channel("xOffset") or view.channel("yOffset"):
        view.panel.notes.append(f"{parts} series of bars are side by side (grouped)")
        return
    places = columns.to_floats(columns.to_column(axes[name]([row.get(key(view, name)) for row in rows])))
    is_faceted = any(view.field(facet) for facet in _FACETS)
    if len(set(places)) == len(places) or stack in (None, False) or is_faceted:
        return
    lengths = columns.to_floats(columns.to_column([row.get(key(view, value)) for row in rows]))
    totals: dict[float, float] = {}
    for place, length in zip(places, lengths, strict=True):
        totals[place] = totals.get(place, 0.0) + (length if length == length else 0.0)
    axis = view.panel.axes[name]
    names, bases = [axis.near(p) for p in totals], [0.0] * len(totals)
    facts = measure_bars(names, list(totals.values()), bases, is_horizontal, layers=parts)
    view.panel.series.append(Series("stack totals", "", facts))
    scaled = ", scaled to the same length" if stack == "normalize" else ""
    view.panel.notes.append(f"bars at the same position are stacked{scaled}")


def _read_arcs(view: View, rows: Sequence[Row]) -> None:
    number, name = key(view, "theta"), view.field("color")
    values = columns.to_floats(columns.to_column([row.get(number) for row in rows]))
    slices = [(clean_text(row.get(name), 60), v) for row, v in zip(rows, values, strict=True) if v == v]
    total = sum(v for _, v in slices)
    if total > 0:
        facts = measure_pie([n for n, _ in slices], [v / total for _, v in slices], [v for _, v in slices])
        view.panel.series.append(Series("pie", "", facts))


def _read_cells(view: View, rows: Sequence[Row], axes: Mapping[str, Convert]) -> None:
    values = columns.to_column([row.get(number_key(view, "color")) for row in rows])
    places = {n: columns.to_column(convert([row.get(key(view, n)) for row in rows])) for n, convert in axes.items()}
    kept, missing = columns.drop_missing(values, *places.values())
    spread = None
    if len(kept[0]):
        low, high = (
            tuple(view.panel.axes[n].near(float(c[i])) for n, c in zip(places, kept[1:], strict=True))
            for i in (columns.argmin(kept[0]), columns.argmax(kept[0]))
        )
        spread = locate(measure_spread(kept[0], Axis("value")), kept[0], low, high)
    facts = Cells(n=len(values), missing=missing, value=spread, scale=_colour_scale(view))
    view.panel.series.append(Series("cells", "", facts))


def _read_rules(view: View, rows: Sequence[Row], axes: Mapping[str, Convert]) -> None:
    for name in axes:
        channel, axis = view.channel(name), view.panel.axes[name]
        values = [channel["datum"]] if "datum" in channel else [row.get(key(view, name)) for row in rows]
        places = [v for v in columns.to_floats(columns.to_column(axes[name](to_list(values)))) if v == v]
        if places:
            facts = ReferenceLines(n=len(places), axis=name, at=tuple(axis.at(p) for p in places[:40]))
            view.panel.series.append(Series("reference lines", "", facts))
