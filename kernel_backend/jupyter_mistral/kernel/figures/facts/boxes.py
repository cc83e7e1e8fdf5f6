"""Facts of box plots and violin plots whose shapes are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Orientation, Place, SeriesFacts


@dataclass(frozen=True, kw_only=True)
class Box(SeriesFacts):
    """name: the legend's entry for its colour. outliers: how many points lie beyond the whiskers."""

    at: Place
    name: str = ""
    colour: str
    q1: Place
    median: Place | None
    q3: Place
    whisker_low: Place
    whisker_high: Place
    mean: Place | None = None
    outliers: int
    outlier_min: Place | None = None
    outlier_max: Place | None = None


@dataclass(frozen=True, kw_only=True)
class Boxes(SeriesFacts):
    n: int
    orientation: Orientation
    boxes: tuple[Box, ...]


@dataclass(frozen=True, kw_only=True)
class Violin(SeriesFacts):
    """marks: values with a line across the violin. inner: lines along its middle, as one or two values."""

    at: Place
    name: str = ""
    colour: str
    from_: Place
    to: Place
    widest_at: Place
    marks: tuple[Place, ...]
    inner: tuple[tuple[Place, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Violins(SeriesFacts):
    n: int
    orientation: Orientation
    violins: tuple[Violin, ...]
