"""Reads plotly traces that are bars: bar charts, timelines, funnels, waterfalls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ...facts.bars import TimeSpan, TimeSpans, WaterfallBar
from ...measure import columns
from ...measure.bars import measure_bars, measure_waterfall
from ...measure.positions import to_day, to_list
from ...measure.summaries import MAX_LISTED
from .arrays import read_array
from .panel import Spec, Traces

_MEASURES: dict[str, Literal["change", "is set to", "total"]] = {
    "a": "is set to",
    "absolute": "is set to",
    "t": "total",
    "total": "total",
}


def _read_bar(traces: Traces, trace: Spec) -> None:
    is_horizontal = trace.get("orientation") == "h"
    along, across = ("x", "y") if is_horizontal else ("y", "x")
    if traces.axis(along).kind == "date":
        _read_time_spans(traces, trace, along, across)
        return
    lengths = columns.to_column(read_array(trace.get(along)) if trace.get(along) is not None else [])
    base = read_array(trace.get("base"))
    if base is not None:
        bases = columns.to_floats(columns.to_column(base))
    else:
        bases = [float(trace.get("base") or 0)] * len(lengths)
    traces.add_bars(trace, traces.positions(across, trace, len(lengths)), lengths, bases, is_horizontal)


def _read_time_spans(traces: Traces, trace: Spec, along: str, across: str) -> None:
    """Read a timeline: bars that start at `base`, a date, and whose lengths are in milliseconds."""
    axis, lengths = traces.axis(along), columns.to_floats(columns.to_column(read_array(trace.get(along))))
    base = read_array(trace.get("base"))
    starts = [to_day(v) for v in to_list(base)] if base is not None else [to_day(trace.get("base") or 0)] * len(lengths)
    places = columns.to_floats(columns.to_column(traces.positions(across, trace, len(lengths))))
    near = traces.axis(across).near
    spans = [
        TimeSpan(near(place), axis.at(start), axis.at(start + to_day(length)))
        for place, start, length in zip(places, starts, lengths, strict=True)
        if place == place and start == start and length == length
    ]
    facts = TimeSpans(n=len(lengths), missing=len(lengths) - len(spans), spans=tuple(spans[:MAX_LISTED]))
    traces.add("time spans", trace, facts)


def _read_funnel(traces: Traces, trace: Spec) -> None:
    default = "v" if traces.axis("x").kind == "category" else "h"
    along, across = ("y", "x") if trace.get("orientation", default) == "v" else ("x", "y")
    lengths = columns.to_floats(columns.to_column(_read_or_empty(trace, along)))
    axis = traces.axis(across)
    names = [axis.near(p) for p in columns.to_floats(columns.to_column(traces.positions(across, trace, len(lengths))))]
    traces.add("funnel", trace, measure_bars(names, lengths, [0.0] * len(lengths), across == "y"))


def _read_or_empty(trace: Spec, name: str) -> Any:
    return read_array(trace.get(name)) if trace.get(name) is not None else []


def _read_waterfall(traces: Traces, trace: Spec) -> None:
    """Read changes, each from the level after the bar before it. A total is drawn from the base to that level."""
    default = "h" if trace.get("y") is None and trace.get("x") is not None else "v"
    is_horizontal = trace.get("orientation", default) == "h"
    along, across = ("x", "y") if is_horizontal else ("y", "x")
    amounts = columns.to_floats(columns.to_column(_read_or_empty(trace, along)))
    axis, measures = traces.axis(across), read_array(trace.get("measure"))
    places = columns.to_floats(columns.to_column(traces.positions(across, trace, len(amounts))))
    names = [axis.near(p) if p == p else "" for p in places]
    rows, missing = _accumulate(names, amounts, [] if measures is None else list(map(str, to_list(measures))))
    traces.add("waterfall", trace, measure_waterfall(rows, missing, is_horizontal, float(trace.get("base") or 0)))


def _accumulate(names: Sequence[Any], amounts: Sequence[float], measures: list[str]) -> tuple[list[WaterfallBar], int]:
    """Return the bars with the level after each, and how many amounts are missing."""
    rows: list[WaterfallBar] = []
    level, missing = 0.0, 0
    for name, amount, measure in zip(names, amounts, [*measures, *["relative"] * len(amounts)], strict=False):
        kind = _MEASURES.get(measure, "change")
        is_missing = not math.isfinite(amount) and kind != "total"
        amount, missing = 0.0 if is_missing else amount, missing + is_missing
        level = level if kind == "total" else amount if kind == "is set to" else level + amount
        number = level if kind != "change" else None if is_missing else amount
        rows.append(WaterfallBar(name, kind, _finite_or_none(number), _finite_or_none(level)))
    return rows, missing


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


READERS: dict[str, Callable[[Traces, Spec], None]] = {
    "bar": _read_bar,
    "funnel": _read_funnel,
    "waterfall": _read_waterfall,
}
