"""What all readers of matplotlib's artists need: labels, colours, visibility, and in which coordinates an artist is drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from ...facts.base import SeriesFacts
from ...measure.columns import Allowance
from ...model import Axis, Panel, Series, clean_text
from ...reader import Reading


class Artists:
    """The artists of one axes, the panel they are read into, and which of them have been read."""

    def __init__(self, axes: Any, panel: Panel, reading: Reading) -> None:
        self.axes, self.panel, self.reading = axes, panel, reading
        self._done: set[int] = set()

    @property
    def x(self) -> Axis:
        return self.panel.axes["x"]

    @property
    def y(self) -> Axis:
        return self.panel.axes["y"]

    @property
    def allowance(self) -> Allowance:
        return self.reading.allowance

    def unread(self, artists: Iterable[Any]) -> list[Any]:
        """Return the visible artists that have not been read yet."""
        return [a for a in list(artists) if id(a) not in self._done and a.get_visible()]

    def mark_read(self, *artists: Any) -> None:
        self._done.update(id(a) for a in artists)

    def add(self, kind: str, artist: Any, facts: SeriesFacts, name: str | None = None) -> Series:
        series = Series(kind, get_label(artist) if name is None else name, facts, get_colour(artist))
        self.panel.series.append(series)
        return series

    def is_in_data(self, artist: Any) -> tuple[bool, bool]:
        """Return whether its x and its y are positions on the axes."""
        x, y = artist.get_transform().contains_branch_seperately(self.axes.transData)
        return bool(x), bool(y)


def get_label(artist: Any) -> str:
    """Return its label; "" for matplotlib's own labels, which start with an underscore."""
    text = clean_text(artist.get_label())
    return "" if text.startswith("_") else text


def get_colour(artist: Any) -> str:
    """Return its colour as #rrggbb; "" if it has none or several."""
    colors = sys.modules.get("matplotlib.colors")
    get_values = getattr(artist, "get_array", None)
    if colors is None or (get_values is not None and get_values() is not None):  # coloured by value
        return ""
    for name in ("get_color", "get_facecolor", "get_edgecolor"):
        get = getattr(artist, name, None)
        if get is None:
            continue
        try:
            rgba = colors.to_rgba_array(get())
        except (ValueError, TypeError):
            continue
        if len(rgba) and (rgba == rgba[0]).all() and rgba[0][3] > 0:
            return str(colors.to_hex(rgba[0]))
        if len(rgba) > 1:
            return ""
    return ""
