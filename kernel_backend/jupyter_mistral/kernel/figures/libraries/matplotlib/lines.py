"""Reads lines, points, error bars, stems and reference lines of a matplotlib plot."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from ...facts.base import Extent
from ...facts.points import ErrorBars, LineSegments, Points, ReferenceLine, ReferenceLines, SlopedLine
from ...measure import columns
from ...measure.points import measure_points
from ...reader import class_names
from .artists import Artists, get_label
from .colours import read_colours

MAX_HUES = 12


def read_errorbars(artists: Artists, container: Any) -> None:
    """Read a line or points with their error bars, as `errorbar` returns them."""
    line, caps, bars = container.lines
    artists.mark_read(*caps, *bars, *([line] if line is not None else []))
    if line is None or not line.get_visible():
        return
    directions = [d for d, is_drawn in (("x", container.has_xerr), ("y", container.has_yerr)) if is_drawn]
    # matplotlib draws the bars of x before those of y
    errors = {
        name: _measure_errors(bar.get_segments(), 0 if name == "x" else 1)
        for name, bar in zip(directions, bars, strict=False)
    }
    facts = _measure_line(artists, line)
    facts = replace(facts, x_error=errors.get("x"), y_error=errors.get("y"), error_bars=True)
    artists.add(_line_kind(line), line, facts, get_label(container) or get_label(line))


def _measure_errors(segments: Any, i: int) -> ErrorBars:
    lengths = [abs(float(s[1][i]) - float(s[0][i])) for s in segments if len(s) == 2]
    lengths = [v for v in lengths if v == v]
    return ErrorBars(n=len(lengths), shortest=min(lengths, default=None), longest=max(lengths, default=None))


def read_stems(artists: Artists, container: Any) -> None:
    heads, sticks, base = container
    artists.mark_read(heads, base, *(sticks if isinstance(sticks, list | tuple) else [sticks]))
    xs, ys = heads.get_xdata(orig=False), heads.get_ydata(orig=False)
    facts = measure_points(xs, ys, artists.x, artists.y, artists.allowance, is_ordered=True)
    artists.add("stems", heads, facts, get_label(container) or get_label(heads))


def read_line(artists: Artists, line: Any) -> None:
    if "AxLine" in class_names(line):
        _read_axline(artists, line)
        return
    if columns.length(line.get_xdata(orig=False)) == 0:
        return  # drawn only for its entry in the legend
    x_is_data, y_is_data = artists.is_in_data(line)
    if x_is_data and y_is_data:
        artists.add(_line_kind(line), line, _measure_line(artists, line))
    elif x_is_data or y_is_data:
        axis = artists.x if x_is_data else artists.y
        place = float((line.get_xdata(orig=False) if x_is_data else line.get_ydata(orig=False))[0])
        artists.add("reference line", line, ReferenceLine(axis=axis.name, at=axis.at(place)))


def _read_axline(artists: Artists, line: Any) -> None:
    slope = line.get_slope()
    start, end = line.get_xy1(), line.get_xy2()
    if slope is None:
        slope = (end[1] - start[1]) / (end[0] - start[0]) if end[0] != start[0] else None
    through = artists.x.at(float(start[0])), artists.y.at(float(start[1]))
    artists.add("reference line", line, SlopedLine(through=through, slope=None if slope is None else float(slope)))


def _line_kind(line: Any) -> str:
    if line.get_linestyle() in ("None", "none", " ", ""):
        return "points"
    return "step line" if str(line.get_drawstyle()).startswith("steps") else "line"


def _measure_line(artists: Artists, line: Any) -> Points:
    xs, ys = line.get_xdata(orig=False), line.get_ydata(orig=False)
    is_ordered = _line_kind(line) != "points"
    facts = measure_points(xs, ys, artists.x, artists.y, artists.allowance, is_ordered)
    style = str(line.get_drawstyle())
    if "steps" not in style:
        return facts
    return replace(facts, steps=style.removeprefix("steps-").removeprefix("steps") or "pre")


def read_scatter(artists: Artists, dots: Any) -> None:
    """Read what `scatter` draws, and what its sizes and colours stand for. Each of a few colours becomes a series."""
    offsets = columns.numpy().ma.asarray(dots.get_offsets()).reshape(-1, 2)
    if not len(offsets):
        return
    sizes = columns.to_column(dots.get_sizes())
    has_sizes = len(sizes) > 1 and (sizes != sizes[0]).any()
    for hue, rows in _split_by_hue(dots, len(offsets)):
        part = offsets if rows is None else offsets[rows]
        facts = measure_points(part[:, 0], part[:, 1], artists.x, artists.y, artists.allowance, is_ordered=False)
        values = dots.get_array()
        has_colours = values is not None and columns.length(values)
        facts = replace(
            facts,
            colours=read_colours(artists, dots, values) if has_colours else None,
            sizes=Extent(min=float(sizes.min()), max=float(sizes.max())) if has_sizes else None,
        )
        series = artists.add("scatter", dots, facts)
        series.colour = hue or series.colour


def _split_by_hue(dots: Any, n: int) -> list[tuple[str, Any]]:
    """Return the rows of each colour if a scatter has between 2 and `MAX_HUES` of them; else all rows."""
    colours = dots.get_facecolor()
    np = columns.numpy()
    if dots.get_array() is not None or len(colours) != n or n < 2 or n > columns.SAMPLE:
        return [("", None)]
    hues, rows = np.unique(colours[:, :3], axis=0, return_inverse=True)
    if not 2 <= len(hues) <= MAX_HUES:
        return [("", None)]
    rows = rows.reshape(-1)
    to_hex = sys.modules["matplotlib.colors"].to_hex
    in_order = sorted(range(len(hues)), key=lambda k: int((rows == k).argmax()))
    return [(str(to_hex(hues[k])), rows == k) for k in in_order]


def read_segments(artists: Artists, collection: Any) -> None:
    """Read `hlines`, `vlines` and other collections of lines."""
    segments = collection.get_segments()
    name = get_label(collection)
    straight = [s for s in segments if len(s) == 2]
    for axis, i in ((artists.y, 1), (artists.x, 0)):
        if straight and len(straight) == len(segments) and all(s[0][i] == s[1][i] for s in straight):
            places = sorted(float(s[0][i]) for s in straight)
            facts = ReferenceLines(n=len(segments), axis=axis.name, at=tuple(axis.at(p) for p in places[:40]))
            artists.add("reference lines", collection, facts, name)
            return
    artists.add("line segments", collection, LineSegments(n=len(segments)), name)
