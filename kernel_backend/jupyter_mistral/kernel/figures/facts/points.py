"""Facts of points, lines, areas and everything that has three dimensions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .base import FLAT, Colours, ColourScale, Extent, Group, Place, SeriesFacts, Spread


@dataclass(frozen=True, kw_only=True)
class Fit(SeriesFacts):
    """Pearson's r and the slope of the least-squares line; None if undefined."""

    r: float | None
    slope: float | None


@dataclass(frozen=True, kw_only=True)
class NumberPoints(SeriesFacts):
    """Points with numbers on at least one axis. along: the axis of the values; the other axis has their positions.

    first, last and direction: of lines only. groups: by category. points: all of them, if they are few.
    """

    along: Literal["x", "y"]
    value: Spread
    place: Extent
    first: Place | None = None
    last: Place | None = None
    direction: str = ""
    groups: tuple[Group, ...] = ()
    outliers: int | None = None
    fit: Fit | None = field(default=None, metadata=FLAT)
    not_positive: int  # points that a log axis cannot show
    outside: int  # points outside the limits of the axes
    points: tuple[tuple[Place, Place], ...] = ()


@dataclass(frozen=True, kw_only=True)
class CategoryPoints(SeriesFacts):
    """Points with categories on both axes: how many there are for each pair."""

    along: Literal["x", "y"]
    combinations: tuple[tuple[Place, Place, int], ...]


@dataclass(frozen=True, kw_only=True)
class ErrorBars(SeriesFacts):
    n: int
    shortest: float | None = None
    longest: float | None = None


@dataclass(frozen=True, kw_only=True)
class Points(SeriesFacts):
    """A line, or points that are not joined. drawn: None if no point has a position."""

    n: int
    missing: int
    read: int | None = None
    drawn: NumberPoints | CategoryPoints | None = field(default=None, metadata=FLAT)
    steps: str = ""
    drawn_as: str = ""
    fill: str = ""
    x_error: ErrorBars | None = None
    y_error: ErrorBars | None = None
    error_bars: bool = False
    colours: Colours | None = None
    sizes: Extent | None = None


@dataclass(frozen=True, kw_only=True)
class Bins(SeriesFacts):
    """The bins that a trace requests along each axis, in words."""

    x: str = ""
    y: str = ""


@dataclass(frozen=True, kw_only=True)
class Density(SeriesFacts):
    """Points that the browser counts in bins. z: values that it summarizes in each bin."""

    points: Points = field(metadata=FLAT)
    z: Spread | None = None
    bins: Bins
    note: str


@dataclass(frozen=True, kw_only=True)
class Edges(SeriesFacts):
    """The curves below and above an area."""

    place: Extent
    lower: Spread
    upper: Spread
    width: Spread


@dataclass(frozen=True, kw_only=True)
class Area(SeriesFacts):
    """The area between two curves. n: None if steps hide the number of points. along: the axis of the values."""

    n: int | None
    missing: int
    along: str
    edges: Edges | None = field(default=None, metadata=FLAT)
    pieces: int
    steps: str = ""


@dataclass(frozen=True, kw_only=True)
class Space(SeriesFacts):
    """Three dimensions."""

    x: Spread | None = None
    y: Spread | None = None
    z: Spread | None = None
    scale: ColourScale | None = field(default=None, metadata=FLAT)


@dataclass(frozen=True, kw_only=True)
class Points3D(Space):
    n: int
    missing: int
    read: int | None = None


@dataclass(frozen=True, kw_only=True)
class Surface(Space):
    faces: int | None


@dataclass(frozen=True, kw_only=True)
class ReferenceLine(SeriesFacts):
    """A line across the whole plot."""

    axis: str
    at: Place


@dataclass(frozen=True, kw_only=True)
class ReferenceLines(SeriesFacts):
    n: int
    axis: str
    at: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class SlopedLine(SeriesFacts):
    """A reference line through a point. slope: None if it is vertical."""

    through: tuple[Place, Place]
    slope: float | None


@dataclass(frozen=True, kw_only=True)
class Span(SeriesFacts):
    """A band across the whole plot."""

    axis: str
    from_: Place
    to: Place


@dataclass(frozen=True, kw_only=True)
class LineSegments(SeriesFacts):
    n: int
