"""Measures bars, histograms, waterfalls and pies. Imports no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts.bars import Bar, Bars, Histogram, Lengths, Peak, Pie, Slice, Waterfall, WaterfallBar
from ..facts.base import Orientation, Place
from ..model import Axis
from . import columns
from .summaries import MAX_LISTED, measure_spread, take_listed


def measure_bars(
    places: Sequence[Place],
    values: Sequence[Any],
    bases: Sequence[float],
    is_horizontal: bool,
    layers: int | None = None,
) -> Bars:
    """Measure bars; `values` are their signed lengths from `bases`. layers: how many series these totals add up."""
    lengths = columns.to_floats(columns.to_column(list(values)))
    kept = [i for i, v in enumerate(lengths) if v == v and abs(v) != float("inf")]
    bars = [Bar(places[i], lengths[i]) for i in kept]
    return Bars(
        n=len(lengths),
        missing=len(lengths) - len(kept),
        orientation=_orientation(is_horizontal),
        lengths=_measure_lengths(bars, [float(bases[i]) for i in kept]) if kept else None,
        layers=layers,
    )


def _orientation(is_horizontal: bool) -> Orientation:
    return "horizontal" if is_horizontal else "vertical"


def _measure_lengths(bars: list[Bar], bases: list[float]) -> Lengths:
    numbers = [bar.length for bar in bars]
    column = columns.to_column(numbers)
    high, low = columns.rank(numbers, 3), columns.rank(numbers, 1, highest=False)
    base = bases[0] if len(set(bases)) == 1 else None
    return Lengths(
        top=tuple(bars[i] for i in high),
        lowest=bars[low[0]],
        sum=columns.total(column),
        mean=columns.mean(column),
        top_times=columns.count_equal(column, numbers[high[0]]),
        lowest_times=columns.count_equal(column, numbers[low[0]]),
        base=base,
        values=take_listed(bars),
        bases=take_listed(bases) if base is None else (),
    )


def measure_histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    axis: Axis,
    is_horizontal: bool = False,
    is_outline: bool = False,
    is_stacked: bool = False,
) -> Histogram:
    """Measure a histogram of len(counts) bins between neighbouring `edges`."""
    heights, bounds = columns.to_floats(counts), columns.to_floats(edges)
    column = columns.to_column(heights)
    peak = columns.argmax(column)
    return Histogram(
        bins=len(heights),
        orientation=_orientation(is_horizontal),
        from_=axis.at(bounds[0]),
        to=axis.at(bounds[-1]),
        sum=columns.total(column),
        area=sum(h * (b - a) for h, a, b in zip(heights, bounds, bounds[1:], strict=False)),
        peak=Peak(axis.at(bounds[peak]), axis.at(bounds[peak + 1]), heights[peak]),
        peak_times=columns.count_equal(column, heights[peak]),
        empty_bins=columns.count_equal(column, 0.0),
        counts=take_listed(heights),
        edges=tuple(axis.at(edge) for edge in bounds) if len(heights) <= MAX_LISTED else (),
        stacked=is_stacked,
        outline=is_outline,
    )


def measure_waterfall(rows: Sequence[WaterfallBar], missing: int, is_horizontal: bool, base: float) -> Waterfall:
    """Measure the bars of a waterfall, in order."""
    changes = [Bar(row.at, row.number) for row in rows if row.kind == "change" and row.number is not None]
    rises, falls = [c for c in changes if c.length > 0], [c for c in changes if c.length < 0]
    levels = [row.level for row in rows if row.level is not None]
    level = None
    if rows and len(levels) == len(rows):
        bars = Axis("bar", at=lambda i: rows[int(i)].at)
        level = measure_spread(columns.to_column(levels), Axis("level"), range(len(rows)), bars)
    return Waterfall(
        n=len(rows),
        missing=missing,
        orientation=_orientation(is_horizontal),
        base=base,
        rises=len(rises),
        falls=len(falls),
        totals=sum(row.kind != "change" for row in rows),
        largest_rise=max(rises, key=lambda c: c.length) if rises else None,
        largest_fall=min(falls, key=lambda c: c.length) if falls else None,
        level=level,
        ends_at=levels[-1] if level is not None else None,
        bars=take_listed(rows),
    )


def measure_pie(
    names: Sequence[str],
    shares: Sequence[float],
    values: Sequence[float] | None = None,
    colours: Sequence[str] | None = None,
) -> Pie:
    """Measure the slices of a pie; shares are of the full circle."""
    slices = [
        Slice(
            name=name,
            share=float(share),
            value=None if values is None else float(values[i]),
            colour="" if colours is None else colours[i],
        )
        for i, (name, share) in enumerate(zip(names, shares, strict=True))
    ]
    return Pie(n=len(slices), slices=tuple(slices[:MAX_LISTED]), whole=float(sum(shares)))
