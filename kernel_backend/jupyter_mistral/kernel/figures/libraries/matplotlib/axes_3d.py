"""Reads lines, points and surfaces on matplotlib's 3D axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...facts.base import Spread
from ...facts.points import Points3D, Surface
from ...measure import columns
from ...measure.summaries import measure_spread
from ...model import Axis
from ...reader import class_names
from .artists import Artists
from .colours import read_colour_scale
from .fields import read_contours


def read_space(artists: Artists) -> None:
    attempt, where = artists.reading.attempt, f"of panel {artists.panel.number}"
    for line in artists.unread(artists.axes.lines):
        attempt(f"a line {where}", _read_line, artists, line)
    for drawn in artists.unread(artists.axes.collections):
        names = class_names(drawn)
        if "ContourSet" in names:
            attempt(f"contours {where}", read_contours, artists, drawn)
        elif "Path3DCollection" in names:
            attempt(f"points {where}", _read_points, artists, drawn)
        elif "Poly3DCollection" in names:
            attempt(f"a surface {where}", _read_surface, artists, drawn)


def _read_line(artists: Artists, line: Any) -> None:
    artists.add("3D line", line, _measure_points(artists, line.get_data_3d()))


def _read_points(artists: Artists, dots: Any) -> None:
    facts = _measure_points(artists, getattr(dots, "_offsets3d", None))
    if dots.get_array() is not None:
        facts = replace(facts, scale=read_colour_scale(dots))
    artists.add("3D points", dots, facts)


def _read_surface(artists: Artists, surface: Any) -> None:
    kept, _, _ = _take(artists, _corners(surface))
    spreads = _spreads(artists, kept)
    facts = Surface(faces=len(getattr(surface, "_faces", ())) or None, x=spreads("x"), y=spreads("y"), z=spreads("z"))
    artists.add("surface", surface, facts)


def _measure_points(artists: Artists, positions: Any) -> Points3D:
    kept, missing, is_sampled = _take(artists, positions)
    spreads = _spreads(artists, kept)
    read = len(kept[0]) + missing if is_sampled else None
    n = columns.length(positions[0])
    return Points3D(n=n, missing=missing, read=read, x=spreads("x"), y=spreads("y"), z=spreads("z"))


def _take(artists: Artists, positions: Any) -> tuple[list[Any], int, bool]:
    """Return the finite positions as three columns, how many are missing, and whether only a sample was read."""
    if positions is None:
        raise ValueError("this version of matplotlib does not keep the positions")
    step = artists.allowance.take(columns.length(positions[0]), 3)
    kept, missing = columns.drop_missing(*(columns.to_column(part, step) for part in positions))
    return kept, missing, step > 1


def _spreads(artists: Artists, kept: list[Any]) -> Callable[[str], Spread | None]:
    def spread(name: str) -> Spread | None:
        values = kept["xyz".index(name)]
        return measure_spread(values, artists.panel.axes.get(name, Axis(name))) if len(values) else None

    return spread


def _corners(surface: Any) -> Any:
    """Return the corners of the faces as x, y and z."""
    faces = getattr(surface, "_faces", None)
    if faces is not None:
        flat = columns.numpy().ma.filled(faces.astype(float), columns.numpy().nan).reshape(-1, 3)
        return flat[:, 0], flat[:, 1], flat[:, 2]
    return surface._vec[:3] if getattr(surface, "_vec", None) is not None else None
