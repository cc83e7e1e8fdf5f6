"""Reads what colours stand for in a matplotlib plot."""

from __future__ import annotations

import sys
from typing import Any

from ...facts.base import Colours, ColourScale
from ...measure.summaries import measure_sample
from ...model import Axis, clean_text
from ...reader import class_names
from .artists import Artists, get_colour


def read_colours(artists: Artists, mappable: Any, values: Any) -> Colours:
    return Colours(sample=measure_sample(values, Axis("colour"), artists.allowance), scale=read_colour_scale(mappable))


def read_colour_scale(mappable: Any) -> ColourScale:
    """Read the colour map, its limits and scale, and the label of the colour bar if there is one."""
    norm, bar = mappable.norm, getattr(mappable, "colorbar", None)
    name = type(norm).__name__.removesuffix("Norm").removesuffix("alize").lower()
    low, high = (None if v is None else float(v) for v in (norm.vmin, norm.vmax))
    return ColourScale(
        colour_map=mappable.get_cmap().name,
        colour_label="" if bar is None else _bar_label(bar),
        colour_limits=(low, high),
        colour_scale={"": "linear", "norm": "linear", "no": "one colour per level"}.get(name, name),
        colour_bar=bar is not None,
    )


def _bar_label(bar: Any) -> str:
    axis = bar.ax.yaxis if getattr(bar, "orientation", "vertical") == "vertical" else bar.ax.xaxis
    return clean_text(axis.label.get_text()) or clean_text(bar.ax.get_title())


def get_handle_colour(handle: Any) -> str:
    """Return the colour of a legend entry: of its line, marker or patch."""
    colour = get_colour(handle)
    if colour or "Line2D" not in class_names(handle):
        return colour
    colors = sys.modules["matplotlib.colors"]
    return str(colors.to_hex(handle.get_markerfacecolor()))
