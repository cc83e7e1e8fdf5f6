"""Traces of a plotly figure that are columns of values: tables, parallel coordinates, matrices of scatter plots."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ....variables.masking import HIDDEN, is_secret_column
from ...measure import columns, series
from ...measure.columns import Allowance
from ...measure.positions import listed, mapped
from ...model import Axis, words
from .arrays import values
from .panel import Spec, Traces, colour_scale


def _column(name: str, held: Any, allowance: Allowance) -> dict[str, Any]:
    """Facts on numbers or dates, or how often each text stands there."""
    if is_secret_column(name):
        return {"name": name, "hidden": True}
    axis = Axis("value")
    places = mapped(axis, [held])(held)
    if axis.kind != "category":
        return {"name": name, **series.sample(places, axis, allowance)}
    counts: dict[float, int] = {}
    for place in places:
        if place == place:
            counts[place] = counts.get(place, 0) + 1
    often = sorted(counts.items(), key=lambda pair: -pair[1])
    facts = {"name": name, "n": len(places), "missing": len(places) - sum(counts.values()), "different": len(counts)}
    return facts | {"counts": [[axis.near(place), n] for place, n in often[: series.LISTED]]}


def _table(traces: Traces, trace: Spec) -> None:
    heads, cells = (values((trace.get(name) or {}).get("values")) for name in ("header", "cells"))
    names = [words(head, 60) for head in ([] if heads is None else heads)]
    held = [found for found in map(values, [] if cells is None else cells) if found is not None]
    names += [""] * (len(held) - len(names))
    lengths = {columns.length(one) for one in held}
    told = [
        _column(name, one, traces.reading.allowance) for name, one in zip(names, held[: series.GROUPS], strict=False)
    ]
    facts: dict[str, Any] = {"n": len(held), "columns": told}
    if len(lengths) == 1:
        facts["rows"] = lengths.pop()
        if facts["rows"] * len(held) <= series.LISTED and len(told) == len(held):
            shown = [
                [HIDDEN if "hidden" in column else _cell(cell) for cell in listed(one)]
                for column, one in zip(told, held, strict=False)
            ]
            facts["cells"] = [list(row) for row in zip(*shown, strict=True)]
    traces.add("table", trace, facts)


def _cell(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if value != value else value if is_number else words(value, 60)


def _dimensions(kind: str) -> Callable[[Traces, Spec], None]:
    """Each row of the dimensions' values is a line over parallel axes, or a point of each small plot."""

    def read(traces: Traces, trace: Spec) -> None:
        found = [(d, values(d.get("values"))) for d in trace.get("dimensions") or () if isinstance(d, Mapping)]
        shown = [(d, held) for d, held in found if d.get("visible", True) is True and held is not None and len(held)]
        n = min((columns.length(held) for _, held in shown), default=0)  # plotly draws as many as all have
        told = []
        for dimension, held in shown[: series.GROUPS]:
            named = _named(dimension, held[:n])
            facts = _column(words(dimension.get("label"), 60), named, traces.reading.allowance)
            told.append(facts | ({} if "hidden" in facts else _ends(dimension, held[:n])))
        for (one, (_, a)), (other, (_, b)) in zip(
            zip(told, shown, strict=False), zip(told[1:], shown[1:], strict=False), strict=False
        ):
            if "value" in one and "value" in other and "read" not in one:
                (px, py), _ = columns.finite(columns.column(a[:n]), columns.column(b[:n]))
                one |= {"r_to_next": columns.straight(px, py)[0]} if len(px) else {}
        own = trace.get("line" if kind == "parallel coordinates" else "marker") or {}
        traces.add(kind, trace, {"n": n, "axes": len(shown), "columns": told} | coloured(traces, own))

    return read


def _named(dimension: Spec, held: Any) -> Any:
    """The names on the ticks where each value has one."""
    ticks, texts = values(dimension.get("tickvals")), values(dimension.get("ticktext"))
    if ticks is None or texts is None:
        return held
    names = dict(zip(columns.plain(columns.column(ticks)), (words(t, 60) for t in texts), strict=False))
    numbers = columns.plain(columns.column(held))
    return [names[v] for v in numbers] if all(v in names for v in numbers) else held


def _ends(dimension: Spec, held: Any) -> dict[str, Any]:
    """What the axis shows, and what of it is chosen."""
    facts: dict[str, Any] = {}
    shown, chosen = _pair(dimension.get("range")), dimension.get("constraintrange")
    if shown:
        facts["shown"] = shown
    several = chosen if isinstance(chosen, list | tuple) else []
    ranges = [sorted(pair) for pair in map(_pair, [chosen, *several]) if pair]
    if ranges:
        facts["chosen"] = ranges
        numbers = columns.plain(columns.column(held))
        facts["inside"] = sum(any(low <= v <= high for low, high in ranges) for v in numbers)
    return facts


def _pair(held: Any) -> list[float] | None:
    found = values(held)
    numbers = columns.plain(columns.column(found)) if found is not None and columns.length(found) == 2 else []
    return numbers if len(numbers) == 2 and all(map(math.isfinite, numbers)) else None


def coloured(traces: Traces, held: Spec) -> dict[str, Any]:
    """What the colours of a marker or line stand for, where they stand for values."""
    found = values(held.get("color"))
    if found is None or any(isinstance(c, str) for c in found[:10]):
        return {}
    return {"colours": series.sample(found, Axis("colour"), traces.reading.allowance) | colour_scale(traces, held)}


READERS: dict[str, Callable[[Traces, Spec], None]] = {
    "table": _table,
    "parcoords": _dimensions("parallel coordinates"),
    "splom": _dimensions("scatter matrix"),
}
