"""Facts of values in two dimensions: heat maps, meshes, contours, images, arrows."""

from __future__ import annotations

from dataclasses import dataclass, field

from .base import FLAT, ColourScale, Extent, SeriesFacts, Spread


@dataclass(frozen=True, kw_only=True)
class Grid(SeriesFacts):
    """Values in rows and columns. read: how many were read, if not all. values: all rows, if they are few."""

    rows: int
    columns: int
    missing: int
    read: int | None = None
    sum: float | None = None
    value: Spread | None = None
    values: tuple[tuple[float, ...], ...] = ()
    scale: ColourScale | None = field(default=None, metadata=FLAT)
    drawn_as: str = ""


@dataclass(frozen=True, kw_only=True)
class Cells(SeriesFacts):
    """Coloured hexagons or rectangles that need not fill a grid."""

    n: int
    missing: int = 0
    sum: float | None = None
    value: Spread | None = None
    scale: ColourScale = field(metadata=FLAT)


@dataclass(frozen=True, kw_only=True)
class Picture(SeriesFacts):
    """An image of colours, which has no values."""

    rows: int
    columns: int
    picture: str


@dataclass(frozen=True, kw_only=True)
class Contours(SeriesFacts):
    filled: bool
    n: int
    levels: tuple[float, ...]
    value: Extent | None = None
    scale: ColourScale = field(metadata=FLAT)


@dataclass(frozen=True, kw_only=True)
class Arrows(SeriesFacts):
    n: int
    missing: int
    length: Spread | None = None
