"""What is stated on each kind of series, computed from its columns. Knows no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..model import Axis, Place
from . import columns
from .columns import Allowance, Column

LISTED = 200  # points that to_dict() lists one by one
GROUPS = 30


def points(xs: Any, ys: Any, x: Axis, y: Axis, allowance: Allowance, ordered: bool) -> dict[str, Any]:
    """Facts on points (x, y). ordered: they are joined by a line, so first, last and direction mean something.

    The values are those along y, or along x where only x has numbers (horizontal strips).
    """
    n = columns.length(ys)
    if columns.length(xs) != n:
        raise ValueError(f"{columns.length(xs)} x values for {n} y values")
    step = allowance.take(n, 2)
    (px, py), missing = columns.finite(columns.column(xs, step), columns.column(ys, step))
    facts: dict[str, Any] = {"n": n, "missing": missing}
    if step > 1:
        facts["read"] = len(px) + missing
    if not len(px):
        return facts
    along = "x" if y.kind == "category" and x.kind != "category" else "y"
    value, place = (px, py) if along == "x" else (py, px)
    value_axis, place_axis = (x, y) if along == "x" else (y, x)
    facts["along"] = along
    if value_axis.kind == "category":
        return facts | {"combinations": _combinations(px, py, x, y)}
    facts |= {"value": spread(value, value_axis, place, place_axis), "place": reach(place, place_axis)}
    if ordered:
        facts |= _sequence(value, place, value_axis)
    if place_axis.kind == "category" and not ordered:
        facts["groups"] = _groups(value, place, place_axis, value_axis)
    elif place_axis.kind == "category":
        facts["outliers"] = columns.outliers(value)
    else:
        r, slope = columns.straight(place, value)
        facts |= {"r": r, "slope": slope, "outliers": columns.outliers(value)}
    facts["not_positive"] = _not_positive(px, py, x, y)
    facts["outside"] = _outside(px, py, x, y) - facts["not_positive"]
    if len(px) <= LISTED:
        facts["points"] = [[x.at(a), y.at(b)] for a, b in zip(columns.plain(px), columns.plain(py), strict=True)]
    return facts


def spread(values: Column, axis: Axis, places: Column | None = None, place_axis: Axis | None = None) -> dict[str, Any]:
    """Minimum, maximum (and where), mean and median of a column that is not empty."""
    low, high = columns.least(values), columns.most(values)
    facts: dict[str, Any] = {"min": axis.at(float(values[low])), "max": axis.at(float(values[high]))}
    if places is not None and place_axis is not None:
        facts |= {"min_at": place_axis.at(float(places[low])), "max_at": place_axis.at(float(places[high]))}
        facts["min_times"] = columns.equal(values, values[low])
        facts["max_times"] = columns.equal(values, values[high])
    middle, median = columns.mean(values), columns.quartiles(values)[1]
    facts["mean"] = None if middle is None else axis.at(middle)
    facts["median"] = axis.at(median)
    return facts


def reach(values: Column, axis: Axis) -> dict[str, Place]:
    low, high = float(values[columns.least(values)]), float(values[columns.most(values)])
    return {"min": axis.at(low), "max": axis.at(high)}


def _sequence(value: Column, place: Column, axis: Axis) -> dict[str, Any]:
    facts: dict[str, Any] = {"first": axis.at(float(value[0])), "last": axis.at(float(value[-1]))}
    if len(value) > 1 and not columns.steps(place)[1]:
        facts["direction"] = columns.direction(value)
    return facts


def _not_positive(px: Column, py: Column, x: Axis, y: Axis) -> int:
    """How many points a log axis has no place for."""
    logs = [c for c, axis in ((px, x), (py, y)) if axis.scale == "log"]
    if not logs:
        return 0
    if columns.numpy() is None:
        return sum(any(v <= 0 for v in row) for row in zip(*logs, strict=True))
    lost = logs[0] <= 0
    for values in logs[1:]:
        lost |= values <= 0
    return int(lost.sum())


def _outside(px: Column, py: Column, x: Axis, y: Axis) -> int:
    """How many points lie outside the limits, with room for rounding."""
    limits = [(c, *axis.span) for c, axis in ((px, x), (py, y)) if axis.span is not None and not axis.is_circle]
    # a log axis without limits of its own still has no place for what is not positive
    limits += [(c, 5e-324, float("inf")) for c, axis in ((px, x), (py, y)) if axis.span is None and axis.scale == "log"]
    if not limits:
        return 0
    inside = None
    for values, low, high in limits:
        slack = 1e-9 * max(abs(low), abs(high)) if high < float("inf") else 0.0
        if columns.numpy() is not None:
            here = (values >= low - slack) & (values <= high + slack)
            inside = here if inside is None else inside & here
        else:
            flags = [low - slack <= v <= high + slack for v in values]
            inside = flags if inside is None else [a and b for a, b in zip(inside, flags, strict=True)]
    assert inside is not None
    return len(px) - int(sum(inside) if columns.numpy() is None else inside.sum())


def _groups(value: Column, place: Column, axis: Axis, value_axis: Axis) -> list[dict[str, Any]]:
    """Points by category: strips and swarms."""
    held: dict[Place, list[float]] = {}
    for v, p in zip(columns.plain(value), columns.plain(place), strict=True):
        held.setdefault(axis.near(p), []).append(v)
    return [
        {"at": at, "n": len(vs), **spread(columns.column(vs), value_axis)} for at, vs in list(held.items())[:GROUPS]
    ]


def _combinations(px: Column, py: Column, x: Axis, y: Axis) -> list[list[Any]]:
    counts: dict[tuple[Place, Place], int] = {}
    for a, b in zip(columns.plain(px), columns.plain(py), strict=True):
        key = (x.near(a), y.near(b))
        counts[key] = counts.get(key, 0) + 1
    return [[a, b, n] for (a, b), n in list(counts.items())[:LISTED]]


def bars(places: Sequence[Place], values: Sequence[Any], bases: Sequence[float], horizontal: bool) -> dict[str, Any]:
    """Facts on bars: `values` are their signed lengths from `bases`."""
    lengths = columns.plain(columns.column(list(values)))
    kept = [i for i, v in enumerate(lengths) if v == v and abs(v) != float("inf")]
    facts: dict[str, Any] = {
        "n": len(lengths),
        "missing": len(lengths) - len(kept),
        "orientation": "horizontal" if horizontal else "vertical",
    }
    if not kept:
        return facts
    numbers, names = [lengths[i] for i in kept], [places[i] for i in kept]
    held = columns.column(numbers)
    high, low = columns.order(numbers, 3), columns.order(numbers, 1, highest=False)
    facts["top"] = [[names[i], numbers[i]] for i in high]
    facts["lowest"] = [names[low[0]], numbers[low[0]]]
    facts |= {"sum": columns.total(held), "mean": columns.mean(held)}
    facts["top_times"] = columns.equal(held, numbers[high[0]])
    facts["lowest_times"] = columns.equal(held, numbers[low[0]])
    starts = [float(bases[i]) for i in kept]
    facts["base"] = starts[0] if len(set(starts)) == 1 else None
    if len(numbers) <= LISTED:
        facts["values"] = [list(pair) for pair in zip(names, numbers, strict=True)]
        if facts["base"] is None:
            facts["bases"] = starts
    return facts


def histogram(edges: Sequence[float], counts: Sequence[float], axis: Axis, horizontal: bool = False) -> dict[str, Any]:
    """Facts on a histogram of len(counts) bins between neighbouring `edges`."""
    heights, bounds = columns.plain(counts), columns.plain(edges)
    held = columns.column(heights)
    area = sum(h * (b - a) for h, a, b in zip(heights, bounds, bounds[1:], strict=False))
    peak = columns.most(held)
    facts: dict[str, Any] = {
        "bins": len(heights),
        "orientation": "horizontal" if horizontal else "vertical",
        "from": axis.at(bounds[0]),
        "to": axis.at(bounds[-1]),
        "sum": columns.total(held),
        "area": area,
        "peak": [axis.at(bounds[peak]), axis.at(bounds[peak + 1]), heights[peak]],
        "peak_times": columns.equal(held, heights[peak]),
        "empty_bins": columns.equal(held, 0.0),
    }
    if len(heights) <= LISTED:
        facts["counts"] = heights
        facts["edges"] = [axis.at(edge) for edge in bounds]
    return facts


def band(ts: Any, lows: Any, highs: Any, t: Axis, value: Axis, allowance: Allowance) -> dict[str, Any]:
    """Facts on the area between two curves over `ts`."""
    step = allowance.take(columns.length(ts), 3)
    raw = columns.column(ts, step), columns.column(lows, step), columns.column(highs, step)
    (place, a, b), missing = columns.finite(*raw)
    facts: dict[str, Any] = {"n": columns.length(ts), "missing": missing, "along": value.name}
    if not len(place):
        return facts
    # from columns, not from displayed places: the width between two dates is a number of days
    widths = columns.column([abs(v - w) for v, w in zip(columns.plain(a), columns.plain(b), strict=True)])
    facts |= {"place": reach(place, t), "lower": spread(a, value, place, t), "upper": spread(b, value, place, t)}
    number = Axis(value.name)
    facts["width"] = spread(widths, number, place, t)
    return facts


def grid(rows: Any, shape: tuple[int, int], x: Axis, y: Axis, xs: Any, ys: Any, allowance: Allowance) -> dict[str, Any]:
    """Facts on values in rows and columns. xs, ys: where the columns' and rows' centres lie, None where that is unknown."""
    n = shape[0] * shape[1]
    facts: dict[str, Any] = {"rows": shape[0], "columns": shape[1]}
    step = allowance.take(n)
    values = columns.column(rows, step)
    indices = columns.column(range(0, n, step)) if step > 1 or columns.numpy() is None else _counted(n)
    (kept, where), missing = columns.finite(values, indices)
    facts["missing"] = missing
    if step > 1:
        facts["read"] = len(kept) + missing
    if not len(kept):
        return facts
    facts["value"] = spread(kept, Axis("value"))
    for name, at in (("min", columns.least(kept)), ("max", columns.most(kept))):
        row, column = divmod(int(where[at]), shape[1])
        facts["value"][f"{name}_at"] = [_place(x, xs, column), _place(y, ys, row)]
        facts["value"][f"{name}_times"] = columns.equal(kept, kept[at])
    if n <= LISTED and step == 1:
        flat = columns.plain(values)
        facts["values"] = [flat[i * shape[1] : (i + 1) * shape[1]] for i in range(shape[0])]
    return facts


def _counted(n: int) -> Column:
    return columns.numpy().arange(n, dtype=float)


def _place(axis: Axis, centres: Any, i: int) -> Place:
    return axis.near(float(centres[i])) if centres is not None else float(i)


def sample(values: Any, axis: Axis, allowance: Allowance) -> dict[str, Any]:
    """Facts on raw values that a library summarizes itself when it draws (histogram, box, violin)."""
    n = columns.length(values)
    step = allowance.take(n)
    (kept,), missing = columns.finite(columns.column(values, step))
    facts: dict[str, Any] = {"n": n, "missing": missing}
    if step > 1:
        facts["read"] = len(kept) + missing
    if len(kept):
        low, _, high = columns.quartiles(kept)
        facts |= {"value": spread(kept, axis), "q1": axis.at(low), "q3": axis.at(high)}
        facts["outliers"] = columns.outliers(kept)
    return facts


def waterfall(rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Facts on a waterfall's bars in order: place, "change", "is set to" or "total", the number (None: missing or beyond
    what a float holds), the level after it."""
    changes = [[row[0], row[2]] for row in rows if row[1] == "change" and row[2] is not None]
    rises, falls = [c for c in changes if c[1] > 0], [c for c in changes if c[1] < 0]
    facts: dict[str, Any] = {"n": len(rows), "rises": len(rises), "falls": len(falls)}
    facts["totals"] = sum(row[1] != "change" for row in rows)
    if rises:
        facts["largest_rise"] = max(rises, key=lambda c: c[1])
    if falls:
        facts["largest_fall"] = min(falls, key=lambda c: c[1])
    if rows and all(row[3] is not None for row in rows):
        bars = Axis("bar", at=lambda i: rows[int(i)][0])
        levels = columns.column([row[3] for row in rows])
        facts |= {"level": spread(levels, Axis("level"), range(len(rows)), bars), "ends_at": rows[-1][3]}
    if len(rows) <= LISTED:
        facts["bars"] = [list(row) for row in rows]
    return facts


def slices(names: Sequence[str], shares: Sequence[float], values: Sequence[float] | None = None) -> dict[str, Any]:
    """Facts on a pie; shares are of the full circle."""
    rows = [
        {"name": name, "share": float(share), **({} if values is None else {"value": float(values[i])})}
        for i, (name, share) in enumerate(zip(names, shares, strict=True))
    ]
    return {"n": len(rows), "slices": rows[:LISTED], "whole": float(sum(shares))}
