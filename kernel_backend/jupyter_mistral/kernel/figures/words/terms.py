"""Words for numbers, lists, counts, spreads and colour scales."""

from __future__ import annotations

from collections.abc import Sequence

from ..facts.base import ColourScale, Extent, Place, Spread


def num(value: Place | None) -> str:
    """Format a number with 6 digits, integers without decimals; dates and categories unchanged."""
    if isinstance(value, str):
        return f'"{value}"' if not value[:1].isdigit() else value
    if value is None:
        return "undefined"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return str(int(value))
    return f"{value:.6g}"


def join_some(parts: Sequence[str], most: int) -> str:
    """Join at most `most` parts with commas; add the total number if some are left out."""
    shown = ", ".join(parts[:most])
    return shown if len(parts) <= most else f"{shown}, … ({len(parts)} in all)" if shown else f"{len(parts)}"


def count(n: int | None, what: str, missing: int = 0, read: int | None = None) -> str:
    """Say how many there are, how many are missing, and how many were read if not all. n: None if unknown."""
    text = f"{n} {what.removesuffix('s') if n == 1 else what}" if n is not None else ""
    if missing:
        text += f", {missing} of them missing or not finite"
    return f"{text}; {sampled(read)}" if read is not None else text


def sampled(read: int) -> str:
    return f"too many to read: the statistics are from {read} evenly spaced ones"


def spread(values: Spread, place: str = "") -> str:
    """Return for example: min 1 at x 2, max 3 at x 4, mean 2, median 2. place: "" leaves out the positions."""
    parts = [extremes(values, place)]
    parts += [
        f"{name} {num(value)}"
        for name, value in (("mean", values.mean), ("median", values.median))
        if value is not None
    ]
    return ", ".join(parts)


def extremes(values: Spread, place: str = "") -> str:
    return ", ".join(
        (
            _extreme("min", values.min, values.min_at, values.min_times, place),
            _extreme("max", values.max, values.max_at, values.max_times, place),
        )
    )


def _extreme(name: str, value: Place, at: Place | tuple[Place, ...] | None, times: int | None, place: str) -> str:
    text = f"{name} {num(value)}"
    if not place or at is None:
        return text
    text += f" at {place} {', '.join(map(num, at)) if isinstance(at, tuple) else num(at)}"
    return text + repeated(times or 1)


def repeated(times: int) -> str:
    return f" (first of {times})" if times > 1 else ""


def extent(values: Extent) -> str:
    return f"from {num(values.min)} to {num(values.max)}"


def colours(scale: ColourScale, values: Spread | None = None) -> str:
    """Say what colours stand for."""
    label = f' "{scale.colour_label}"' if scale.colour_label else ""
    low, high = scale.colour_limits
    first = "the lowest value" if low is None else num(low)
    last = "the highest value" if high is None else num(high)
    text = f"colour scale{label} {scale.colour_map}, {scale.colour_scale}, from {first} to {last}"
    text += "" if scale.colour_bar else ", no colour bar"
    return text + (f", values {spread(values)}" if values is not None else "")
