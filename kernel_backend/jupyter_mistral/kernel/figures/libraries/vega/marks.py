"""One view of a Vega-Lite chart into series, by its mark. What only the browser works out is said to be so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...measure import columns, series
from ...measure.positions import Convert, listed, mapped
from ...model import Axis, Series, words
from ...reader import MAX_SERIES
from .view import GROUPS, KINDS, Row, View, aggregated, key, measure, read_axis, title_of_channel

_DOTS = {"point", "circle", "square", "tick", "text", "image"}
_LINES = {"line", "trail", "area"}


def read_marks(view: View) -> None:
    if view.transforms or _is_derived(view):
        _read_raw(view)
        return
    rows = aggregated(view)
    axes: dict[str, Convert] = {name: read_axis(view, name, rows) for name in ("x", "y") if view.channel(name)}
    if view.mark == "arc":
        _read_arcs(view, rows)
    elif view.mark == "rect" and measure(view, "color"):
        _read_cells(view, rows, axes)
    elif set(axes) == {"x", "y"} and view.mark in (*_DOTS, *_LINES, "bar"):
        _read_groups(view, rows, axes)
    elif view.mark == "rule":
        _read_rules(view, rows, axes)
    else:
        _read_raw(view)


def _is_derived(view: View) -> bool:
    """Whether the browser makes what is drawn: bins, time units, composite marks."""
    if view.mark in ("boxplot", "errorbar", "errorband", "geoshape"):
        return True
    return any(view.channel(name).get(key) for name in ("x", "y", "color") for key in ("bin", "timeUnit", "impute"))


def _read_raw(view: View) -> None:
    """The fields as they are in the data, said to be so."""
    steps = [words(k, 30) for t in view.transforms if isinstance(t, Mapping) for k in t if k in _TRANSFORMS]
    said = "in the data"
    if view.transforms:
        said += f"; the chart changes it first ({', '.join(steps[:5]) or 'in a way of its own'})"
    elif _is_derived(view):
        said += "; the browser groups it"
    for name in ("x", "y", "theta", "color", "size"):
        channel, field = view.channel(name), view.field(name)
        if name in ("x", "y") and channel:
            unit = words(channel.get("timeUnit"), 30)
            if unit:  # months and weekdays are made by the browser: the raw moments are no categories
                view.panel.axes[name] = Axis(
                    name, title_of_channel(channel, field), kind="date", note=f"grouped by {unit}"
                )
            else:
                read_axis(view, name, view.rows)
        if not field or not any(field in row for row in view.rows[:100]):
            continue
        column = [row.get(field) for row in view.rows]
        axis = Axis(name)
        convert = mapped(axis, [column], KINDS.get(str(channel.get("type")), ""))
        if axis.kind == "category":
            continue
        facts = series.sample(convert(column), axis, view.reading.allowance) | {"said": said}
        other = view.field("y" if name == "x" else "x") if view.mark == "boxplot" and name in ("x", "y") else ""
        if other:
            facts["groups"] = _spreads(column, [row.get(other) for row in view.rows])
        kind = {"boxplot": "values of boxes"}.get(
            view.mark, "values of a histogram" if channel.get("bin") else "values"
        )
        view.panel.series.append(Series(kind, words(field), facts))


_TRANSFORMS = {
    "filter",
    "calculate",
    "aggregate",
    "bin",
    "timeUnit",
    "fold",
    "flatten",
    "joinaggregate",
    "window",
    "stack",
    "density",
    "regression",
    "loess",
    "lookup",
    "pivot",
    "sample",
    "impute",
    "quantile",
    "extent",
}


def _spreads(column: Sequence[Any], names: Sequence[Any]) -> list[dict[str, Any]]:
    parts: dict[str, list[float]] = {}
    for name, value in zip(names, columns.plain(columns.column(list(column))), strict=True):
        if value == value:
            parts.setdefault(words(name, 60), []).append(value)
    found = []
    for name, numbers in list(parts.items())[: series.GROUPS]:
        low, _, high = columns.quartiles(columns.column(numbers))
        found.append(
            {"at": name, "n": len(numbers), **series.spread(columns.column(numbers), Axis("y")), "q1": low, "q3": high}
        )
    return found


def _parts(view: View, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by what sets series apart: colours, shapes, facets."""
    fields: list[str] = []
    for name in GROUPS:
        channel, field = view.channel(name), view.field(name)
        if (
            field
            and not channel.get("aggregate")
            and channel.get("type") in ("nominal", "ordinal", None)
            and field not in fields
        ) and (field not in (view.field("x"), view.field("y")) or name in ("row", "column", "facet")):
            fields.append(field)
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(", ".join(words(row.get(f), 60) for f in fields), []).append(row)
    if fields and view.field("color") in fields:
        view.panel.legend = [n for n in dict.fromkeys(words(r.get(view.field("color")), 60) for r in rows) if n]
        view.panel.legend_title = title_of_channel(view.channel("color"), view.field("color"))
    return found


def _read_groups(view: View, rows: Sequence[Row], axes: Mapping[str, Convert]) -> None:
    parts = _parts(view, rows)
    for name, part in parts.items():
        if len(view.panel.series) >= MAX_SERIES:
            view.panel.more[view.mark] = view.panel.more.get(view.mark, 0) + 1
            continue
        xs = columns.column(axes["x"]([row.get(key(view, "x")) for row in part]))
        ys = columns.column(axes["y"]([row.get(key(view, "y")) for row in part]))
        if view.mark == "bar":
            _add_bars(view, name, xs, ys)
        else:
            _add_points(view, name, xs, ys, part)
    if view.mark == "bar":
        _finish_bars(view, rows, len(parts), axes)
    if view.mark == "area" and len(parts) > 1 and view.channel("y").get("stack", "zero") not in (None, False):
        view.panel.notes.append("areas are stacked: the values of each series are its own heights")


