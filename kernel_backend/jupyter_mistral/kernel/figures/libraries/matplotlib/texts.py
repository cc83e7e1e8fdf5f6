"""Reads the texts and annotations in a matplotlib plot."""

from __future__ import annotations

from typing import Any

from ...model import clean_text
from ...words.terms import num
from .artists import Artists

MAX_TEXTS = 40


def read_texts(artists: Artists) -> None:
    texts = [t for t in artists.unread(artists.axes.texts) if clean_text(t.get_text())]
    artists.panel.texts += [_read(artists, text) for text in texts[:MAX_TEXTS]]
    if len(texts) > MAX_TEXTS:
        artists.panel.notes.append(f"the plot has {len(texts) - MAX_TEXTS} more texts")


def _read(artists: Artists, text: Any) -> str:
    """Return the text, with its position if that is on the axes."""
    content = clean_text(text.get_text())
    place, is_data = getattr(text, "xy", None), getattr(text, "xycoords", None) == "data"
    if place is None:
        place, is_data = text.get_position(), artists.is_in_data(text) == (True, True)
    if not is_data or not {"x", "y"} <= set(artists.panel.axes):
        return content
    x, y = (_to_float(artists.axes, name, v) for name, v in zip("xy", place, strict=False))
    if x != x or artists.panel.is_pie:
        return content
    return f"{content} (at x {num(artists.x.at(x))}, y {num(artists.y.at(y))})"


def _to_float(axes: Any, name: str, value: Any) -> float:
    """Convert a position that may be a date or a category."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float(getattr(axes, f"{name}axis").convert_units(value))
