"""Box plots and violins: matplotlib draws them as loose lines and areas, so they are told by their geometry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...measure import columns
from ...model import Axis
from ...reader import kinds
from .artists import Artists, colour

MAX_BOXES = 100


def read_boxes(artists: Artists) -> None:
    """Adds one series of all the boxes of the axes, and accounts for the lines that they are made of."""
    frames = [f for f in map(_frame, _candidates(artists)) if f is not None][:MAX_BOXES]
    if not frames:
        return
    lines = [(line, line.get_xydata()) for line in artists.left(artists.axes.lines)]
    for flip in (0, 1):  # vertical boxes, then horizontal ones
        place, value = (artists.y, artists.x) if flip else (artists.x, artists.y)
        rows = []
        for artist, corners in frames:
            box = _box(artist, corners, flip, lines, place, value, artists)
            if box:
                rows.append(box)
        if rows:
            facts = {"n": len(rows), "orientation": "horizontal" if flip else "vertical", "boxes": rows}
            artists.add("box plot", frames[0][0], facts, "").colour = ""
            return


def _candidates(artists: Artists) -> list[Any]:
    lines = [a for a in artists.left(artists.axes.lines) if len(a.get_xdata(orig=False)) in (5, 11)]
    return lines + [a for a in artists.left(artists.axes.patches) if "PathPatch" in kinds(a)]


def _frame(artist: Any) -> tuple[Any, list[tuple[float, float]]] | None:
    """A closed rectangle, or a notched one, as its corners."""
    corners = artist.get_path().vertices if "PathPatch" in kinds(artist) else artist.get_xydata()
    points = [(float(x), float(y)) for x, y in corners]
    if len(points) in (6, 12):
        points = points[:-1]  # what closes the path
    if len(points) not in (5, 11) or points[0] != points[-1]:
        return None
    if len(points) == 5 and not (len({x for x, _ in points}) == 2 and len({y for _, y in points}) == 2):
        flat = len({x for x, _ in points}) == 1 or len({y for _, y in points}) == 1
        return (artist, points) if flat else None
    return artist, points


def _box(
    artist: Any,
    corners: list[tuple[float, float]],
    flip: int,
    lines: Sequence[tuple[Any, Any]],
    place: Axis,
    value: Axis,
    artists: Artists,
) -> dict[str, Any] | None:
    """The numbers of one box and of the lines that belong to it; None where no whisker does."""
    across, along = sorted(c[flip] for c in corners), sorted(c[1 - flip] for c in corners)
    left, right, q1, q3 = across[0], across[-1], along[0], along[-1]
    if len(corners) == 11:  # a notch may reach past the quartiles
        q1, q3 = sorted((corners[0][1 - flip], corners[5][1 - flip]))
    centre = (left + right) / 2
    slack = 1e-9 * max(abs(left), abs(right), 1e-300) + 1e-9 * (right - left)
    own = [(line, xy) for line, xy in lines if len(xy) and abs((xy[0][flip] + xy[-1][flip]) / 2 - centre) <= slack]
    stems = [
        (line, sorted(float(p[1 - flip]) for p in xy))
        for line, xy in own
        if len(xy) == 2 and xy[0][flip] == xy[1][flip] and _is_joined(line)
    ]
    low = [(line, ends) for line, ends in stems if ends[1] == q1]
    high = [(line, ends) for line, ends in stems if ends[0] == q3]
    if not low or not high:
        return None
    whiskers = low[0][1][0], high[-1][1][1]
    flat = [(line, xy) for line, xy in own if len(xy) == 2 and xy[0][1 - flip] == xy[1][1 - flip] and _is_joined(line)]
    inner = [(line, xy) for line, xy in flat if q1 <= xy[0][1 - flip] <= q3 and xy[0][flip] != xy[1][flip]]
    wide = [float(xy[0][1 - flip]) for _, xy in inner if abs(abs(xy[1][flip] - xy[0][flip]) - (right - left)) <= slack]
    notched = len(corners) == 11
    median = corners[3][1 - flip] if notched else wide[0] if wide else None
    dots = [(line, xy) for line, xy in own if not _is_joined(line) and (abs(xy[:, flip] - centre) <= slack).all()]
    means = [float(xy[0][1 - flip]) for _, xy in dots if len(xy) == 1 and whiskers[0] <= xy[0][1 - flip] <= whiskers[1]]
    means += wide[1:2] if not notched else []
    far = [float(v) for _, xy in dots for v in xy[:, 1 - flip] if not whiskers[0] <= v <= whiskers[1]]
    artists.use(artist, *(line for line, _ in [*low, *high, *flat, *dots]))
    row: dict[str, Any] = {"at": place.near(centre), "colour": colour(artist), "q1": value.at(q1), "q3": value.at(q3)}
    row["median"] = None if median is None else value.at(median)
    row |= {"whisker_low": value.at(whiskers[0]), "whisker_high": value.at(whiskers[1]), "outliers": len(far)}
    if far:
        row |= {"outlier_min": value.at(min(far)), "outlier_max": value.at(max(far))}
    return row | ({"mean": value.at(means[0])} if means else {})


def _is_joined(line: Any) -> bool:
    return line.get_linestyle() not in ("None", "none", " ", "")


def read_violins(artists: Artists) -> None:
    """Areas that mirror each other around a line, and the marks and lines inside them."""
    rows: list[dict[str, Any]] = []
    marks = [c for c in artists.left(artists.axes.collections) if "LineCollection" in kinds(c)]
    ends = [s for c in marks for s in c.get_segments() if len(s) == 2]
    flips: set[int] = set()
    first = None
    for area in artists.left(artists.axes.collections):
        found = _violin(area) if "PolyCollection" in kinds(area) and len(area.get_paths()) == 1 else None
        if found is None or len(rows) >= MAX_BOXES:
            continue
        flip, centre, values, widths = found
        place, value = (artists.y, artists.x) if flip else (artists.x, artists.y)
        row: dict[str, Any] = {"at": place.near(centre), "from": value.at(min(values)), "to": value.at(max(values))}
        row["colour"] = colour(area)
        row["widest_at"] = value.at(values[widths.index(max(widths))])
        inside = {float(s[0][1 - flip]) for s in ends if s[0][1 - flip] == s[1][1 - flip] and _around(s, flip, centre)}
        if not inside and place.kind != "category":
            continue  # an error band around a level line looks the same
        row["marks"] = [value.at(v) for v in sorted(inside - {min(values), max(values)})]
        row |= _inner(artists, flip, centre, value)
        rows.append(row)
        flips.add(flip)
        first = first or area
        artists.use(area)
    if rows:
        artists.use(*marks)
        facts = {"n": len(rows), "orientation": "horizontal" if flips == {1} else "vertical", "violins": rows}
        artists.add("violin plot", first, facts, "").colour = ""


def _around(segment: Any, flip: int, centre: float) -> bool:
    return bool(abs((segment[0][flip] + segment[1][flip]) / 2 - centre) < 1e-6)


def _violin(area: Any) -> tuple[int, float, list[float], list[float]] | None:
    """Which way it stands, its centre, and its half widths along its values; None if it is not mirrored."""
    corners = area.get_paths()[0].vertices
    np = columns.numpy()
    n = (len(corners) - 2) // 2
    for flip in (0, 1):
        one, other = corners[1 : n + 1], corners[n + 2 : 2 * n + 2][::-1]
        if len(one) < 10 or len(one) != len(other) or not np.array_equal(one[:, 1 - flip], other[:, 1 - flip]):
            continue
        middle = (one[:, flip] + other[:, flip]) / 2
        widths = abs(one[:, flip] - other[:, flip]) / 2
        if np.ptp(middle) <= 1e-9 * max(1.0, float(abs(middle).max())) and widths.max() > widths.min():
            return flip, float(middle[0]), columns.plain(one[:, 1 - flip]), columns.plain(widths)
    return None


def _inner(artists: Artists, flip: int, centre: float, value: Axis) -> dict[str, Any]:
    """Lines along the middle of a violin, as seaborn draws them."""
    found = []
    for line in artists.left(artists.axes.lines):
        xy = line.get_xydata()
        if 0 < len(xy) <= 2 and all(abs(p[flip] - centre) < 1e-6 for p in xy):
            artists.use(line)
            found.append([value.at(v) for v in sorted({float(p[1 - flip]) for p in xy})])
    return {"inner": found} if found else {}
