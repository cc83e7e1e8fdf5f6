"""Facts of everything that is drawn as bars, and of pies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .base import FLAT, Orientation, Place, SeriesFacts, Spread


class Bar(NamedTuple):
    at: Place
    length: float


@dataclass(frozen=True, kw_only=True)
class Lengths(SeriesFacts):
    """Signed lengths from the bases. top: the three highest. base: the common base, None if there are several.

    values and bases: of all bars, if they are few; bases only if they differ.
    """

    top: tuple[Bar, ...]
    lowest: Bar
    sum: float | None
    mean: float | None
    top_times: int
    lowest_times: int
    base: float | None
    values: tuple[Bar, ...] = ()
    bases: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bars(SeriesFacts):
    """lengths: None if no bar has one. layers: how many series these totals add up."""

    n: int
    missing: int
    orientation: Orientation
    lengths: Lengths | None = field(default=None, metadata=FLAT)
    stacked: bool = False
    error_bars: bool = False
    layers: int | None = None


@dataclass(frozen=True, kw_only=True)
class NamedValues(SeriesFacts):
    """Values by name where a sum would be meaningless, because parts may contain each other."""

    n: int
    missing: int = 0
    top: tuple[Bar, ...] = ()
    lowest: Bar | None = None
    values: tuple[Bar, ...] = ()


class Peak(NamedTuple):
    start: Place
    end: Place
    height: float


@dataclass(frozen=True, kw_only=True)
class Histogram(SeriesFacts):
    """counts and edges: of all bins, if they are few. outline: drawn as a line only."""

    bins: int
    orientation: Orientation
    from_: Place
    to: Place
    sum: float | None
    area: float
    peak: Peak
    peak_times: int
    empty_bins: int
    counts: tuple[float, ...] = ()
    edges: tuple[Place, ...] = ()
    stacked: bool = False
    error_bars: bool = False
    outline: bool = False


class WaterfallBar(NamedTuple):
    """number: None if it is missing or beyond what a float can represent. level: the level after this bar."""

    at: Place
    kind: Literal["change", "is set to", "total"]
    number: float | None
    level: float | None


@dataclass(frozen=True, kw_only=True)
class Waterfall(SeriesFacts):
    """bars: in order, if they are few."""

    n: int
    missing: int
    orientation: Orientation
    base: float
    rises: int
    falls: int
    totals: int
    largest_rise: Bar | None = None
    largest_fall: Bar | None = None
    level: Spread | None = None
    ends_at: float | None = None
    bars: tuple[WaterfallBar, ...] = ()


class Interval(NamedTuple):
    start: Place
    end: Place


@dataclass(frozen=True, kw_only=True)
class BrokenBars(SeriesFacts):
    """Bars in one row. at: the name of the row. spans: in order, the first ones if there are many."""

    n: int
    missing: int
    row: tuple[Place, Place]
    at: str = ""
    from_: Place
    to: Place
    longest: Interval
    longest_times: int
    sum: float | None
    unit: str
    spans: tuple[Interval, ...]


class TimeSpan(NamedTuple):
    at: Place
    start: Place
    end: Place


@dataclass(frozen=True, kw_only=True)
class TimeSpans(SeriesFacts):
    n: int
    missing: int
    spans: tuple[TimeSpan, ...]


@dataclass(frozen=True, kw_only=True)
class Slice(SeriesFacts):
    name: str
    share: float
    value: float | None = None
    colour: str = ""


@dataclass(frozen=True, kw_only=True)
class Pie(SeriesFacts):
    """Shares of the full circle; whole: their sum."""

    n: int
    slices: tuple[Slice, ...]
    whole: float
