"""What is drawn on matplotlib's 3D axes: lines, points and surfaces by their ranges."""

from __future__ import annotations

from typing import Any

from ...measure import columns, series
from ...model import Axis
from ...reader import kinds
from .artists import Artists
from .fields import read_contours
from .lines import colour_scale


def read_space(artists: Artists) -> None:
    where = f"of panel {artists.panel.number}"
    for line in artists.left(artists.axes.lines):
        artists.reading.attempt(f"a line {where}", _read, artists, line, "3D line", lambda a: a.get_data_3d())
    for drawn in artists.left(artists.axes.collections):
        found = kinds(drawn)
        if "ContourSet" in found:
            artists.reading.attempt(f"contours {where}", read_contours, artists, drawn)
        elif "Path3DCollection" in found:
            artists.reading.attempt(
                f"points {where}", _read, artists, drawn, "3D points", lambda a: getattr(a, "_offsets3d", None)
            )
        elif "Poly3DCollection" in found:
            artists.reading.attempt(f"a surface {where}", _read, artists, drawn, "surface", _corners)


def _read(artists: Artists, artist: Any, kind: str, positions: Any) -> None:
    found = positions(artist)
    if found is None:
        raise ValueError("this version of matplotlib does not hold its positions")
    n = columns.length(found[0])
    step = artists.allowance.take(n, 3)
    kept, missing = columns.finite(*(columns.column(part, step) for part in found))
    facts: dict[str, Any] = {"n": n, "missing": missing}
    if step > 1:
        facts["read"] = len(kept[0]) + missing
    if kind == "surface":
        facts = {"faces": len(getattr(artist, "_faces", ())) or None}
    for name, values in zip("xyz", kept, strict=True):
        if len(values):
            facts[name] = series.spread(values, artists.panel.axes.get(name, Axis(name)))
    if kind == "3D points" and artist.get_array() is not None:
        facts |= colour_scale(artist)
    artists.add(kind, artist, facts)


def _corners(surface: Any) -> Any:
    """The corners of the faces, as x, y and z."""
    faces = getattr(surface, "_faces", None)
    if faces is not None:
        flat = columns.numpy().ma.filled(faces.astype(float), columns.numpy().nan).reshape(-1, 3)
        return flat[:, 0], flat[:, 1], flat[:, 2]
    return surface._vec[:3] if getattr(surface, "_vec", None) is not None else None
