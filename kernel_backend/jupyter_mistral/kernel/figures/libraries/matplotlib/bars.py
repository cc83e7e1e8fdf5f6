"""Reads bars, histograms, stairs, pies and spans of a matplotlib plot."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...facts.bars import Bars, Histogram
from ...facts.points import Span
from ...measure.bars import measure_bars, measure_histogram, measure_pie
from ...model import Axis, Series
from ...reader import class_names
from .artists import Artists, get_colour, get_label


@dataclass
class BarGeometry:
    """Positions, bases and lengths of the bars of one container, from which stacks and groups are recognized."""

    series: Series
    centres: list[float]
    bases: list[float]
    lengths: list[float]
    is_horizontal: bool


def read_bars(artists: Artists, container: Any) -> BarGeometry | None:
    """Read a container of bars. It is a histogram if neighbours touch on an axis of numbers."""
    bars = artists.unread(container.patches)
    artists.mark_read(*container.patches)
    errors = getattr(container, "errorbar", None)
    if errors is not None:
        artists.mark_read(errors, *errors.lines[1], *errors.lines[2])
    if not bars:
        return None
    is_horizontal = getattr(container, "orientation", None) == "horizontal"
    boxes = [_box(bar, is_horizontal) for bar in bars]
    starts, widths, bases, lengths = (list(part) for part in zip(*boxes, strict=True))
    axis = artists.y if is_horizontal else artists.x
    centres = [s + w / 2 for s, w in zip(starts, widths, strict=True)]
    facts: Histogram | Bars
    if _touch(starts, widths, lengths) and axis.kind != "category" and not _count_integers(centres, widths):
        edges = [*starts, starts[-1] + widths[-1]]
        kind, facts = "histogram", measure_histogram(edges, lengths, axis, is_horizontal, is_stacked=any(bases))
    else:
        kind, facts = "bars", measure_bars([axis.near(c) for c in centres], lengths, bases, is_horizontal)
    facts = replace(facts, error_bars=errors is not None)
    series = artists.add(kind, bars[0], facts, get_label(container) or get_label(bars[0]))
    series.colour = get_colour(bars[0]) if len({get_colour(b) for b in bars}) == 1 else ""
    return BarGeometry(series, centres, bases, lengths, is_horizontal)


def _box(bar: Any, is_horizontal: bool) -> tuple[float, float, float, float]:
    """Return start and width along the positions, base and signed length along the values."""
    x, y, width, height = (float(v) for v in (bar.get_x(), bar.get_y(), bar.get_width(), bar.get_height()))
    start, breadth, base, length = (y, height, x, width) if is_horizontal else (x, width, y, height)
    return (start, breadth, base, length) if breadth >= 0 else (start + breadth, -breadth, base, length)


def _touch(starts: Sequence[float], widths: Sequence[float], lengths: Sequence[float]) -> bool:
    if len(starts) < 2 or any(not v >= 0 for v in lengths):
        return False
    pairs = zip(starts, widths, starts[1:], strict=False)
    return all(w > 0 and abs(s + w - after) <= 1e-6 * max(w, abs(after) * 1e-6) for s, w, after in pairs)


def _count_integers(centres: Sequence[float], widths: Sequence[float]) -> bool:
    """Return whether these are bars of width 1 at integers, which say the same as a histogram would."""
    return all(abs(c - round(c)) < 1e-9 for c in centres) and all(abs(w - 1) < 1e-9 for w in widths)


def note_stacks_and_groups(artists: Artists, drawn: Sequence[BarGeometry]) -> None:
    """Note whether several containers of bars are stacked or side by side; add a series with the totals of a stack."""
    bars = [d for d in drawn if d.series.kind == "bars"]
    for is_horizontal in (False, True):
        same = [d for d in bars if d.is_horizontal is is_horizontal]
        if len(same) < 2:
            continue
        stacked = [same[0], *(d for d in same[1:] if _stands_on(d, same[0]))]
        if len(stacked) > 1:
            _add_totals(artists, stacked)
        elif len({len(d.centres) for d in same}) == 1 and all(
            not any(math.isclose(a, b) for a, b in zip(same[0].centres, d.centres, strict=True)) for d in same[1:]
        ):
            artists.panel.notes.append(f"{len(same)} series of bars are side by side (grouped)")


def _stands_on(upper: BarGeometry, lowest: BarGeometry) -> bool:
    """Return whether `upper` has the same positions as `lowest` and other bases."""
    is_aligned = len(upper.centres) == len(lowest.centres) and all(
        math.isclose(a, b, abs_tol=1e-9) for a, b in zip(upper.centres, lowest.centres, strict=True)
    )
    return is_aligned and any(a != b for a, b in zip(upper.bases, lowest.bases, strict=True))


def _add_totals(artists: Artists, stacked: Sequence[BarGeometry]) -> None:
    axis = artists.y if stacked[0].is_horizontal else artists.x
    totals = [sum(v for v in lengths if v == v) for lengths in zip(*(d.lengths for d in stacked), strict=True)]
    names = [axis.near(c) for c in stacked[0].centres]
    facts = measure_bars(names, totals, stacked[0].bases, stacked[0].is_horizontal, layers=len(stacked))
    artists.panel.series.append(Series("stack totals", "", facts))
    artists.panel.notes.append(f"{len(stacked)} series of bars are stacked")
    for d in stacked:
        assert isinstance(d.series.facts, Bars)
        d.series.facts = replace(d.series.facts, stacked=True)


def read_patches(artists: Artists) -> None:
    """Read patches that are in no container: wedges of pies, stairs, outlines of histograms, spans."""
    read_wedges(artists, [p for p in artists.unread(artists.axes.patches) if "Wedge" in class_names(p)])
    for patch in artists.unread(artists.axes.patches):
        artists.reading.attempt(f"a patch of panel {artists.panel.number}", _read_patch, artists, patch)


def read_wedges(artists: Artists, wedges: Sequence[Any], values: Any = None) -> None:
    """Read the wedges of pies; each ring is one pie. values: those that were plotted, if known."""
    artists.mark_read(*wedges)
    rings: dict[tuple[float, ...], list[Any]] = {}
    for wedge in wedges:
        rings.setdefault((float(wedge.r), *(() if wedge.width is None else (float(wedge.width),))), []).append(wedge)
    has_values = values is not None and len(rings) == 1 and len(values) == len(wedges)
    for ring in rings.values():
        names = [get_label(w) for w in ring]
        shares = [(float(w.theta2) - float(w.theta1)) / 360 for w in ring]
        numbers = [float(v) for v in values] if has_values else None
        facts = measure_pie(names, shares, numbers, [get_colour(w) for w in ring])
        artists.add("pie", ring[0], facts, "").colour = ""


def _read_patch(artists: Artists, patch: Any) -> None:
    names = class_names(patch)
    if "StepPatch" in names:
        artists.mark_read(patch)
        values, edges, _base = patch.get_data()
        is_horizontal = getattr(patch, "orientation", "vertical") == "horizontal"
        axis = artists.y if is_horizontal else artists.x
        facts = measure_histogram(list(edges), list(values), axis, is_horizontal, is_outline=True)
        artists.add("histogram", patch, facts)
    elif "Rectangle" in names and artists.is_in_data(patch) != (True, True):
        _read_span(artists, patch)
    elif "Polygon" in names:
        _read_polygon(artists, patch)


def _read_span(artists: Artists, patch: Any) -> None:
    x_is_data, y_is_data = artists.is_in_data(patch)
    if x_is_data == y_is_data:
        return
    artists.mark_read(patch)
    start, size = (patch.get_x(), patch.get_width()) if x_is_data else (patch.get_y(), patch.get_height())
    low, high = sorted([float(start), float(start + size)])
    _add_span(artists, patch, artists.x if x_is_data else artists.y, low, high)


def _add_span(artists: Artists, patch: Any, axis: Axis, low: float, high: float) -> None:
    artists.add("span", patch, Span(axis=axis.name, from_=axis.at(low), to=axis.at(high)))


def _read_polygon(artists: Artists, patch: Any) -> None:
    """Read `hist(histtype="step" | "stepfilled")` and spans of older versions, which draw polygons."""
    corners = [[float(a), float(b)] for a, b in patch.get_xy()]
    if artists.is_in_data(patch) != (True, True):
        x_is_data = artists.is_in_data(patch)[0]
        ends = sorted({c[0 if x_is_data else 1] for c in corners})
        if len(ends) == 2:
            artists.mark_read(patch)
            _add_span(artists, patch, artists.x if x_is_data else artists.y, *ends)
        return
    for is_horizontal in (False, True):
        edges, counts = _outline([c[::-1] for c in corners] if is_horizontal else corners)
        if len(counts) > 1:
            artists.mark_read(patch)
            axis = artists.y if is_horizontal else artists.x
            artists.add("histogram", patch, measure_histogram(edges, counts, axis, is_horizontal, is_outline=True))
            return


def _outline(corners: list[list[float]]) -> tuple[list[float], list[float]]:
    """Return edges and heights of a step outline that starts on its base, goes right in steps and returns along the base."""
    counts: list[float] = []
    edges = [corners[0][0]]
    base = corners[0][1]
    for i, (a, b) in enumerate(itertools.pairwise(corners)):
        if (i % 2 == 0 and a[0] != b[0]) or (i % 2 == 1 and a[1] != b[1]):
            return [], []
        if i % 2 == 1:
            if b[0] < edges[-1]:
                # the way back: along the base, or along the layer below, whose heights are then not from the base
                return (edges, counts) if all(y == base for _, y in corners[i + 1 :]) else ([], [])
            edges.append(b[0])
            counts.append(b[1] - base)
    return edges, counts