def _add_points(view: View, name: str, xs: Any, ys: Any, part: Sequence[Row]) -> None:
    x, y = view.panel.axes["x"], view.panel.axes["y"]
    ordered = view.mark in _LINES
    by_sort = isinstance(view.channel("x").get("sort"), str | Mapping) and x.kind == "category"
    if ordered and not view.channel("order"):  # Vega-Lite joins points in the order of x
        turn = sorted(range(len(xs)), key=lambda i: (xs[i] != xs[i], xs[i]))
        xs, ys = columns.column([xs[i] for i in turn]), columns.column([ys[i] for i in turn])
    facts = series.points(xs, ys, x, y, view.reading.allowance, ordered)
    if by_sort and view.channel("x")["sort"] not in ("ascending", "descending"):
        for fact in ("first", "last", "direction"):
            facts.pop(fact, None)
    coloured = measure(view, "color")
    if coloured and not ordered:
        facts["colours"] = series.sample([r.get(coloured) for r in part], Axis("colour"), view.reading.allowance)
        facts["colours"] |= _colours(view)
    kind = "line" if ordered else "scatter"
    if view.mark == "area":
        facts["drawn_as"] = "area"
    view.panel.series.append(Series(kind, name, facts, words(view.options.get("color"), 30)))


def _colours(view: View) -> dict[str, Any]:
    channel = view.channel("color")
    label = title_of_channel(channel, view.field("color"))
    return {
        "colour_map": "default colours",
        "colour_label": label,
        "colour_limits": [None, None],
        "colour_scale": "linear",
        "colour_bar": True,
    }


def _is_flat(view: View) -> bool:
    """Whether bars lie: their numbers are on x."""
    x, y = view.panel.axes["x"], view.panel.axes["y"]
    if x.kind == "number" and y.kind == "number":
        return not view.channel("y").get("aggregate") and bool(view.channel("x").get("aggregate"))
    return x.kind == "number"


def _add_bars(view: View, name: str, xs: Any, ys: Any) -> None:
    flat = _is_flat(view)
    places, lengths, axis = (ys, xs, view.panel.axes["y"]) if flat else (xs, ys, view.panel.axes["x"])
    texts = [axis.near(p) for p in columns.plain(places)]
    view.panel.series.append(Series("bars", name, series.bars(texts, columns.plain(lengths), [0.0] * len(texts), flat)))


def _finish_bars(view: View, rows: Sequence[Row], parts: int, axes: Mapping[str, Convert]) -> None:
    flat = _is_flat(view)
    name, value = ("y", "x") if flat else ("x", "y")
    stack = view.channel(value).get("stack", "zero")
    if view.channel("xOffset") or view.channel("yOffset"):
        view.panel.notes.append(f"{parts} series of bars stand side by side (grouped)")
        return
    places = columns.plain(columns.column(axes[name]([row.get(key(view, name)) for row in rows])))
    if (
        len(set(places)) == len(places)
        or stack in (None, False)
        or any(view.field(f) for f in ("row", "column", "facet"))
    ):
        return
    lengths = columns.plain(columns.column([row.get(key(view, value)) for row in rows]))
    totals: dict[float, float] = {}
    for place, length in zip(places, lengths, strict=True):
        totals[place] = totals.get(place, 0.0) + (length if length == length else 0.0)
    axis = view.panel.axes[name]
    facts = series.bars([axis.near(p) for p in totals], list(totals.values()), [0.0] * len(totals), flat)
    view.panel.series.append(Series("stack totals", "", facts | {"layers": parts}))
    view.panel.notes.append(
        "bars of one place are stacked" + (", scaled to the same length" if stack == "normalize" else "")
    )


def _read_arcs(view: View, rows: Sequence[Row]) -> None:
    number, name = key(view, "theta"), view.field("color")
    held = [
        (words(row.get(name), 60), v)
        for row, v in zip(rows, columns.plain(columns.column([r.get(number) for r in rows])), strict=True)
    ]
    held = [(n, v) for n, v in held if v == v]
    whole = sum(v for _, v in held)
    if whole > 0:
        facts = series.slices([n for n, _ in held], [v / whole for _, v in held], [v for _, v in held])
        view.panel.series.append(Series("pie", "", facts))


def _read_cells(view: View, rows: Sequence[Row], axes: Mapping[str, Convert]) -> None:
    values = columns.column([row.get(measure(view, "color")) for row in rows])
    places = {n: columns.column(convert([row.get(key(view, n)) for row in rows])) for n, convert in axes.items()}
    kept, missing = columns.finite(values, *places.values())
    facts: dict[str, Any] = {"n": len(values), "missing": missing}
    if len(kept[0]):
        facts["value"] = series.spread(kept[0], Axis("value"))
        for end, at in (("min", columns.least(kept[0])), ("max", columns.most(kept[0]))):
            where = [view.panel.axes[n].near(float(c[at])) for n, c in zip(places, kept[1:], strict=True)]
            facts["value"] |= {f"{end}_at": where, f"{end}_times": columns.equal(kept[0], kept[0][at])}
    view.panel.series.append(Series("cells", "", facts | _colours(view)))


def _read_rules(view: View, rows: Sequence[Row], axes: Mapping[str, Convert]) -> None:
    for name in axes:
        channel, axis = view.channel(name), view.panel.axes[name]
        found = [channel["datum"]] if "datum" in channel else [row.get(key(view, name)) for row in rows]
        places = [v for v in columns.plain(columns.column(axes[name](listed(found)))) if v == v]
        if places:
            facts = {"n": len(places), "axis": name, "at": [axis.at(p) for p in places[:40]]}
            view.panel.series.append(Series("reference lines", "", facts))
