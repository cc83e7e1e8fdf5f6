"""Points, lines, areas and everything in three dimensions in words."""

from __future__ import annotations

from collections.abc import Mapping

from ..facts.points import Area, CategoryPoints, Density, Fit, NumberPoints, Points, Points3D, Surface
from ..model import Axis
from .terms import colours, count, extent, join_some, num, spread

_DIRECTIONS = {
    "constant": "constant",
    "rising": "rises at every step",
    "falling": "falls at every step",
    "never falling": "never falls",
    "never rising": "never rises",
    "mixed": "rises and falls (not monotone)",
}
NOTHING = "nothing to draw"


def write_points(facts: Points | Density, axes: Mapping[str, Axis], items: int) -> list[str]:
    if isinstance(facts, Density):
        bins = [f"{name} bins {text}" for name, text in (("x", facts.bins.x), ("y", facts.bins.y)) if text]
        z = [f"z {spread(facts.z)}"] if facts.z is not None else []
        return [*write_points(facts.points, axes, items), *z, *bins, facts.note]
    parts = [count(facts.n, "points", facts.missing, facts.read), _steps(facts.steps)]
    parts.append(f"drawn as {facts.drawn_as}" if facts.drawn_as else "")
    match facts.drawn:
        case None:
            return [*parts, NOTHING]
        case CategoryPoints(combinations=combinations):
            pairs = [f"{num(a)} with {num(b)}: {n}" for a, b, n in combinations]
            return [*parts, "both axes are categories: " + join_some(pairs, items)]
        case NumberPoints() as drawn:
            listed = drawn.points if len(drawn.points) <= items else ()
            parts += _numbers(drawn, axes, items)
            parts += _styles(facts)
            parts.append("all: " + " ".join(f"({num(a)}, {num(b)})" for a, b in listed) if listed else "")
    return parts


def _steps(steps: str) -> str:
    return f"steps ({steps})" if steps else ""


def _numbers(drawn: NumberPoints, axes: Mapping[str, Axis], items: int) -> list[str]:
    place = "x" if drawn.along == "y" else "y"
    parts = [f"{place} {extent(drawn.place)}", f"{drawn.along} {spread(drawn.value, place)}"]
    if drawn.first is not None:
        parts.append(f"first {num(drawn.first)}, last {num(drawn.last)}")
    if drawn.direction:
        parts.append(_DIRECTIONS[drawn.direction])
    parts += [f"at {num(g.at)}: {count(g.n, 'points')}, {spread(g.spread)}" for g in drawn.groups[:items]]
    if drawn.fit is not None:
        parts.append(_fit(drawn.fit, axes, place))
    return [*parts, outliers(drawn.outliers)]


def _fit(fit: Fit, axes: Mapping[str, Axis], place: str) -> str:
    if fit.r is None or fit.slope is None:
        return ""
    unit = axes[place].unit if place in axes else ""
    is_log = any(axes[name].scale not in ("linear", "date") for name in ("x", "y") if name in axes)
    of = " (of the values, not of their logarithms)" if is_log else ""
    return f"correlation r {num(round(fit.r, 6))}, straight-line fit {num(fit.slope)} per {unit or place}{of}"


def outliers(n: int | None) -> str:
    return f"outliers beyond 1.5 IQR: {n}" if n else ""


def _styles(facts: Points) -> list[str]:
    parts = [
        f"{name} error bars {num(error.shortest)} to {num(error.longest)} long from end to end"
        for name, error in (("x", facts.x_error), ("y", facts.y_error))
        if error is not None and error.n
    ]
    if facts.colours is not None:
        quartiles = facts.colours.sample.quartiles
        parts.append(colours(facts.colours.scale, None if quartiles is None else quartiles.value))
    return [*parts, "marker sizes differ" if facts.sizes is not None else ""]


def write_area(facts: Area) -> list[str]:
    parts = [count(facts.n, "points", facts.missing), _steps(facts.steps)]
    edges = facts.edges
    if edges is None:
        return [*parts, NOTHING]
    value, place = facts.along, "x" if facts.along == "y" else "y"
    parts.append(f"{place} {extent(edges.place)}")
    if edges.lower.min == edges.lower.max:
        return [*parts, f"between {num(edges.lower.min)} and a curve, {value} {spread(edges.upper, place)}"]
    parts.append(f"lower edge {value} {spread(edges.lower, place)}")
    parts.append(f"upper edge {value} {spread(edges.upper, place)}")
    return [*parts, f"width {spread(edges.width, place)}"]


def write_space(facts: Points3D | Surface) -> list[str]:
    if isinstance(facts, Points3D):
        parts = [count(facts.n, "points", facts.missing, facts.read)]
    else:
        parts = [f"{facts.faces} faces" if facts.faces else ""]
    named = (("x", facts.x), ("y", facts.y), ("z", facts.z))
    return parts + [f"{name} {spread(values)}" for name, values in named if values is not None]
