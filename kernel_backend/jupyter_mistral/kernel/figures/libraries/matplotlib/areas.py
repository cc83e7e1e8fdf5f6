"""Reads filled areas and broken bars of a matplotlib plot, which are all polygons."""

from __future__ import annotations

from typing import Any

from ...facts.bars import BrokenBars, Interval
from ...facts.others import Count
from ...measure import columns
from ...measure.points import measure_band
from ...measure.summaries import MAX_LISTED
from .artists import Artists
from .axes import name_between
from .fields import is_hexagons, read_hexagons


def read_polygons(artists: Artists, collection: Any) -> None:
    """Read the hexagons of `hexbin`, or the areas of `fill_between` and `stackplot`."""
    if is_hexagons(collection):
        read_hexagons(artists, collection)
        return
    pieces = [p.vertices for p in collection.get_paths() if len(p.vertices)]
    if not pieces and type(collection).__name__ in ("PolyCollection", "FillBetweenPolyCollection"):
        return  # seaborn's band, where there is no spread to draw
    if _read_band(artists, collection, pieces):
        return
    bars = _read_broken_bars(artists, pieces) if artists.is_in_data(collection) == (True, True) else None
    if bars is not None:
        artists.add("broken bars", collection, bars)
    else:
        artists.add("polygons", collection, Count(n=len(pieces)))


def _read_band(artists: Artists, collection: Any, pieces: list[Any]) -> bool:
    """Add the area between two curves. Returns whether the pieces form one."""
    np = columns.numpy()
    for flip in (0, 1):
        parts = [_curves(vertices, flip) for vertices in pieces]
        if not parts or any(part is None for part in parts):
            continue
        t, a, b = (np.concatenate(part) for part in zip(*(p for p in parts if p is not None), strict=True))
        place, value = (artists.y, artists.x) if flip else (artists.x, artists.y)
        steps = getattr(collection, "_step", None)
        steps = "" if steps is None else str(steps)
        lower, upper = np.fmin(a, b), np.fmax(a, b)
        facts = measure_band(t, lower, upper, place, value, artists.allowance, len(pieces), steps)
        artists.add("area", collection, facts)
        return True
    return False


def _curves(vertices: Any, flip: int) -> tuple[Any, Any, Any] | None:
    """Return the positions and both curves of a polygon that goes along one and back along the other, as `fill_between` does."""
    n = (len(vertices) - 2) // 2
    there, back = vertices[1 : n + 1], vertices[n + 2 : 2 * n + 2][::-1]
    if n < 1 or len(there) != len(back) or not columns.numpy().array_equal(there[:, flip], back[:, flip]):
        return None
    if n > 2 and (there[1:, flip] < there[:-1, flip]).any() and (there[1:, flip] > there[:-1, flip]).any():
        return None
    return there[:, flip], there[:, 1 - flip], back[:, 1 - flip]


def _read_broken_bars(artists: Artists, pieces: list[Any]) -> BrokenBars | None:
    """Read the rectangles of `broken_barh`, which are in one row; None for other polygons."""
    kept = [p.tolist() for p in pieces if columns.numpy().isfinite(p).all()]
    if not kept or not all(_is_rectangle(p) for p in kept):
        return None
    rows = {tuple(sorted([p[0][1], p[1][1]])) for p in kept}
    if len(rows) > 1:
        return None
    x, y, (low, high) = artists.x, artists.y, rows.pop()
    ends = [sorted([p[0][0], p[2][0]]) for p in kept]
    lengths = columns.to_column([end - start for start, end in ends])
    longest = columns.argmax(lengths)
    spans = [Interval(x.at(start), x.at(end)) for start, end in ends]
    return BrokenBars(
        n=len(pieces),
        missing=len(pieces) - len(kept),
        row=(low, high) if y.kind == "category" else (y.at(low), y.at(high)),
        at=name_between(artists.axes, "y", low, high),
        from_=x.at(min(start for start, _ in ends)),
        to=x.at(max(end for _, end in ends)),
        longest=spans[longest],
        longest_times=columns.count_equal(lengths, lengths[longest]),
        sum=columns.total(lengths),
        unit=x.unit,
        spans=tuple(spans[:MAX_LISTED]),
    )


def _is_rectangle(p: list[list[float]]) -> bool:
    """Return whether five corners are those of a rectangle along the axes, upwards first."""
    if len(p) != 5 or p[4] != p[0]:
        return False
    return p[0][0] == p[1][0] and p[1][1] == p[2][1] and p[2][0] == p[3][0] and p[3][1] == p[0][1]
