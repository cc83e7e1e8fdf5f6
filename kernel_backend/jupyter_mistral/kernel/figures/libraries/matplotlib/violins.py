"""Reads violin plots: areas that mirror each other around a line, and the marks and lines inside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...facts.base import Orientation, Place
from ...facts.boxes import Violin, Violins
from ...measure import columns
from ...model import Axis
from ...reader import class_names
from .artists import Artists, get_colour

MAX_VIOLINS = 100


@dataclass(frozen=True)
class _Outline:
    """flip: 0 if the values are along y, 1 if along x. widths: half widths at the values."""

    flip: int
    centre: float
    values: list[float]
    widths: list[float]


def read_violins(artists: Artists) -> None:
    """Add one series with all violins of the axes."""
    marks = [c for c in artists.unread(artists.axes.collections) if "LineCollection" in class_names(c)]
    segments = [s for c in marks for s in c.get_segments() if len(s) == 2]
    violins: list[Violin] = []
    flips: set[int] = set()
    first = None
    for area in artists.unread(artists.axes.collections):
        is_area = "PolyCollection" in class_names(area) and len(area.get_paths()) == 1
        outline = _outline(area) if is_area else None
        violin = _read_violin(artists, area, outline, segments) if outline and len(violins) < MAX_VIOLINS else None
        if outline is not None and violin is not None:
            violins.append(violin)
            flips.add(outline.flip)
            first = first or area
            artists.mark_read(area)
    if violins:
        artists.mark_read(*marks)
        orientation: Orientation = "horizontal" if flips == {1} else "vertical"
        facts = Violins(n=len(violins), orientation=orientation, violins=tuple(violins))
        artists.add("violin plot", first, facts, "").colour = ""


def _read_violin(artists: Artists, area: Any, outline: _Outline, segments: list[Any]) -> Violin | None:
    flip, centre, values = outline.flip, outline.centre, outline.values
    place, value = (artists.y, artists.x) if flip else (artists.x, artists.y)
    inside = {
        float(s[0][1 - flip]) for s in segments if s[0][1 - flip] == s[1][1 - flip] and _is_centred(s, flip, centre)
    }
    if not inside and place.kind != "category":
        return None  # an error band around a level line looks the same
    return Violin(
        at=place.near(centre),
        colour=get_colour(area),
        from_=value.at(min(values)),
        to=value.at(max(values)),
        widest_at=value.at(values[outline.widths.index(max(outline.widths))]),
        marks=tuple(value.at(v) for v in sorted(inside - {min(values), max(values)})),
        inner=_inner_lines(artists, flip, centre, value),
    )


def _is_centred(segment: Any, flip: int, centre: float) -> bool:
    return bool(abs((segment[0][flip] + segment[1][flip]) / 2 - centre) < 1e-6)


def _outline(area: Any) -> _Outline | None:
    """Return the outline of an area; None if it is not mirrored."""
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
            return _Outline(flip, float(middle[0]), columns.to_floats(one[:, 1 - flip]), columns.to_floats(widths))
    return None


def _inner_lines(artists: Artists, flip: int, centre: float, value: Axis) -> tuple[tuple[Place, ...], ...]:
    """Return the ends of the lines along the middle of a violin, as seaborn draws them."""
    lines = []
    for line in artists.unread(artists.axes.lines):
        xy = line.get_xydata()
        if 0 < len(xy) <= 2 and all(abs(p[flip] - centre) < 1e-6 for p in xy):
            artists.mark_read(line)
            lines.append(tuple(value.at(v) for v in sorted({float(p[1 - flip]) for p in xy})))
    return tuple(lines)
