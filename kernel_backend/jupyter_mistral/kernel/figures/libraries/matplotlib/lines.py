"""Lines, points, error bars, stems and reference lines of a matplotlib plot."""

from __future__ import annotations

import sys
from typing import Any

from ...measure import columns, series
from ...model import Axis, words
from ...reader import kinds
from .artists import Artists, colour, label

MAX_HUES = 12


def read_errorbars(artists: Artists, container: Any) -> None:
    """A line or points with their error bars, as `errorbar` returns them."""
    line, caps, bars = container.lines
    artists.use(*caps, *bars, *([line] if line is not None else []))
    if line is None or not line.get_visible():
        return
    facts = _line_facts(artists, line)
    directions = [d for d, there in (("x", container.has_xerr), ("y", container.has_yerr)) if there]
    # matplotlib makes the bars of x before those of y
    for name, bar in zip(directions, bars, strict=False):
        facts[f"{name}_error"] = _error_facts(bar.get_segments(), 0 if name == "x" else 1)
    drawn = artists.add(_line_kind(line), line, facts, label(container) or label(line))
    drawn.facts["error_bars"] = True


def _error_facts(segments: Any, i: int) -> dict[str, Any]:
    lengths = [abs(float(s[1][i]) - float(s[0][i])) for s in segments if len(s) == 2]
    lengths = [v for v in lengths if v == v]
    return {"n": len(lengths), "shortest": min(lengths), "longest": max(lengths)} if lengths else {"n": 0}


def read_stems(artists: Artists, container: Any) -> None:
    heads, sticks, base = container
    artists.use(heads, base, *(sticks if isinstance(sticks, list | tuple) else [sticks]))
    facts = series.points(
        heads.get_xdata(orig=False), heads.get_ydata(orig=False), artists.x, artists.y, artists.allowance, ordered=True
    )
    artists.add("stems", heads, facts, label(container) or label(heads))


def read_line(artists: Artists, line: Any) -> None:
    if "AxLine" in kinds(line):
        _axline(artists, line)
        return
    if columns.length(line.get_xdata(orig=False)) == 0:
        return  # drawn only to stand in a legend
    x_is_data, y_is_data = artists.in_data(line)
    if x_is_data and y_is_data:
        artists.add(_line_kind(line), line, _line_facts(artists, line))
    elif x_is_data or y_is_data:
        axis = artists.x if x_is_data else artists.y
        place = float((line.get_xdata(orig=False) if x_is_data else line.get_ydata(orig=False))[0])
        artists.add("reference line", line, {"axis": axis.name, "at": axis.at(place)})


def _axline(artists: Artists, line: Any) -> None:
    slope = line.get_slope()
    start, end = line.get_xy1(), line.get_xy2()
    if slope is None:
        slope = (end[1] - start[1]) / (end[0] - start[0]) if end[0] != start[0] else None
    through = [artists.x.at(float(start[0])), artists.y.at(float(start[1]))]
    artists.add("reference line", line, {"through": through, "slope": None if slope is None else float(slope)})


def _line_kind(line: Any) -> str:
    if line.get_linestyle() in ("None", "none", " ", ""):
        return "points"
    return "step line" if str(line.get_drawstyle()).startswith("steps") else "line"


def _line_facts(artists: Artists, line: Any) -> dict[str, Any]:
    xs, ys = line.get_xdata(orig=False), line.get_ydata(orig=False)
    ordered = _line_kind(line) != "points"
    facts = series.points(xs, ys, artists.x, artists.y, artists.allowance, ordered)
    style = str(line.get_drawstyle())
    return facts | ({"steps": style.removeprefix("steps-").removeprefix("steps") or "pre"} if "steps" in style else {})


def read_scatter(artists: Artists, dots: Any) -> None:
    """What `scatter` returns: positions, and what size and colour stand for; points of a few colours are as many series."""
    offsets = columns.numpy().ma.asarray(dots.get_offsets()).reshape(-1, 2)
    if not len(offsets):
        return
    for hue, rows in _hues(dots, len(offsets)):
        part = offsets if rows is None else offsets[rows]
        facts = series.points(part[:, 0], part[:, 1], artists.x, artists.y, artists.allowance, ordered=False)
        values = dots.get_array()
        if values is not None and columns.length(values):
            facts["colours"] = _colour_facts(artists, dots, values)
        sizes = columns.column(dots.get_sizes())
        if len(sizes) > 1 and (sizes != sizes[0]).any():
            facts["sizes"] = {"min": float(sizes.min()), "max": float(sizes.max())}
        found = artists.add("scatter", dots, facts)
        found.colour = hue or found.colour


def _hues(dots: Any, n: int) -> list[tuple[str, Any]]:
    """The rows of each colour where a scatter has between 2 and `MAX_HUES` of them; else all rows."""
    colours = dots.get_facecolor()
    np = columns.numpy()
    if dots.get_array() is not None or len(colours) != n or n < 2 or n > columns.SAMPLE:
        return [("", None)]
    kinds_of, rows = np.unique(colours[:, :3], axis=0, return_inverse=True)
    if not 2 <= len(kinds_of) <= MAX_HUES:
        return [("", None)]
    rows = rows.reshape(-1)
    to_hex = sys.modules["matplotlib.colors"].to_hex
    in_order = sorted(range(len(kinds_of)), key=lambda k: int((rows == k).argmax()))
    return [(str(to_hex(kinds_of[k])), rows == k) for k in in_order]


def _colour_facts(artists: Artists, mappable: Any, values: Any) -> dict[str, Any]:
    return series.sample(values, Axis("colour"), artists.allowance) | colour_scale(mappable)


def colour_scale(mappable: Any) -> dict[str, Any]:
    """How values become colours: the map, its ends, its scale, and the label of the colour bar where there is one."""
    norm = mappable.norm
    facts: dict[str, Any] = {"colour_map": mappable.get_cmap().name, "colour_label": ""}
    facts["colour_limits"] = [None if v is None else float(v) for v in (norm.vmin, norm.vmax)]
    name = type(norm).__name__.removesuffix("Norm").removesuffix("alize").lower()
    facts["colour_scale"] = {"": "linear", "norm": "linear", "no": "one colour a level"}.get(name, name)
    bar = getattr(mappable, "colorbar", None)
    facts["colour_bar"] = bar is not None
    if bar is not None:
        own = bar.ax.yaxis if getattr(bar, "orientation", "vertical") == "vertical" else bar.ax.xaxis
        facts["colour_label"] = words(own.label.get_text()) or words(bar.ax.get_title())
    return facts


def read_segments(artists: Artists, collection: Any) -> None:
    """`hlines`, `vlines` and other collections of lines."""
    segments = collection.get_segments()
    name = label(collection)
    flat = [s for s in segments if len(s) == 2]
    facts: dict[str, Any] = {"n": len(segments)}
    for axis, i in ((artists.y, 1), (artists.x, 0)):
        if flat and len(flat) == len(segments) and all(s[0][i] == s[1][i] for s in flat):
            places = sorted(float(s[0][i]) for s in flat)
            facts |= {"axis": axis.name, "at": [axis.at(p) for p in places[:40]]}
            break
    artists.add("reference lines" if "at" in facts else "line segments", collection, facts, name)


def handle_colour(handle: Any) -> str:
    """The colour of a legend's entry: of its line or marker or patch."""
    found = colour(handle)
    if found or "Line2D" not in kinds(handle):
        return found
    colors = sys.modules["matplotlib.colors"]
    return str(colors.to_hex(handle.get_markerfacecolor()))
