"""Reads plotly traces into series, by their type. Has the readers of scatter plots, heat maps and candlesticks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...facts.others import Candles, Count, Price
from ...measure import columns
from ...measure.points import measure_points
from ...measure.summaries import measure_grid, measure_spread
from ...model import Axis, clean_text
from . import bars, binned, without_axes
from . import columns as column_traces
from .arrays import read_array, read_table
from .panel import Spec, Traces, read_colour_scale, read_colours

_STACKED = "areas are stacked: the values of each series are its own heights"


def read_trace(traces: Traces, trace: Spec) -> None:
    """Read a trace. Of an unknown type, only its length is read."""
    kind = str(trace.get("type", "scatter"))
    read = _READERS.get(kind)
    if read is not None:
        read(traces, trace)
        return
    arrays = [read_array(data) for name, data in trace.items() if name != "dimensions"]
    lengths = [columns.length(array) for array in arrays if array is not None]
    traces.add(clean_text(kind, 30), trace, Count(n=max(lengths, default=None)))


def _read_scatter(traces: Traces, trace: Spec) -> None:
    xs, ys = read_array(trace.get("x")), read_array(trace.get("y"))
    n = columns.length(ys if ys is not None else xs if xs is not None else [])
    mode = str(trace.get("mode") or ("lines+markers" if n < 20 else "lines"))
    is_ordered = "lines" in mode
    px, py = traces.positions("x", trace, n), traces.positions("y", trace, n)
    drawn = min(columns.length(px), columns.length(py))  # plotly draws as many as have both
    x, y, allowance = traces.axis("x"), traces.axis("y"), traces.reading.allowance
    facts = measure_points(px[:drawn], py[:drawn], x, y, allowance, is_ordered)
    shape = str((trace.get("line") or {}).get("shape", "linear"))
    is_stepped = is_ordered and shape in ("hv", "vh", "hvh", "vhv")
    marker, fill = trace.get("marker") or {}, trace.get("fill")
    sizes = read_array(marker.get("size"))
    has_sizes = sizes is not None and columns.length(sizes)
    facts = replace(
        facts,
        steps=shape if is_stepped else "",
        colours=read_colours(traces, marker),
        sizes=measure_spread(columns.to_column(sizes), Axis("size")) if has_sizes else None,
        fill=clean_text(fill) if fill and fill != "none" else "",
    )
    if trace.get("stackgroup") and _STACKED not in traces.panel.notes:
        traces.panel.notes.append(_STACKED)
    traces.add("step line" if is_stepped else "line" if is_ordered else "scatter", trace, facts)


def _read_heatmap(traces: Traces, trace: Spec) -> None:
    rows = read_table(trace.get("z"))
    if rows is None:
        return
    flat, shape = rows
    xs = columns.to_floats(columns.to_column(traces.positions("x", trace, shape[1])))
    ys = columns.to_floats(columns.to_column(traces.positions("y", trace, shape[0])))
    fits = len(xs) == shape[1] and len(ys) == shape[0]
    x, y, allowance = traces.axis("x"), traces.axis("y"), traces.reading.allowance
    facts = measure_grid(flat, shape, x, y, xs if fits else None, ys if fits else None, allowance)
    kind = str(trace.get("type"))
    drawn_as = kind if kind in ("surface", "contour") else ""
    traces.add("heatmap", trace, replace(facts, scale=read_colour_scale(traces, trace), drawn_as=drawn_as))


def _read_candles(traces: Traces, trace: Spec) -> None:
    n = columns.length(read_array(trace.get("close")) if trace.get("close") is not None else [])
    places = columns.to_column(traces.positions("x", trace, n))
    opening, high, low, close = (_read_price(traces, trace, name, places) for name in ("open", "high", "low", "close"))
    traces.add(str(trace["type"]), trace, Candles(n=n, open=opening, high=high, low=low, close=close))


def _read_price(traces: Traces, trace: Spec, name: str, places: Any) -> Price | None:
    x, y = traces.axis("x"), traces.axis("y")
    (place, kept), missing = columns.drop_missing(places, columns.to_column(read_array(trace.get(name))))
    if not len(kept):
        return None
    price = Price(spread=measure_spread(kept, y, place, x), missing=missing)
    if name in ("open", "close"):
        price = replace(price, first=y.at(float(kept[0])), last=y.at(float(kept[-1])))
    return price


_READERS: dict[str, Callable[[Traces, Spec], None]] = {
    **dict.fromkeys(("scatter", "scattergl"), _read_scatter),
    **dict.fromkeys(("heatmap", "contour", "surface"), _read_heatmap),
    **dict.fromkeys(("candlestick", "ohlc"), _read_candles),
    **bars.READERS,
    **binned.READERS,
    **column_traces.READERS,
    **without_axes.READERS,
}
