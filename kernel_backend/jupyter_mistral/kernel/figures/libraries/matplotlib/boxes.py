"""Reads box plots, which matplotlib draws as loose lines and patches: they are recognized by their geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...facts.boxes import Box, Boxes
from ...model import Axis
from ...reader import class_names
from .artists import Artists, get_colour

MAX_BOXES = 100
Corners: TypeAlias = list[tuple[float, float]]
Line: TypeAlias = tuple[Any, Any]  # the artist and its points


def read_boxes(artists: Artists) -> None:
    """Add one series with all boxes of the axes, and mark the lines that they consist of as read."""
    frames = [f for f in map(_frame, _candidates(artists)) if f is not None][:MAX_BOXES]
    if not frames:
        return
    lines = [(line, line.get_xydata()) for line in artists.unread(artists.axes.lines)]
    for flip in (0, 1):  # vertical boxes, then horizontal ones
        rows = [_read_box(_Frame(artist, corners, flip), lines, artists) for artist, corners in frames]
        boxes = tuple(row for row in rows if row is not None)
        if boxes:
            facts = Boxes(n=len(boxes), orientation="horizontal" if flip else "vertical", boxes=boxes)
            artists.add("box plot", frames[0][0], facts, "").colour = ""
            return


def _candidates(artists: Artists) -> list[Any]:
    lines = [a for a in artists.unread(artists.axes.lines) if len(a.get_xdata(orig=False)) in (5, 11)]
    return lines + [a for a in artists.unread(artists.axes.patches) if "PathPatch" in class_names(a)]


def _frame(artist: Any) -> tuple[Any, Corners] | None:
    """Return the corners of a closed rectangle, notched or not; None for other shapes."""
    vertices = artist.get_path().vertices if "PathPatch" in class_names(artist) else artist.get_xydata()
    corners = [(float(x), float(y)) for x, y in vertices]
    if len(corners) in (6, 12):
        corners = corners[:-1]  # the point that closes the path
    if len(corners) not in (5, 11) or corners[0] != corners[-1]:
        return None
    if len(corners) == 5 and not (len({x for x, _ in corners}) == 2 and len({y for _, y in corners}) == 2):
        is_flat = len({x for x, _ in corners}) == 1 or len({y for _, y in corners}) == 1
        return (artist, corners) if is_flat else None
    return artist, corners


@dataclass
class _Frame:
    """The rectangle of a box. flip: 0 if its values are along y, 1 if along x."""

    artist: Any
    corners: Corners
    flip: int

    def __post_init__(self) -> None:
        across, along = sorted(c[self.flip] for c in self.corners), sorted(c[1 - self.flip] for c in self.corners)
        left, right, self.q1, self.q3 = across[0], across[-1], along[0], along[-1]
        self.is_notched = len(self.corners) == 11
        if self.is_notched:  # a notch may reach past the quartiles
            self.q1, self.q3 = sorted((self.corners[0][1 - self.flip], self.corners[5][1 - self.flip]))
        self.centre, self.width = (left + right) / 2, right - left
        self.margin = 1e-9 * max(abs(left), abs(right), 1e-300) + 1e-9 * self.width

    def place(self, point: Any) -> float:
        return float(point[self.flip])

    def value(self, point: Any) -> float:
        return float(point[1 - self.flip])

    def own(self, lines: Sequence[Line]) -> list[Line]:
        """Return the lines that are centred on the box."""
        return [
            (line, xy)
            for line, xy in lines
            if len(xy) and abs((self.place(xy[0]) + self.place(xy[-1])) / 2 - self.centre) <= self.margin
        ]

    def whiskers(self, own: Sequence[Line]) -> tuple[list[Any], float, float] | None:
        """Return the lines of the whiskers and their ends; None unless there are both."""
        stems = [
            (line, sorted(self.value(p) for p in xy))
            for line, xy in own
            if len(xy) == 2 and self.place(xy[0]) == self.place(xy[1]) and _is_joined(line)
        ]
        low = [(line, ends) for line, ends in stems if ends[1] == self.q1]
        high = [(line, ends) for line, ends in stems if ends[0] == self.q3]
        if not low or not high:
            return None
        return [line for line, _ in [*low, *high]], low[0][1][0], high[-1][1][1]

    def inner_lines(self, flat: Sequence[Line]) -> list[float]:
        """Return the values of the lines across the whole box."""
        return [
            self.value(xy[0])
            for _, xy in flat
            if self.q1 <= self.value(xy[0]) <= self.q3
            and self.place(xy[0]) != self.place(xy[1])
            and abs(abs(self.place(xy[1]) - self.place(xy[0])) - self.width) <= self.margin
        ]


def _read_box(frame: _Frame, lines: Sequence[Line], artists: Artists) -> Box | None:
    """Return the numbers of one box and of the lines that belong to it; None if it has no whiskers."""
    own = frame.own(lines)
    whiskers = frame.whiskers(own)
    if whiskers is None:
        return None
    stems, low, high = whiskers
    flat = [
        (line, xy) for line, xy in own if len(xy) == 2 and frame.value(xy[0]) == frame.value(xy[1]) and _is_joined(line)
    ]
    inner = frame.inner_lines(flat)
    if frame.is_notched:
        median: float | None = frame.value(frame.corners[3])
    else:
        median = inner[0] if inner else None
    dots = [
        (line, xy)
        for line, xy in own
        if not _is_joined(line) and (abs(xy[:, frame.flip] - frame.centre) <= frame.margin).all()
    ]
    means = [frame.value(xy[0]) for _, xy in dots if len(xy) == 1 and low <= frame.value(xy[0]) <= high]
    means += inner[1:2] if not frame.is_notched else []
    far = [frame.value(p) for _, xy in dots for p in xy if not low <= frame.value(p) <= high]
    artists.mark_read(frame.artist, *stems, *(line for line, _ in [*flat, *dots]))
    place, value = (artists.y, artists.x) if frame.flip else (artists.x, artists.y)
    return _make_box(frame, place, value, (low, high), median, means, far)


def _make_box(
    frame: _Frame,
    place: Axis,
    value: Axis,
    whiskers: tuple[float, float],
    median: float | None,
    means: list[float],
    far: list[float],
) -> Box:
    return Box(
        at=place.near(frame.centre),
        colour=get_colour(frame.artist),
        q1=value.at(frame.q1),
        q3=value.at(frame.q3),
        median=None if median is None else value.at(median),
        whisker_low=value.at(whiskers[0]),
        whisker_high=value.at(whiskers[1]),
        mean=value.at(means[0]) if means else None,
        outliers=len(far),
        outlier_min=value.at(min(far)) if far else None,
        outlier_max=value.at(max(far)) if far else None,
    )


def _is_joined(line: Any) -> bool:
    return line.get_linestyle() not in ("None", "none", " ", "")
