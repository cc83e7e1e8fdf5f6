"""Summaries of values: spreads, samples, grids. Imports no plotting library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..facts.base import Extent, Group, Place, Quartiles, Sample, Spread
from ..facts.fields import Grid
from ..model import Axis, clean_text
from . import columns
from .columns import Allowance, Column

MAX_LISTED = 200  # values that to_dict() lists one by one
MAX_GROUPS = 30


def measure_spread(values: Column, axis: Axis, places: Column | None = None, place_axis: Axis | None = None) -> Spread:
    """Summarize a column that is not empty. places: the positions of the values, to say where the extremes are."""
    low, high = columns.argmin(values), columns.argmax(values)
    mean, median = columns.mean(values), columns.quartiles(values)[1]
    spread = Spread(
        min=axis.at(float(values[low])),
        max=axis.at(float(values[high])),
        mean=None if mean is None else axis.at(mean),
        median=axis.at(median),
    )
    if places is None or place_axis is None:
        return spread
    return locate(spread, values, place_axis.at(float(places[low])), place_axis.at(float(places[high])))


def locate(
    spread: Spread, values: Column, min_at: Place | tuple[Place, ...], max_at: Place | tuple[Place, ...]
) -> Spread:
    """Add the positions of the extremes, and how often they occur."""
    return replace(
        spread,
        min_at=min_at,
        max_at=max_at,
        min_times=columns.count_equal(values, values[columns.argmin(values)]),
        max_times=columns.count_equal(values, values[columns.argmax(values)]),
    )


def measure_extent(values: Column, axis: Axis) -> Extent:
    low, high = float(values[columns.argmin(values)]), float(values[columns.argmax(values)])
    return Extent(min=axis.at(low), max=axis.at(high))


def measure_sample(values: Any, axis: Axis, allowance: Allowance) -> Sample:
    """Summarize raw values that the library itself summarizes when it draws (histogram, box, violin)."""
    n = columns.length(values)
    step = allowance.take(n)
    (kept,), missing = columns.drop_missing(columns.to_column(values, step))
    read = len(kept) + missing if step > 1 else None
    if not len(kept):
        return Sample(n=n, missing=missing, read=read)
    low, _, high = columns.quartiles(kept)
    quartiles = Quartiles(
        value=measure_spread(kept, axis), q1=axis.at(low), q3=axis.at(high), outliers=columns.count_outliers(kept)
    )
    return Sample(n=n, missing=missing, read=read, quartiles=quartiles)


def measure_groups(names: Iterable[Any], values: Any, axis: Axis) -> tuple[Group, ...]:
    """Summarize the values of each name; values that are missing are left out."""
    parts: dict[str, list[float]] = {}
    for name, value in zip(names, columns.to_floats(columns.to_column(values)), strict=True):
        if value == value:
            parts.setdefault(clean_text(name, 60), []).append(value)
    groups = []
    for name, numbers in list(parts.items())[:MAX_GROUPS]:
        column = columns.to_column(numbers)
        low, _, high = columns.quartiles(column)
        spread = measure_spread(column, axis)
        groups.append(Group(at=name, n=len(numbers), spread=spread, q1=axis.at(low), q3=axis.at(high)))
    return tuple(groups)


def measure_grid(values: Any, shape: tuple[int, int], x: Axis, y: Axis, xs: Any, ys: Any, allowance: Allowance) -> Grid:
    """Summarize values in rows and columns. xs, ys: the centres of the columns and rows, None if unknown."""
    n = shape[0] * shape[1]
    step = allowance.take(n)
    column = columns.to_column(values, step)
    (kept, indices), missing = columns.drop_missing(column, _indices(n, step))
    grid = Grid(rows=shape[0], columns=shape[1], missing=missing, read=len(kept) + missing if step > 1 else None)
    if not len(kept):
        return grid

    def position(i: int) -> tuple[Place, ...]:
        row, along = divmod(int(indices[i]), shape[1])
        return _centre(x, xs, along), _centre(y, ys, row)

    spread = measure_spread(kept, Axis("value"))
    spread = locate(spread, kept, position(columns.argmin(kept)), position(columns.argmax(kept)))
    if n > MAX_LISTED or step > 1:
        return replace(grid, value=spread)
    flat = columns.to_floats(column)
    rows = tuple(tuple(flat[i * shape[1] : (i + 1) * shape[1]]) for i in range(shape[0]))
    return replace(grid, value=spread, values=rows)


def _indices(n: int, step: int) -> Column:
    if step > 1 or columns.numpy() is None:
        return columns.to_column(range(0, n, step))
    return columns.numpy().arange(n, dtype=float)


def _centre(axis: Axis, centres: Any, i: int) -> Place:
    return axis.near(float(centres[i])) if centres is not None else float(i)


def take_listed(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return all values, or none if they are too many to list."""
    return tuple(values) if len(values) <= MAX_LISTED else ()
