"""Reads plotly traces that are columns of values: tables, parallel coordinates, scatter matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ....variables.masking import HIDDEN, is_secret_column
from ...facts.base import Place, Sample
from ...facts.tables import ColumnFacts, Counts, Dimensions, Table
from ...measure import columns
from ...measure.columns import Allowance
from ...measure.positions import map_axis, to_list
from ...measure.summaries import MAX_GROUPS, MAX_LISTED, measure_sample
from ...model import Axis, clean_text
from .arrays import read_array
from .panel import Spec, Traces, read_colours


def _measure_column(name: str, data: Any, allowance: Allowance) -> ColumnFacts:
    """Summarize numbers or dates, or count how often each text occurs."""
    if is_secret_column(name):
        return ColumnFacts(name=name, hidden=True)
    axis = Axis("value")
    places = map_axis(axis, [data])(data)
    if axis.kind != "category":
        return ColumnFacts(name=name, content=measure_sample(places, axis, allowance))
    counts: dict[float, int] = {}
    for place in places:
        if place == place:
            counts[place] = counts.get(place, 0) + 1
    most_frequent = sorted(counts.items(), key=lambda pair: -pair[1])[:MAX_LISTED]
    content = Counts(
        n=len(places),
        missing=len(places) - sum(counts.values()),
        different=len(counts),
        counts=tuple((axis.near(place), n) for place, n in most_frequent),
    )
    return ColumnFacts(name=name, content=content)


def _read_table(traces: Traces, trace: Spec) -> None:
    heads, cells = (read_array((trace.get(name) or {}).get("values")) for name in ("header", "cells"))
    names = [clean_text(head, 60) for head in ([] if heads is None else heads)]
    data = [column for column in map(read_array, [] if cells is None else cells) if column is not None]
    names += [""] * (len(data) - len(names))
    allowance = traces.reading.allowance
    facts = tuple(
        _measure_column(name, column, allowance) for name, column in zip(names, data[:MAX_GROUPS], strict=False)
    )
    lengths = {columns.length(column) for column in data}
    rows = lengths.pop() if len(lengths) == 1 else None
    are_listed = rows is not None and rows * len(data) <= MAX_LISTED and len(facts) == len(data)
    cells_by_row = _list_cells(facts, data) if are_listed else ()
    traces.add("table", trace, Table(n=len(data), columns=facts, rows=rows, cells=cells_by_row))


def _list_cells(facts: tuple[ColumnFacts, ...], data: list[Any]) -> tuple[tuple[Place, ...], ...]:
    shown = [
        [HIDDEN if column.hidden else _cell(cell) for cell in to_list(values)]
        for column, values in zip(facts, data, strict=False)
    ]
    return tuple(zip(*shown, strict=True))


def _cell(value: Any) -> Place:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if value != value else value if is_number else clean_text(value, 60)


def _dimensions_reader(kind: str, style: str) -> Callable[[Traces, Spec], None]:
    """Each row of the dimensions' values is a line over parallel axes, or a point in each small plot."""

    def read(traces: Traces, trace: Spec) -> None:
        found = [(d, read_array(d.get("values"))) for d in trace.get("dimensions") or () if isinstance(d, Mapping)]
        shown = [(d, data) for d, data in found if d.get("visible", True) is True and data is not None and len(data)]
        n = min((columns.length(data) for _, data in shown), default=0)  # plotly draws as many as all have
        measured = []
        for dimension, data in shown[:MAX_GROUPS]:
            label = clean_text(dimension.get("label"), 60)
            facts = _measure_column(label, _with_tick_names(dimension, data[:n]), traces.reading.allowance)
            measured.append(facts if facts.hidden else _with_limits(facts, dimension, data[:n]))
        columns_ = _with_correlations(measured, [data[:n] for _, data in shown])
        colours = read_colours(traces, trace.get(style) or {})
        traces.add(kind, trace, Dimensions(n=n, axes=len(shown), columns=columns_, colours=colours))

    return read


def _with_correlations(facts: list[ColumnFacts], data: list[Any]) -> tuple[ColumnFacts, ...]:
    """Add the correlation of each column with the next one, if both have numbers and were read completely."""
    related = []
    for i, column in enumerate(facts):
        following = facts[i + 1] if i + 1 < len(facts) else None
        if following is not None and _has_numbers(column) and _has_numbers(following) and not _is_sampled(column):
            (px, py), _ = columns.drop_missing(columns.to_column(data[i]), columns.to_column(data[i + 1]))
            column = replace(column, r_to_next=columns.fit_line(px, py)[0] if len(px) else None)
        related.append(column)
    return tuple(related)


def _has_numbers(column: ColumnFacts) -> bool:
    return isinstance(column.content, Sample) and column.content.quartiles is not None


def _is_sampled(column: ColumnFacts) -> bool:
    return isinstance(column.content, Sample) and column.content.read is not None


def _with_tick_names(dimension: Spec, data: Any) -> Any:
    """Return the names on the ticks if each value has one, else the values."""
    ticks, texts = read_array(dimension.get("tickvals")), read_array(dimension.get("ticktext"))
    if ticks is None or texts is None:
        return data
    names = dict(zip(columns.to_floats(columns.to_column(ticks)), (clean_text(t, 60) for t in texts), strict=False))
    numbers = columns.to_floats(columns.to_column(data))
    return [names[v] for v in numbers] if all(v in names for v in numbers) else data


def _with_limits(facts: ColumnFacts, dimension: Spec, data: Any) -> ColumnFacts:
    """Add the limits of the axis, and the ranges that are selected on it."""
    facts = replace(facts, shown=_read_range(dimension.get("range")))
    selected = dimension.get("constraintrange")
    several = selected if isinstance(selected, list | tuple) else []
    ranges = [(min(pair), max(pair)) for pair in map(_read_range, [selected, *several]) if pair]
    if not ranges:
        return facts
    numbers = columns.to_floats(columns.to_column(data))
    inside = sum(any(low <= v <= high for low, high in ranges) for v in numbers)
    return replace(facts, chosen=tuple(ranges), inside=inside)


def _read_range(data: Any) -> tuple[float, float] | None:
    ends = read_array(data)
    if ends is None or columns.length(ends) != 2:
        return None
    low, high = columns.to_floats(columns.to_column(ends))
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


READERS: dict[str, Callable[[Traces, Spec], None]] = {
    "table": _read_table,
    "parcoords": _dimensions_reader("parallel coordinates", "line"),
    "splom": _dimensions_reader("scatter matrix", "marker"),
}
