"""Bars, histograms, waterfalls and pies in words."""

from __future__ import annotations

from ..facts.bars import Bars, BrokenBars, Histogram, Lengths, Pie, Slice, Waterfall, WaterfallBar
from .point_phrases import NOTHING
from .terms import count, extremes, join_some, num, repeated


def write_bars(facts: Bars, items: int) -> list[str]:
    parts = [f"{facts.orientation}, {count(facts.n, 'bars', facts.missing)}"]
    lengths = facts.lengths
    if lengths is None:
        return [*parts, NOTHING]
    parts.append(f"of {facts.layers} layers" if facts.layers else "")
    parts += _lengths(lengths, items)
    if lengths.base is None:
        parts.append("a layer of a stack" if facts.stacked else "the bars start at different bases")
    elif lengths.base != 0:
        parts.append(f"bars start at {num(lengths.base)}")
    return [*parts, "with error bars" if facts.error_bars else ""]


def _lengths(lengths: Lengths, items: int) -> list[str]:
    parts = []
    are_listed = 0 < len(lengths.values) <= items
    if are_listed:
        parts.append("all: " + ", ".join(f"{num(a)} {num(v)}" for a, v in lengths.values))
    again = f" ({lengths.top_times} are this high)" if lengths.top_times > 1 else ""
    top = lengths.top[: 1 if are_listed else 3]
    parts.append("highest " + ", ".join(f"{num(a)} {num(v)}" for a, v in top) + again)
    lowest = lengths.lowest
    parts.append(f"lowest {num(lowest.at)} {num(lowest.length)}{repeated(lengths.lowest_times)}")
    return [*parts, f"sum {num(lengths.sum)}, mean {num(lengths.mean)}"]


def write_waterfall(facts: Waterfall, items: int) -> list[str]:
    parts = [f"{facts.orientation}, {count(facts.n, 'bars', facts.missing)}"]
    parts[0] += f": {facts.rises} rise, {facts.falls} fall, {facts.totals} totals"
    if not facts.n:
        return [*parts, NOTHING]
    if 0 < len(facts.bars) <= items:
        parts.append("in order: " + ", ".join(map(_step, facts.bars)))
    for name, bar in (("largest rise", facts.largest_rise), ("largest fall", facts.largest_fall)):
        if bar is not None:
            parts.append(f"{name} {num(bar.at)} {num(bar.length)}")
    if facts.level is not None:
        parts.append(f"level {extremes(facts.level, 'bar')}, ends at {num(facts.ends_at)}")
    return [*parts, f"levels count from {num(facts.base)}" if facts.base else ""]


def _step(bar: WaterfallBar) -> str:
    if bar.kind == "change":
        return f"{num(bar.at)} " + ("missing" if bar.number is None else f"{num(bar.number)} to {num(bar.level)}")
    if bar.kind == "total":
        return f"total {num(bar.at)} {num(bar.number)}"
    return f"{num(bar.at)} is set to {num(bar.number)}"


def write_histogram(facts: Histogram, items: int) -> list[str]:
    peak = facts.peak
    parts = [
        f"{facts.orientation}, {facts.bins} bins from {num(facts.from_)} to {num(facts.to)}",
        f"heights add up to {num(facts.sum)}",
        f"highest bin {num(peak.start)} to {num(peak.end)} with {num(peak.height)}{repeated(facts.peak_times)}",
        f"empty bins: {facts.empty_bins}" if facts.empty_bins else "",
    ]
    if abs(facts.area - 1) < 1e-6:
        parts.append("the area is 1 (a density)")
    if 0 < len(facts.counts) <= items:
        parts.append("heights in order: " + ", ".join(map(num, facts.counts)))
    return [*parts, "a layer of a stack" if facts.stacked else ""]


def write_broken_bars(facts: BrokenBars, items: int) -> list[str]:
    row = f'in the row "{facts.at}" (y ' if facts.at else "in one row (y "
    unit = f" in {facts.unit}s" if facts.unit else ""
    spans = [f"{num(start)} to {num(end)}" for start, end in facts.spans]
    return [
        f"{count(facts.n, 'bars', facts.missing)}, {row}{num(facts.row[0])} to {num(facts.row[1])})",
        f"x from {num(facts.from_)} to {num(facts.to)}",
        f"longest {num(facts.longest.start)} to {num(facts.longest.end)}{repeated(facts.longest_times)}",
        f"lengths{unit} add up to {num(facts.sum)}",
        "all: " + ", ".join(spans) if len(spans) <= items else "",
    ]


def write_pie(facts: Pie, items: int) -> list[str]:
    slices = sorted(enumerate(facts.slices, 1), key=lambda pair: -pair[1].share)
    parts = [count(facts.n, "slices"), "largest first: " + join_some([_slice(each, i) for i, each in slices], items)]
    return [*parts, "" if abs(facts.whole - 1) < 1e-6 else f"together {num(100 * facts.whole)}% of a circle"]


def _slice(each: Slice, number: int) -> str:
    name = num(each.name) if each.name and not each.name[0].isdigit() else f'"{each.name or number}"'
    value = f" ({num(each.value)})" if each.value is not None else ""
    return f"{name} {num(round(100 * each.share, 4))}%{value}"
