"""Traces of a plotly figure into series: those on an x and a y axis; the others are read by `plotly_parts` and `plotly_columns`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...measure import columns, series
from ...measure.positions import day, listed
from ...model import Axis, words
from . import columns as plotly_columns
from . import parts as plotly_parts
from .arrays import table, values
from .columns import coloured
from .panel import Spec, Traces, colour_scale

MAX_CELLS = 10_000  # of pairs of categories that are counted
# types that stand on an x and a y axis
FLAT = {
    "scatter",
    "scattergl",
    "bar",
    "histogram",
    "box",
    "violin",
    "heatmap",
    "contour",
    "candlestick",
    "ohlc",
    "waterfall",
    "funnel",
    "image",
    "histogram2d",
    "histogram2dcontour",
}


def read_trace(traces: Traces, trace: Spec) -> None:
    kind = str(trace.get("type", "scatter"))
    read = _READERS.get(kind)
    if read is not None:
        read(traces, trace)
        return
    found = {name: values(held) for name, held in trace.items() if name != "dimensions"}
    lengths = [columns.length(v) for v in found.values() if v is not None]
    traces.add(words(kind, 30), trace, {"n": max(lengths)} if lengths else {})


def _scatter(traces: Traces, trace: Spec) -> None:
    xs, ys = values(trace.get("x")), values(trace.get("y"))
    n = columns.length(ys if ys is not None else xs if xs is not None else [])
    mode = str(trace.get("mode") or ("lines+markers" if n < 20 else "lines"))
    ordered = "lines" in mode
    px, py = traces.positions("x", trace, n), traces.positions("y", trace, n)
    short = min(columns.length(px), columns.length(py))  # plotly draws as many as have both
    facts = series.points(px[:short], py[:short], traces.axis("x"), traces.axis("y"), traces.reading.allowance, ordered)
    shape = str((trace.get("line") or {}).get("shape", "linear"))
    kind = ("step line" if shape in ("hv", "vh", "hvh", "vhv") else "line") if ordered else "scatter"
    if kind == "step line":
        facts["steps"] = shape
    marker = trace.get("marker") or {}
    facts |= coloured(traces, marker)
    sizes = values(marker.get("size"))
    if sizes is not None and columns.length(sizes):
        facts["sizes"] = series.spread(columns.column(sizes), Axis("size"))
    if trace.get("fill") and trace["fill"] != "none":
        facts["fill"] = words(trace["fill"])
    stack = "areas are stacked: the values of each series are its own heights"
    if trace.get("stackgroup") and stack not in traces.panel.notes:
        traces.panel.notes.append(stack)
    traces.add(kind, trace, facts)


def _bar(traces: Traces, trace: Spec) -> None:
    is_horizontal = trace.get("orientation") == "h"
    along, across = ("x", "y") if is_horizontal else ("y", "x")
    lengths = columns.column(values(trace.get(along)) if trace.get(along) is not None else [])
    if traces.axis(along).kind == "date":
        _spans(traces, trace, along, across)
        return
    base = values(trace.get("base"))
    bases = columns.plain(columns.column(base)) if base is not None else [float(trace.get("base") or 0)] * len(lengths)
    traces.add_bars(trace, traces.positions(across, trace, len(lengths)), lengths, bases, is_horizontal)


def _spans(traces: Traces, trace: Spec, along: str, across: str) -> None:
    """A timeline: bars from `base`, a date, that are as long as so many milliseconds."""
    axis, lengths = traces.axis(along), columns.plain(columns.column(values(trace.get(along))))
    base = values(trace.get("base"))
    starts = [day(v) for v in listed(base)] if base is not None else [day(trace.get("base") or 0)] * len(lengths)
    places = columns.plain(columns.column(traces.positions(across, trace, len(lengths))))
    near = traces.axis(across).near
    rows = [
        [near(place), axis.at(start), axis.at(start + day(length))]
        for place, start, length in zip(places, starts, lengths, strict=True)
        if place == place and start == start and length == length
    ]
    traces.add(
        "time spans", trace, {"n": len(lengths), "missing": len(lengths) - len(rows), "spans": rows[: series.LISTED]}
    )


def _raw(kind: str, said: str) -> Callable[[Traces, Spec], None]:
    """Values that the browser bins or summarizes; those of each category apart."""

    def read(traces: Traces, trace: Spec) -> None:
        x, y = values(trace.get("x")), values(trace.get("y"))
        is_horizontal = trace.get("orientation") == "h" or y is None
        along = (
            "x"
            if (is_horizontal if kind != "values of a histogram" else x is not None and trace.get("orientation") != "h")
            else "y"
        )
        held, axis = traces.positions(along, trace), traces.axis(along)
        if axis.kind == "category":
            _counts(traces, trace, held, axis)
            return
        facts = series.sample(held, axis, traces.reading.allowance) | {"said": said}
        other = y if along == "x" else x
        names = listed(other) if other is not None and kind != "values of a histogram" else []
        if names and len(names) == columns.length(held):
            facts["groups"] = _grouped(names, held, axis)
        traces.add(kind, trace, facts)

    return read


def _grouped(names: list[Any], held: Any, axis: Axis) -> list[dict[str, Any]]:
    parts: dict[str, list[float]] = {}
    for name, value in zip(names, columns.plain(columns.column(held)), strict=True):
        if value == value:
            parts.setdefault(words(name, 60), []).append(value)
    found = []
    for name, numbers in list(parts.items())[: series.GROUPS]:
        column = columns.column(numbers)
        low, _, high = columns.quartiles(column)
        found.append(
            {"at": name, "n": len(numbers), **series.spread(column, axis), "q1": axis.at(low), "q3": axis.at(high)}
        )
    return found


def _counts(traces: Traces, trace: Spec, held: Any, axis: Axis) -> None:
    """A histogram over categories is bars of counts, which need no bins."""
    counts: dict[float, int] = {}
    for value in columns.plain(columns.column(held)):
        if value == value:
            counts[value] = counts.get(value, 0) + 1
    ordered = sorted(counts)
    if trace.get("histfunc", "count") == "count" and not trace.get("histnorm"):
        traces.add_bars(trace, ordered, [counts[p] for p in ordered], [0.0] * len(ordered), axis.name == "y")
    else:
        traces.add("histogram over categories", trace, {"n": sum(counts.values())})


def _heatmap(traces: Traces, trace: Spec) -> None:
    found = table(trace.get("z"))
    if found is None:
        return
    flat, shape = found
    x, y = traces.axis("x"), traces.axis("y")
    xs = columns.plain(columns.column(traces.positions("x", trace, shape[1])))
    ys = columns.plain(columns.column(traces.positions("y", trace, shape[0])))
    fits = len(xs) == shape[1] and len(ys) == shape[0]
    facts = series.grid(flat, shape, x, y, xs if fits else None, ys if fits else None, traces.reading.allowance)
    kind = {"surface": "surface values", "contour": "contour values"}.get(str(trace.get("type")), "heatmap")
    traces.add(
        "heatmap",
        trace,
        facts | colour_scale(traces, trace) | ({} if kind == "heatmap" else {"drawn_as": str(trace["type"])}),
    )


def _candles(traces: Traces, trace: Spec) -> None:
    n = columns.length(values(trace.get("close")) if trace.get("close") is not None else [])
    px, x, y = traces.positions("x", trace, n), traces.axis("x"), traces.axis("y")
    facts: dict[str, Any] = {"n": n}
    for name in ("open", "high", "low", "close"):
        (place, kept), missing = columns.finite(columns.column(px), columns.column(values(trace.get(name))))
        if len(kept):
            facts[name] = series.spread(kept, y, place, x) | {"missing": missing}
            if name in ("open", "close"):
                facts[name] |= {"first": y.at(float(kept[0])), "last": y.at(float(kept[-1]))}
    traces.add(str(trace["type"]), trace, facts)


def _funnel(traces: Traces, trace: Spec) -> None:
    default = "v" if traces.axis("x").kind == "category" else "h"
    along, across = ("y", "x") if trace.get("orientation", default) == "v" else ("x", "y")
    lengths = columns.plain(columns.column(values(trace.get(along)) if trace.get(along) is not None else []))
    axis = traces.axis(across)
    names = [axis.near(p) for p in columns.plain(columns.column(traces.positions(across, trace, len(lengths))))]
    traces.add("funnel", trace, series.bars(names, lengths, [0.0] * len(lengths), across == "y"))


def _waterfall(traces: Traces, trace: Spec) -> None:
    """Changes, each from the level that the bars before it left; a total stands from the base to that level."""
    default = "h" if trace.get("y") is None and trace.get("x") is not None else "v"
    is_horizontal = trace.get("orientation", default) == "h"
    along, across = ("x", "y") if is_horizontal else ("y", "x")
    given = columns.plain(columns.column(values(trace.get(along)) if trace.get(along) is not None else []))
    axis, measures = traces.axis(across), values(trace.get("measure"))
    places = columns.plain(columns.column(traces.positions(across, trace, len(given))))
    names = [axis.near(p) if p == p else "" for p in places]
    said = [*([] if measures is None else map(str, listed(measures))), *["relative"] * len(given)]
    rows: list[list[Any]] = []
    level, missing = 0.0, 0
    for name, amount, measure in zip(names, given, said, strict=False):
        kind = {"a": "is set to", "absolute": "is set to", "t": "total", "total": "total"}.get(measure, "change")
        is_lost = not math.isfinite(amount) and kind != "total"
        amount, missing = 0.0 if is_lost else amount, missing + is_lost
        level = level if kind == "total" else amount if kind == "is set to" else level + amount
        number = level if kind != "change" else None if is_lost else amount
        rows.append([name, kind, *(v if v is not None and math.isfinite(v) else None for v in (number, level))])
    facts = series.waterfall(rows) | {"missing": missing, "orientation": "horizontal" if is_horizontal else "vertical"}
    traces.add("waterfall", trace, facts | {"base": float(trace.get("base") or 0)})


def _density(traces: Traces, trace: Spec) -> None:
    """Points that the browser counts in bins; over categories the bins are the categories themselves."""
    x, y = traces.axis("x"), traces.axis("y")
    held = [columns.column(traces.positions(name, trace)) for name in "xy"]
    n = min(map(len, held))
    px, py = held[0][:n], held[1][:n]
    z = values(trace.get("z"))
    how = words(trace.get("histfunc", "count"), 20) if z is not None else "count"
    drawn_as, norm = {"drawn_as": str(trace["type"])}, words(trace.get("histnorm"), 30)
    is_plain = how == "count" and not norm and not (trace.get("xbins") or trace.get("ybins"))
    if x.kind == y.kind == "category" and is_plain and _counted(traces, trace, px, py, drawn_as):
        return
    facts = series.points(px, py, x, y, traces.reading.allowance, ordered=False) | drawn_as
    if z is not None and how != "count":
        facts["z"] = series.sample(z, Axis("z"), traces.reading.allowance).get("value")
    facts["bins"] = {name: told for name in "xy" if (told := _bins(trace, name))}
    facts["said"] = f"{'counted' if how == 'count' else f'the {how} of z'} in bins that are worked out by the browser"
    facts["said"] += f", as {norm}" if norm else ""
    traces.add("values of a density heatmap", trace, facts)


def _counted(traces: Traces, trace: Spec, px: Any, py: Any, drawn_as: dict[str, Any]) -> bool:
    """How many points each pair of categories has; not where the pairs are too many."""
    (a, b), _ = columns.finite(px, py)
    xs, ys = columns.plain(a), columns.plain(b)
    if not xs:
        return False
    across, down = (list(range(int(min(held)), int(max(held)) + 1)) for held in (xs, ys))
    if len(across) * len(down) > MAX_CELLS:
        return False
    flat = [0.0] * (len(across) * len(down))
    for i, k in zip(xs, ys, strict=True):
        flat[(int(k) - down[0]) * len(across) + int(i) - across[0]] += 1
    shape, axes = (len(down), len(across)), (traces.axis("x"), traces.axis("y"))
    facts = series.grid(flat, shape, *axes, across, down, traces.reading.allowance)
    traces.add("heatmap", trace, facts | {"sum": float(len(xs))} | colour_scale(traces, trace) | drawn_as)
    return True


def _bins(trace: Spec, name: str) -> str:
    """What the trace itself says of its bins along an axis."""
    own = trace.get(f"{name}bins") or {}
    start, end, size = (words(own.get(part), 30) for part in ("start", "end", "size"))
    if size and not trace.get(f"autobin{name}"):
        return f"of {size}" + (f" from {start} to {end}" if start and end else "")
    most = trace.get(f"nbins{name}")
    return f"at most {most}" if isinstance(most, int) and most > 0 else ""


_READERS: dict[str, Callable[[Traces, Spec], None]] = {
    **dict.fromkeys(("scatter", "scattergl"), _scatter),
    "bar": _bar,
    "histogram": _raw("values of a histogram", "the bins are chosen by the browser"),
    "box": _raw("values of boxes", "the boxes are worked out by the browser"),
    "violin": _raw("values of violins", "the shapes are worked out by the browser"),
    **dict.fromkeys(("heatmap", "contour", "surface"), _heatmap),
    **dict.fromkeys(("candlestick", "ohlc"), _candles),
    "funnel": _funnel,
    "waterfall": _waterfall,
    **dict.fromkeys(("histogram2d", "histogram2dcontour"), _density),
    **plotly_columns.READERS,
    **plotly_parts.READERS,
}
