"""Facts of rare kinds of series. They have no phrase of their own: names and values are listed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .base import FLAT, Place, Sample, SeriesFacts, Spread


@dataclass(frozen=True, kw_only=True)
class Count(SeriesFacts):
    """A series of which only the number of parts is known."""

    n: int | None = None


@dataclass(frozen=True, kw_only=True)
class NoData(SeriesFacts):
    """A series whose data is elsewhere. data: where it is not, in words."""

    data: str


@dataclass(frozen=True, kw_only=True)
class Price(SeriesFacts):
    """One of the four prices of a candlestick chart. first and last: of the opening and closing prices."""

    spread: Spread = field(metadata=FLAT)
    missing: int
    first: Place | None = None
    last: Place | None = None


@dataclass(frozen=True, kw_only=True)
class Candles(SeriesFacts):
    n: int
    open: Price | None = None
    high: Price | None = None
    low: Price | None = None
    close: Price | None = None


@dataclass(frozen=True, kw_only=True)
class MapPoints(SeriesFacts):
    """Latitudes and longitudes."""

    lat: Sample | None = None
    lon: Sample | None = None


@dataclass(frozen=True, kw_only=True)
class Indicator(SeriesFacts):
    """A number, often on a dial. gauge: the ends of the dial."""

    title: str
    value: float | None = None
    gauge: tuple[Place, ...] = ()
    compared_with: float | None = None


@dataclass(frozen=True, kw_only=True)
class PolarPoints(SeriesFacts):
    """r_at_theta: pairs of angle, or its name, and radius, if they are few."""

    n: int
    missing: int
    r: Spread | None = None
    r_at_theta: tuple[tuple[Place, float], ...] = ()


class Flow(NamedTuple):
    source: Place
    target: Place
    value: float


@dataclass(frozen=True, kw_only=True)
class Flows(SeriesFacts):
    """A Sankey diagram."""

    n: int
    flows: tuple[Flow, ...]
