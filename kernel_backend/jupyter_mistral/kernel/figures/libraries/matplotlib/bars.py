"""Bars, histograms, stairs, pies and spans of a matplotlib plot."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...measure import series
from ...model import Axis, Series
from ...reader import kinds
from .artists import Artists, colour, label


@dataclass
class Drawn:
    """The bars of one container, for telling stacks and groups: where, from, how long."""

    series: Series
    centres: list[float]
    bases: list[float]
    lengths: list[float]
    horizontal: bool


def read_bars(artists: Artists, container: Any) -> Drawn | None:
    """A container of bars: a histogram where neighbours touch on an axis of numbers."""
    bars = artists.left(container.patches)
    artists.use(*container.patches)
    errors = getattr(container, "errorbar", None)
    if errors is not None:
        artists.use(errors, *errors.lines[1], *errors.lines[2])
    if not bars:
        return None
    horizontal = getattr(container, "orientation", None) == "horizontal"
    boxes = [_box(bar, horizontal) for bar in bars]
    starts, widths, bases, lengths = (list(part) for part in zip(*boxes, strict=True))
    axis = artists.y if horizontal else artists.x
    centres = [s + w / 2 for s, w in zip(starts, widths, strict=True)]
    name = label(container) or label(bars[0])
    if _touch(starts, widths, lengths) and axis.kind != "category" and not _count_wholes(centres, widths):
        edges = [*starts, starts[-1] + widths[-1]]
        kind, facts = "histogram", series.histogram(edges, lengths, axis, horizontal)
        facts["stacked"] = any(bases)
    else:
        kind = "bars"
        facts = series.bars([axis.near(c) for c in centres], lengths, bases, horizontal)
    if errors is not None:
        facts["error_bars"] = True
    found = artists.add(kind, bars[0], facts, name)
    found.colour = colour(bars[0]) if len({colour(b) for b in bars}) == 1 else ""
    return Drawn(found, centres, bases, lengths, horizontal)


def _box(bar: Any, horizontal: bool) -> tuple[float, float, float, float]:
    """Start and width along the places, base and signed length along the values."""
    x, y, width, height = (float(v) for v in (bar.get_x(), bar.get_y(), bar.get_width(), bar.get_height()))
    start, breadth, base, length = (y, height, x, width) if horizontal else (x, width, y, height)
    return (start, breadth, base, length) if breadth >= 0 else (start + breadth, -breadth, base, length)


def _touch(starts: Sequence[float], widths: Sequence[float], lengths: Sequence[float]) -> bool:
    if len(starts) < 2 or any(not v >= 0 for v in lengths):
        return False
    pairs = zip(starts, widths, starts[1:], strict=False)
    return all(w > 0 and abs(s + w - after) <= 1e-6 * max(w, abs(after) * 1e-6) for s, w, after in pairs)


def _count_wholes(centres: Sequence[float], widths: Sequence[float]) -> bool:
    """Bars of width 1 at whole numbers, which say the same as a histogram of them would."""
    return all(abs(c - round(c)) < 1e-9 for c in centres) and all(abs(w - 1) < 1e-9 for w in widths)


def join(artists: Artists, drawn: Sequence[Drawn]) -> None:
    """Tells whether several containers of bars are stacked or side by side; stacks get a series of their totals."""
    plain = [d for d in drawn if d.series.kind == "bars"]
    for horizontal in (False, True):
        some = [d for d in plain if d.horizontal is horizontal]
        if len(some) < 2:
            continue
        stacked = [some[0], *(d for d in some[1:] if _stands_on(d, some[0]))]
        if len(stacked) > 1:
            _add_totals(artists, stacked)
        elif len({len(d.centres) for d in some}) == 1 and all(
            not any(math.isclose(a, b) for a, b in zip(some[0].centres, d.centres, strict=True)) for d in some[1:]
        ):
            artists.panel.notes.append(f"{len(some)} series of bars stand side by side (grouped)")


def _stands_on(upper: Drawn, lowest: Drawn) -> bool:
    """Whether `upper` has the same places as `lowest` and begins elsewhere."""
    same = len(upper.centres) == len(lowest.centres) and all(
        math.isclose(a, b, abs_tol=1e-9) for a, b in zip(upper.centres, lowest.centres, strict=True)
    )
    return same and any(a != b for a, b in zip(upper.bases, lowest.bases, strict=True))


def _add_totals(artists: Artists, stacked: Sequence[Drawn]) -> None:
    axis = artists.y if stacked[0].horizontal else artists.x
    totals = [sum(v for v in lengths if v == v) for lengths in zip(*(d.lengths for d in stacked), strict=True)]
    names = [axis.near(c) for c in stacked[0].centres]
    facts = series.bars(names, totals, stacked[0].bases, stacked[0].horizontal)
    artists.panel.series.append(Series("stack totals", "", facts | {"layers": len(stacked)}))
    artists.panel.notes.append(f"{len(stacked)} series of bars are stacked")
    for d in stacked:
        d.series.facts["stacked"] = True


def read_patches(artists: Artists) -> None:
    """Patches that are in no container: wedges of pies, stairs, outlines of histograms, spans."""
    read_wedges(artists, [p for p in artists.left(artists.axes.patches) if "Wedge" in kinds(p)])
    for patch in artists.left(artists.axes.patches):
        artists.reading.attempt(f"a patch of panel {artists.panel.number}", _read_patch, artists, patch)


def read_wedges(artists: Artists, wedges: Sequence[Any], values: Any = None) -> None:
    artists.use(*wedges)
    rings: dict[tuple[float, ...], list[Any]] = {}
    for wedge in wedges:
        rings.setdefault((float(wedge.r), *(() if wedge.width is None else (float(wedge.width),))), []).append(wedge)
    for ring in rings.values():
        names = [label(w) for w in ring]
        shares = [(float(w.theta2) - float(w.theta1)) / 360 for w in ring]
        given = [float(v) for v in values] if values is not None and len(values) == len(ring) == len(wedges) else None
        facts = series.slices(names, shares, given)
        for row, wedge in zip(facts["slices"], ring, strict=False):
            row["colour"] = colour(wedge)
        found = artists.add("pie", ring[0], facts, "")
        found.colour = ""


def _read_patch(artists: Artists, patch: Any) -> None:
    found = kinds(patch)
    if "StepPatch" in found:
        artists.use(patch)
        values, edges, _base = patch.get_data()
        horizontal = getattr(patch, "orientation", "vertical") == "horizontal"
        axis = artists.y if horizontal else artists.x
        facts = series.histogram(list(edges), list(values), axis, horizontal)
        artists.add("histogram", patch, facts | {"outline": True})
    elif "Rectangle" in found and artists.in_data(patch) != (True, True):
        _read_span(artists, patch)
    elif "Polygon" in found:
        _read_polygon(artists, patch)


def _read_span(artists: Artists, patch: Any) -> None:
    x_is_data, y_is_data = artists.in_data(patch)
    if x_is_data == y_is_data:
        return
    artists.use(patch)
    axis: Axis = artists.x if x_is_data else artists.y
    start, size = (patch.get_x(), patch.get_width()) if x_is_data else (patch.get_y(), patch.get_height())
    ends = sorted([float(start), float(start + size)])
    artists.add("span", patch, {"axis": axis.name, "from": axis.at(ends[0]), "to": axis.at(ends[1])})


def _read_polygon(artists: Artists, patch: Any) -> None:
    """`hist(histtype="step" | "stepfilled")` and old spans draw polygons."""
    corners = [[float(a), float(b)] for a, b in patch.get_xy()]
    if artists.in_data(patch) != (True, True):
        x_is_data = artists.in_data(patch)[0]
        ends = sorted({c[0 if x_is_data else 1] for c in corners})
        axis: Axis = artists.x if x_is_data else artists.y
        if len(ends) == 2:
            artists.use(patch)
            artists.add("span", patch, {"axis": axis.name, "from": axis.at(ends[0]), "to": axis.at(ends[1])})
        return
    for horizontal in (False, True):
        edges, counts = _outline([c[::-1] for c in corners] if horizontal else corners)
        if len(counts) > 1:
            artists.use(patch)
            axis = artists.y if horizontal else artists.x
            artists.add("histogram", patch, series.histogram(edges, counts, axis, horizontal) | {"outline": True})
            return


def _outline(corners: list[list[float]]) -> tuple[list[float], list[float]]:
    """Edges and heights of a step outline that starts on its base, goes right in steps, and comes back along the base."""
    counts: list[float] = []
    edges = [corners[0][0]]
    base = corners[0][1]
    for i, (a, b) in enumerate(itertools.pairwise(corners)):
        if (i % 2 == 0 and a[0] != b[0]) or (i % 2 == 1 and a[1] != b[1]):
            return [], []
        if i % 2 == 1:
            if b[0] < edges[-1]:
                # the way back: along the base, or along a stack's layer below, whose heights are then not from the base
                return (edges, counts) if all(y == base for _, y in corners[i + 1 :]) else ([], [])
            edges.append(b[0])
            counts.append(b[1] - base)
    return edges, counts
