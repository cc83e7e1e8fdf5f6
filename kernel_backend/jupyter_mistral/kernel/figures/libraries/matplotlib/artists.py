"""What is common to reading matplotlib's artists: names, colours, visibility, and which coordinates they are drawn in."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from ...measure.columns import Allowance
from ...model import Axis, Panel, Series, words
from ...reader import Reading


class Artists:
    """The artists of one axes, the panel they are read into, and which of them are accounted for."""

    def __init__(self, axes: Any, panel: Panel, reading: Reading) -> None:
        self.axes, self.panel, self.reading = axes, panel, reading
        self._used: set[int] = set()

    @property
    def x(self) -> Axis:
        return self.panel.axes["x"]

    @property
    def y(self) -> Axis:
        return self.panel.axes["y"]

    @property
    def allowance(self) -> Allowance:
        return self.reading.allowance

    def left(self, artists: Iterable[Any]) -> list[Any]:
        """Those of `artists` that can be seen and are not accounted for."""
        return [a for a in list(artists) if id(a) not in self._used and a.get_visible()]

    def use(self, *artists: Any) -> None:
        self._used.update(id(a) for a in artists)

    def add(self, kind: str, artist: Any, facts: dict[str, Any], name: str | None = None) -> Series:
        series = Series(kind, label(artist) if name is None else name, facts, colour(artist))
        self.panel.series.append(series)
        return series

    def in_data(self, artist: Any) -> tuple[bool, bool]:
        """Whether its x and its y are positions on the axes."""
        x, y = artist.get_transform().contains_branch_seperately(self.axes.transData)
        return bool(x), bool(y)


def label(artist: Any) -> str:
    """Its label; matplotlib's own, which start with an underscore, are none."""
    text = words(artist.get_label())
    return "" if text.startswith("_") else text


def colour(artist: Any) -> str:
    """Its colour as #rrggbb; empty where it has none or several."""
    colors = sys.modules.get("matplotlib.colors")
    mapped = getattr(artist, "get_array", None)
    if colors is None or (mapped is not None and mapped() is not None):  # coloured by value
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
