"""Facts of tables, parallel coordinates and scatter matrices."""

from __future__ import annotations

from dataclasses import dataclass, field

from .base import FLAT, Colours, Place, Sample, SeriesFacts


@dataclass(frozen=True, kw_only=True)
class Counts(SeriesFacts):
    """How often each text occurs, the most frequent first. different: how many texts there are."""

    n: int
    missing: int
    different: int
    counts: tuple[tuple[Place, int], ...]


@dataclass(frozen=True, kw_only=True)
class ColumnFacts(SeriesFacts):
    """One column. hidden: its name suggests secrets, so it was not read.

    shown: the limits of its axis. chosen: the selected ranges; inside: how many values are in them.
    r_to_next: Pearson's r with the next column.
    """

    name: str
    hidden: bool = False
    content: Sample | Counts | None = field(default=None, metadata=FLAT)
    shown: tuple[float, float] | None = None
    chosen: tuple[tuple[float, float], ...] = ()
    inside: int | None = None
    r_to_next: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table(SeriesFacts):
    """n: the number of columns. rows: None if the columns have different lengths. cells: by row, if they are few."""

    n: int
    columns: tuple[ColumnFacts, ...]
    rows: int | None = None
    cells: tuple[tuple[Place, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dimensions(SeriesFacts):
    """Parallel axes or a scatter matrix. n: the number of rows."""

    n: int
    axes: int
    columns: tuple[ColumnFacts, ...]
    colours: Colours | None = None
