"""Numbers, lists, counts, spreads and colour scales in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]


def num(value: Any) -> str:
    """A number to 6 digits, whole numbers whole; a date or category as it is."""
    if isinstance(value, str):
        return f'"{value}"' if not value[:1].isdigit() else value
    if value is None:
        return "undefined"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return str(int(value))
    return f"{value:.6g}"


def some(parts: Sequence[str], most: int) -> str:
    """Comma-separated, `most` at most; says how many are left out."""
    shown = ", ".join(parts[:most])
    return shown if len(parts) <= most else f"{shown}, … ({len(parts)} in all)" if shown else f"{len(parts)}"


def count(facts: Facts, what: str) -> str:
    n = facts.get("n")
    text = f"{n} {what.removesuffix('s') if n == 1 else what}" if n is not None else ""
    if facts.get("missing"):
        text += f", {facts['missing']} of them missing or not finite"
    if "read" in facts:
        text += f"; too many to read all: what follows is from {facts['read']} evenly spaced ones"
    return text


def spread(facts: Facts, place: str) -> str:
    """min 1 at x 2, max 3 at x 4, mean 2, median 2"""

    def end(name: str) -> str:
        text = f"{name} {num(facts[name])}"
        if place and f"{name}_at" in facts:
            at = facts[f"{name}_at"]
            at = ", ".join(num(v) for v in at) if isinstance(at, list) else num(at)
            text += f" at {place} {at}"
            times = facts.get(f"{name}_times", 1)
            text += f" (first of {times})" if times > 1 else ""
        return text

    parts = [end("min"), end("max")]
    parts += [f"{name} {num(facts[name])}" for name in ("mean", "median") if facts.get(name) is not None]
    return ", ".join(parts)


def colours(facts: Facts) -> str:
    """What colours stand for."""
    label = f' "{facts["colour_label"]}"' if facts.get("colour_label") else ""
    low, high = facts["colour_limits"]
    low, high = "the lowest value" if low is None else num(low), "the highest" if high is None else num(high)
    text = f"scale{label} {facts['colour_map']}, {facts['colour_scale']}, from {low} to {high}"
    text += "" if facts["colour_bar"] else ", no colour bar"
    return text + (f", values {spread(facts['value'], '')}" if facts.get("value") else "")
