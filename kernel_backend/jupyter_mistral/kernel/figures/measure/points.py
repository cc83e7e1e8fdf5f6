"""Measures points, lines and areas. Imports no plotting library."""

from __future__ import annotations

from typing import Any

from ..facts.base import Group, Place
from ..facts.points import Area, CategoryPoints, Edges, Fit, NumberPoints, Points
from ..model import Axis
from . import columns
from .columns import Allowance, Column
from .summaries import MAX_GROUPS, MAX_LISTED, measure_extent, measure_spread


def measure_points(xs: Any, ys: Any, x: Axis, y: Axis, allowance: Allowance, is_ordered: bool) -> Points:
    """Measure points (x, y). is_ordered: a line joins them, so that first, last and direction have a meaning.

    The values are those along y, or along x if only x has numbers (horizontal strips).
    """
    n = columns.length(ys)
    if columns.length(xs) != n:
        raise ValueError(f"{columns.length(xs)} x values for {n} y values")
    step = allowance.take(n, 2)
    (px, py), missing = columns.drop_missing(columns.to_column(xs, step), columns.to_column(ys, step))
    drawn: NumberPoints | CategoryPoints | None = None
    if len(px):
        both = x.kind == "category" and y.kind == "category"
        drawn = _count_pairs(px, py, x, y) if both else _measure_numbers(px, py, x, y, is_ordered)
    return Points(n=n, missing=missing, read=len(px) + missing if step > 1 else None, drawn=drawn)


def _count_pairs(px: Column, py: Column, x: Axis, y: Axis) -> CategoryPoints:
    counts: dict[tuple[Place, Place], int] = {}
    for a, b in zip(columns.to_floats(px), columns.to_floats(py), strict=True):
        key = (x.near(a), y.near(b))
        counts[key] = counts.get(key, 0) + 1
    pairs = tuple((a, b, n) for (a, b), n in list(counts.items())[:MAX_LISTED])
    return CategoryPoints(along="y", combinations=pairs)


def _measure_numbers(px: Column, py: Column, x: Axis, y: Axis, is_ordered: bool) -> NumberPoints:
    is_along_x = y.kind == "category"
    value, place = (px, py) if is_along_x else (py, px)
    value_axis, place_axis = (x, y) if is_along_x else (y, x)
    by_category = place_axis.kind == "category"
    r, slope = (None, None) if by_category else columns.fit_line(place, value)
    is_directed = is_ordered and len(value) > 1 and not columns.count_steps(place)[1]
    not_positive = _count_not_positive(px, py, x, y)
    pairs = zip(columns.to_floats(px), columns.to_floats(py), strict=True) if len(px) <= MAX_LISTED else ()
    return NumberPoints(
        along="x" if is_along_x else "y",
        value=measure_spread(value, value_axis, place, place_axis),
        place=measure_extent(place, place_axis),
        first=value_axis.at(float(value[0])) if is_ordered else None,
        last=value_axis.at(float(value[-1])) if is_ordered else None,
        direction=columns.direction(value) if is_directed else "",
        groups=_group(value, place, place_axis, value_axis) if by_category and not is_ordered else (),
        outliers=None if by_category and not is_ordered else columns.count_outliers(value),
        fit=None if by_category else Fit(r=r, slope=slope),
        not_positive=not_positive,
        outside=_count_outside(px, py, x, y) - not_positive,
        points=tuple((x.at(a), y.at(b)) for a, b in pairs),
    )


def _group(value: Column, place: Column, axis: Axis, value_axis: Axis) -> tuple[Group, ...]:
    """Summarize points by category: strips and swarms."""
    parts: dict[Place, list[float]] = {}
    for v, p in zip(columns.to_floats(value), columns.to_floats(place), strict=True):
        parts.setdefault(axis.near(p), []).append(v)
    return tuple(
        Group(at=at, n=len(numbers), spread=measure_spread(columns.to_column(numbers), value_axis))
        for at, numbers in list(parts.items())[:MAX_GROUPS]
    )


def _count_not_positive(px: Column, py: Column, x: Axis, y: Axis) -> int:
    """Count the points that a log axis cannot show."""
    logs = [c for c, axis in ((px, x), (py, y)) if axis.scale == "log"]
    if not logs:
        return 0
    if columns.numpy() is None:
        return sum(any(v <= 0 for v in row) for row in zip(*logs, strict=True))
    is_lost = logs[0] <= 0
    for values in logs[1:]:
        is_lost |= values <= 0
    return int(is_lost.sum())


def _count_outside(px: Column, py: Column, x: Axis, y: Axis) -> int:
    """Count the points outside the limits, with a margin for rounding."""
    limits = [(c, *axis.span) for c, axis in ((px, x), (py, y)) if axis.span is not None and not axis.is_circle]
    # a log axis without limits of its own still cannot show what is not positive
    limits += [(c, 5e-324, float("inf")) for c, axis in ((px, x), (py, y)) if axis.span is None and axis.scale == "log"]
    inside: Any = [True] * len(px) if columns.numpy() is None else columns.numpy().ones(len(px), dtype=bool)
    for values, low, high in limits:
        margin = 1e-9 * max(abs(low), abs(high)) if high < float("inf") else 0.0
        if columns.numpy() is not None:
            inside &= (values >= low - margin) & (values <= high + margin)
        else:
            inside = [a and low - margin <= v <= high + margin for a, v in zip(inside, values, strict=True)]
    return len(px) - int(sum(inside) if isinstance(inside, list) else inside.sum())


def measure_band(
    ts: Any, lows: Any, highs: Any, t: Axis, value: Axis, allowance: Allowance, pieces: int, steps: str = ""
) -> Area:
    """Measure the area between two curves over `ts`. steps: how the curves step, which hides the number of points."""
    step = allowance.take(columns.length(ts), 3)
    raw = columns.to_column(ts, step), columns.to_column(lows, step), columns.to_column(highs, step)
    (place, a, b), missing = columns.drop_missing(*raw)
    edges = None
    if len(place):
        # from columns, not from displayed places: the width between two dates is a number of days
        widths = columns.to_column(
            [abs(v - w) for v, w in zip(columns.to_floats(a), columns.to_floats(b), strict=True)]
        )
        edges = Edges(
            place=measure_extent(place, t),
            lower=measure_spread(a, value, place, t),
            upper=measure_spread(b, value, place, t),
            width=measure_spread(widths, Axis(value.name), place, t),
        )
    n = None if steps else columns.length(ts)
    return Area(n=n, missing=missing, along=value.name, edges=edges, pieces=pieces, steps=steps)
